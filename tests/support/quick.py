"""Which cases of a long list the quick tests take."""

from collections.abc import Iterable
from typing import Any

import pytest


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Mark all but every second (third ...) case as slow; a tuple holds the values of several arguments."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow if index % step else ())
        for index, case in enumerate(cases)
    ]
