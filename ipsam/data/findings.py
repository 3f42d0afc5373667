"""Findings: problems of a set of files, and remarks about it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "remark"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "remark")


@dataclass(frozen=True)
class Finding:
    """One kind of problem in one set.

    Attributes:
        kind: a short name.
        severity: an `error` stops a run, a `warning` may spoil its results, a `remark` needs no action.
        message: the set's name, the first few files and the way out.
        files: all files concerned.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[Path, ...] = ()


def log_or_raise(findings: Iterable[Finding], logger: logging.Logger) -> None:
    """Log findings up to the first error, which is raised as ValueError."""
    for finding in findings:
        if finding.severity == "error":
            raise ValueError(finding.message)
        logger.log(logging.WARNING if finding.severity == "warning" else logging.INFO, "%s", finding.message)
