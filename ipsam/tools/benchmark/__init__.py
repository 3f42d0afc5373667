"""Benchmarks: speed as ratios of medians, timed side by side in one run."""

from typing import Any

Report = tuple[str, dict[str, Any]]  # Markdown, and the same figures as data
