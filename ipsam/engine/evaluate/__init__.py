"""Evaluation of models on test sets."""
