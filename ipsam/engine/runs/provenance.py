"""Provenance of a run: seed, command, code revision, package versions, model size, and fingerprints of its data."""

import hashlib
import logging
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from torch import nn

import ipsam
from ipsam.utils.files import is_file, write_json
from ipsam.utils.untrusted import read_plain_json

if TYPE_CHECKING:
    from ipsam.data import TestSet, TrainSet
else:
    TestSet = TrainSet = Any  # torchvision takes a second, which prediction need not wait for

DATA_FILE = "data.json"
PACKAGES = (
    "ipsam",
    "torch",
    "torchvision",
    "sam2",
    "timm",
    "transformers",
    "peft",
    "accelerate",
    "hydra-core",
    "numpy",
    "opencv",
)

logger = logging.getLogger(__name__)


def environment(seed: int, model: nn.Module) -> dict[str, Any]:
    """Describe what a run is started with, in values for JSON."""
    pretrained = getattr(getattr(model, "backbone", None), "pretrained_sha256", None)
    return {
        "seed": seed,
        "parameters": dict(zip(("param", "t_param"), count_parameters(model), strict=True)),
        **({} if pretrained is None else {"pretrained_sha256": pretrained}),
        "command": sys.argv,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted": _git("status", "--porcelain"),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
    }


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages, without those whose installation has no metadata.

    OpenCV is installed under several names, and ipsam may lie on the path without being installed.
    """
    versions = {"ipsam": ipsam.__version__, "opencv": cv2.__version__}
    for name in names:
        if name not in versions:
            with suppress(PackageNotFoundError):
                versions[name] = version(name)
    return {name: versions[name] for name in names if name in versions}


def count_parameters(model: nn.Module) -> tuple[float, float]:
    """Count all and trainable parameters, in millions: the paper's Param and T-Param."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes) / 1e6, sum(size for size, trains in sizes if trains) / 1e6


def named_sets(
    test_sets: Mapping[str, TestSet], train_set: TrainSet | None = None, val_set: TestSet | None = None
) -> dict[str, TrainSet | TestSet]:
    """Collect a run's datasets by their names in ``data.json``."""
    own = {"train": train_set, "val": val_set} | {f"test/{name}": data for name, data in test_sets.items()}
    return {name: data for name, data in own.items() if data is not None}


def data_fingerprint(data: TrainSet | TestSet) -> dict[str, Any]:
    """Return the number of images, and a hash of the list of files: stems, names and sizes in bytes."""
    digest = hashlib.sha256("\n".join(data.source.listing()).encode())
    return {"num_images": len(data.source), "sha256": digest.hexdigest()}


def record_data(folder: Path, sets: Mapping[str, TrainSet | TestSet]) -> None:
    """Write the fingerprints of a run's datasets (``named_sets``) to its folder; keep the ones written before."""
    write_json(folder / DATA_FILE, warn_of_other_data(folder, sets))


def warn_of_other_data(folder: Path, sets: Mapping[str, TrainSet | TestSet]) -> dict[str, dict[str, Any]]:
    """Log a warning for each dataset that has changed since the run in ``folder`` recorded it.

    Returns:
        The recorded fingerprints, and those of the datasets that have none yet.
    """
    recorded = _recorded(folder)
    current = {name: data_fingerprint(data) for name, data in sets.items()}
    for name, now in current.items():
        before = recorded.get(name, now)
        if before != now:
            logger.warning(
                "%s has changed since the run began: %.99r images then, %s now, in another list of files; "
                "scores are not comparable, and resumed training gives another result",
                *(name, before.get("num_images"), now["num_images"]),
            )
    return current | recorded


def _recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """Read ``data.json``; return nothing where it is absent or damaged, raise OSError where it cannot be read."""
    content = None
    if is_file(folder / DATA_FILE):
        with suppress(ValueError):
            content = read_plain_json(folder / DATA_FILE)
    recorded = content if isinstance(content, dict) else {}
    return {name: entry for name, entry in recorded.items() if isinstance(entry, dict)}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 (fixed words)
    except (OSError, subprocess.SubprocessError):
        return None  # installed without a repository, or without git
    return done.stdout.strip()
