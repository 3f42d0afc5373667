"""Sweeps (``-m``): many runs of a command, each in a process of its own, on this machine or on a cluster."""
