"""Helpers that several tests share: builders, generated files, workers and fixtures."""
