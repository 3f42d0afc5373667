"""IP-SAM: prompt-space conditioning for prompt-absent segmentation."""

__version__ = "0.1.0"
