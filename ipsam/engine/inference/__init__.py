"""Prediction for arrays, files and videos; export and sharing of models."""
