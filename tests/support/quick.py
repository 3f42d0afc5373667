"""Which cases of a long list the quick tests take."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Mark all but every second (third ...) case as slow; a tuple holds the values of several arguments."""
    return [_case(case, is_quick=index % step == 0) for index, case in enumerate(cases)]


def only(quick: Container[Any], cases: Iterable[Any]) -> list[Any]:
    """Mark all cases but those of ``quick`` as slow."""
    return [_case(case, is_quick=case in quick) for case in cases]


def _case(case: Any, *, is_quick: bool) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if is_quick else pytest.mark.slow)
