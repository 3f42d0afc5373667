"""What data a run saw, so that others are noticed: ``data.json`` in its folder."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipsam.data import TestSet, TrainSet
from ipsam.utils.files import is_file, write_json
from ipsam.utils.untrusted import read_plain_json

FILE = "data.json"

logger = logging.getLogger(__name__)

Fingerprint = dict[str, Any]


def fingerprint(data: TrainSet | TestSet) -> Fingerprint:
    """The number of images, and a hash of the list of files: stems, names and sizes in bytes."""
    digest = hashlib.sha256("\n".join(data.source.listing()).encode())
    return {"num_images": len(data.source), "sha256": digest.hexdigest()}


def named_sets(
    test_sets: Mapping[str, TestSet], train_set: TrainSet | None = None, val_set: TestSet | None = None
) -> dict[str, TrainSet | TestSet]:
    """All sets of a run by the names that ``data.json`` has for them."""
    others = {"train": train_set, "val": val_set}
    return {name: data for name, data in others.items() if data is not None} | {
        f"test/{name}": data for name, data in test_sets.items()
    }


def note_data(folder: Path, sets: Mapping[str, TrainSet | TestSet]) -> None:
    """Write down what a run sees, and warn of what it saw otherwise when it began.

    Args:
        folder: the run's.
        sets: as ``named_sets`` gives them.
    """
    warn_of_other_data(folder, sets)
    write_json(folder / FILE, {name: fingerprint(data) for name, data in sets.items()} | _noted(folder))


def warn_of_other_data(folder: Path, sets: Mapping[str, TrainSet | TestSet]) -> None:
    """Log a warning for each set that is not what the run in ``folder`` saw under its name."""
    noted = _noted(folder)
    for name, data in sets.items():
        before, now = noted.get(name), fingerprint(data)
        if before is not None and before != now:
            logger.warning(
                "%s is not what the run saw: %.99r images then, %s now, of another list of files; "
                "scores are not comparable, and resumed training is another",
                *(name, before.get("num_images"), now["num_images"]),
            )


def _noted(folder: Path) -> dict[str, Fingerprint]:
    """Return what ``data.json`` holds, nothing where it is absent or damaged; OSError where it can't be read."""
    if not is_file(folder / FILE):
        return {}
    try:
        content = read_plain_json(folder / FILE)
    except ValueError:
        return {}
    noted = content if isinstance(content, dict) else {}
    return {str(name): entry for name, entry in noted.items() if isinstance(entry, dict)}
