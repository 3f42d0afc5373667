"""Probability maps that any method saved, and the masks they are scored against."""
