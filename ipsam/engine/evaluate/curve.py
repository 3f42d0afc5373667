"""Scores of the test sets in the course of a training: ``eval/curve.csv``. They only report, and select nothing."""

import csv
from collections.abc import Mapping
from pathlib import Path

from ipsam.engine.metrics import METRICS, Scores
from ipsam.utils.files import as_csv, is_file, read_csv, write_bytes
from ipsam.utils.untrusted import bounded_text

CURVE = "curve.csv"


def add_epoch(path: Path, epoch: int, scores: Mapping[str, Scores]) -> None:
    """Add an epoch's scores by dataset to a curve, in place of entries from this epoch on, which a killed run left.

    Raises:
        ValueError: the file is not a curve.
        OSError: it cannot be read or written; it is unchanged.
    """
    earlier = [entry for entry in read_curve(path) if entry[0] < epoch]
    entries = [*earlier, *((epoch, name, of_set) for name, of_set in scores.items())]
    rows = [{"epoch": number, "dataset": name, **_metrics(of_set)} for number, name, of_set in entries]
    write_bytes(path, as_csv(rows))


def read_curve(path: Path) -> list[tuple[int, str, Scores]]:
    """Read epoch, dataset and scores of each entry of a curve; nothing if there is no file.

    Raises:
        ValueError: the file is not a curve.
        OSError: it cannot be read.
    """
    if not is_file(path):
        return []
    try:
        rows = read_csv(bounded_text(path))
        return [(int(row["epoch"]), row["dataset"], _metrics(row)) for row in rows]
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise ValueError(
            f"{path} is damaged: a row must hold epoch, dataset and a number for each metric; move the file elsewhere, "
            "and the next curve begins anew"
        ) from error


def _metrics(row: Mapping[str, str | float]) -> Scores:
    return {name: float(row[name]) for name in METRICS}
