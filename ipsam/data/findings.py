"""What is found to be wrong with a set of files, or worth knowing about it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "remark"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "remark")


@dataclass(frozen=True)
class Finding:
    """One kind of thing, found in one set.

    Attributes:
        kind: what it is, in a few words.
        severity: `error` stops a run; `warning` may spoil what it comes to; `remark` is taken care of.
        message: with the set's name, the first few files and the way out.
        files: all the files that it concerns.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[Path, ...] = ()


def log_or_raise(findings: Iterable[Finding], logger: logging.Logger) -> None:
    """Log findings, up to the first error.

    Raises:
        ValueError: at an error, with its message.
    """
    for finding in findings:
        if finding.severity == "error":
            raise ValueError(finding.message)
        logger.log(logging.WARNING if finding.severity == "warning" else logging.INFO, "%s", finding.message)
