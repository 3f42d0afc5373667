"""Probability maps saved by any method, and the masks they are scored against."""
