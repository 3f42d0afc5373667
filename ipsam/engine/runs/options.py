"""Options of the command line, checked one by one."""

from pathlib import Path
from typing import Any


def whole_number(name: str, value: Any) -> int:
    """A number of 0 or above; ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number, 0 or above, not {value!r}")
    return value


def true_or_false(name: str, value: Any) -> bool:
    """A switch; ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value


def path_or_none(name: str, value: Any) -> Path | None:
    """A path, or None for null; ValueError for anything else."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        hint = "" if isinstance(value, str) else f"; if that is its name, quote it twice: {name}='\"{value}\"'"
        raise ValueError(f"{name} must be a path, not {value!r}{hint}")
    return Path(value)
