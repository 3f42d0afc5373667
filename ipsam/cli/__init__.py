"""Command lines of ipsam: one main for each command, which parses, calls the tools or the engine, and prints."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# The Hydra configurations: in the wheel they lie inside the package, in the repository beside it.
CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
