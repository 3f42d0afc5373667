"""Download SAM2's weights, and install datasets from their archives in the layout that runs expect."""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from omegaconf import DictConfig

from ipsam.data import Data
from ipsam.data.benchmarks import Benchmark, benchmark
from ipsam.engine.runs.configuration import plain, settings_of
from ipsam.engine.runs.fetch import fetch, fetch_sam2
from ipsam.engine.runs.options import whole_number
from ipsam.model.sam2_checkpoints import OFFICIAL_FILES
from ipsam.tools.prepare.archives import unpack
from ipsam.tools.prepare.doctor import Diagnosis, diagnose
from ipsam.tools.prepare.install import Split, check_free, expected_layout, find_splits, install
from ipsam.utils.folders import writable_folder
from ipsam.utils.weights import sha256_of

SAM2_FILES = {name.removeprefix("sam2.1_hiera_").removesuffix(".pt"): name for name in OFFICIAL_FILES}
ARCHIVES = "archives"  # folder in paths.data for fetched archives
WEB = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class Download:
    """Options of configs/download.yaml.

    Attributes:
        sam2: keys of ``SAM2_FILES``.
        datasets: sets in the archive.
        archive: path or URL; None for a set's own URL, if it has one.
    """

    sam2: Sequence[str]
    checkpoints: Path
    datasets: Sequence[Benchmark]
    archive: str | None
    sha256: str | None
    root: Path
    num_workers: int

    @classmethod
    def of(cls, config: DictConfig) -> "Download":
        """Check the options; ValueError for an invalid one, or without anything to fetch."""
        sam2, datasets = _names(plain(config.sam2), "sam2"), _names(plain(config.datasets), "datasets")
        archive, sha256 = (_text(plain(config[name]), name) for name in ("archive", "sha256"))
        if not sam2 and not datasets:
            raise ValueError("say what to fetch: sam2=[large], datasets=[CAMO] or both (see --help)")
        if unknown := [name for name in sam2 if name not in SAM2_FILES]:
            raise ValueError(f"sam2={unknown[0]!r:.99}: there are {', '.join(SAM2_FILES)}")
        if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {sha256!r:.99}")
        if archive is not None and "://" in archive and not archive.startswith(WEB):
            raise ValueError(f"archive={archive:.200}: only http and https can be fetched; fetch it yourself")
        if archive is not None and not datasets:
            raise ValueError("say what the archive holds: datasets=[NAME,...]")
        return cls(
            sam2=sam2,
            checkpoints=Path(config.paths.checkpoints),
            datasets=[benchmark(name) for name in datasets],
            archive=archive,
            sha256=sha256,
            root=Path(config.paths.data),
            num_workers=whole_number("num_workers", plain(config.num_workers)),
        )

    def weights(self) -> Iterator[Path]:
        """Fetch SAM2's files and yield their paths."""
        for name in self.sam2:
            yield fetch_sam2(SAM2_FILES[name], writable_folder(self.checkpoints, "paths.checkpoints"))

    def data(self) -> Diagnosis | None:
        """Install the archive's sets and examine them; None without an archive.

        Raises:
            ValueError, OSError: the archive can't be fetched or unpacked, lacks a set, or a set is installed already.
        """
        address = self.archive
        if address is None and len(self.datasets) == 1:
            address = self.datasets[0].archive
        if address is None:
            return None
        writable_folder(self.root, "paths.data")
        path = self._fetched(address)
        with tempfile.TemporaryDirectory(prefix=".ipsam_", dir=self.root) as scratch, _errors_named(path):
            folder = path if path.is_dir() else Path(scratch)
            if folder != path:
                unpack(path, folder)
            splits = find_splits([one.name for one in self.datasets], folder)
            check_free(splits, self.root)
            for split in splits:
                install(split, self.root)
        return diagnose(_data(splits, self.root), num_workers=self.num_workers)

    def instructions(self) -> str:
        """Describe where the sets are published, their layout, and the next command."""
        names = ",".join(one.name for one in self.datasets)
        return "\n".join(
            [
                *map(expected_layout, self.datasets),
                f"in {self.root} (paths.data). Fetch the archive there, then:",
                f"  python scripts/download.py datasets=[{names}] archive=FILE",
            ]
        )

    def _fetched(self, address: str) -> Path:
        if not address.startswith(WEB):
            path = Path(address)
            if self.sha256 is not None and path.is_file() and sha256_of(path) != self.sha256:
                raise ValueError(f"{path} is not the file: its sha256 is not {self.sha256}; fetch it again")
            return path
        name = Path(unquote(urlparse(address).path)).name or "archive"
        prefix = hashlib.sha256(address.encode()).hexdigest()[:8]  # other URLs may end in the same name
        return fetch(address, self.root / ARCHIVES / f"{prefix}_{name}", sha256=self.sha256)


def _data(splits: Sequence[Split], root: Path) -> Data:
    """Name the sets as a run would; a set without splits is trained and tested on."""

    def of(part: str) -> list[str]:
        return [one.name for one in splits if one.split == part or (not one.split and part != "val")]

    sets = {split: of(split) for split in ("train", "val", "test")}
    return settings_of(Data, {"image_size": 1024, "root": root, **sets}, "data")


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Prefix errors with the archive's path, unless they name it."""
    try:
        yield
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from error


def _names(value: Any, option: str) -> list[str]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{option} must be a list of names, {option}=[NAME,...], not {value!r:.99}")
    return names


def _text(value: Any, option: str) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise ValueError(f"{option} must be a text, not {value!r:.99}")
    return value
