"""Download pretrained weights, and install datasets from their archives in the layout that runs expect."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlparse

from omegaconf import DictConfig
from pydantic import BeforeValidator, Field

from ipsam.data import Data
from ipsam.data.benchmarks import KNOWN, benchmark
from ipsam.engine.runs.configuration import plain, settings_of
from ipsam.engine.runs.fetch import fetch, fetch_sam2
from ipsam.model.sam2_checkpoints import OFFICIAL_FILES
from ipsam.tools.prepare.archives import BrokenArchiveError, unpack
from ipsam.tools.prepare.doctor import Diagnosis, diagnose
from ipsam.tools.prepare.install import Split, check_free, expected_layout, find_splits, install
from ipsam.tools.prepare.timm_weights import WEIGHTS, fetch_timm
from ipsam.utils.folders import writable_folder
from ipsam.utils.options import Options, one_of
from ipsam.utils.weights import sha256_of

# Files of SAM 2.1 by the variant alone, those of 2.0 by their whole name, such as sam2_hiera_large.
SAM2_FILES = {name.removeprefix("sam2.1_hiera_").removesuffix(".pt"): name for name in OFFICIAL_FILES}
ARCHIVES = "archives"  # folder in paths.data for fetched archives
MAX_NAME = 100  # bytes that a fetched archive keeps of its name
WEB = ("http://", "https://")
NAMES = "a list of names, [NAME,...]"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value or []


class Download(Options):
    """Options of configs/download.yaml.

    Attributes:
        datasets: sets in the archive, by their names in ``KNOWN``.
        archive: path or URL; None for a set's own URL, if it has one.
    """

    sam2: Annotated[Sequence[Annotated[str, one_of(SAM2_FILES)]], BeforeValidator(_listed)] = Field(description=NAMES)
    timm: Annotated[Sequence[Annotated[str, one_of(WEIGHTS)]], BeforeValidator(_listed)] = Field(description=NAMES)
    datasets: Annotated[Sequence[str], BeforeValidator(_listed)] = Field(description=NAMES)
    archive: str | None = Field(min_length=1)
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$", description="64 hexadecimal digits or null")
    num_workers: int = Field(ge=0)
    checkpoints: Path
    root: Path

    @classmethod
    def of(cls, config: DictConfig) -> "Download":
        """Check the options; ValueError for an invalid one, or without anything to fetch."""
        values = {
            name: plain(config[name]) for name in ("sam2", "timm", "datasets", "archive", "sha256", "num_workers")
        }
        request = cls(**values, checkpoints=Path(config.paths.checkpoints), root=Path(config.paths.data))
        archive = request.archive
        if archive is not None and "://" in archive and not archive.startswith(WEB):
            raise ValueError(f"archive={archive:.200}: only http and https can be fetched; fetch it yourself")
        if archive is not None and not request.datasets:
            raise ValueError("say what the archive holds: datasets=[NAME,...]")
        if not request.sam2 and not request.timm and not request.datasets:
            raise ValueError(
                "say what to fetch, one or more of: sam2=[large], timm=[tf_efficientnet_lite0], datasets=[CAMO] "
                "(see --help)"
            )
        return request.model_copy(update={"datasets": [benchmark(name).name for name in request.datasets]})

    def weights(self) -> Iterator[Path]:
        """Fetch the files of weights and yield their paths."""
        for name in self.sam2:
            yield fetch_sam2(SAM2_FILES[name], writable_folder(self.checkpoints, "paths.checkpoints"))
        for name in self.timm:
            yield fetch_timm(name, writable_folder(self.checkpoints, "paths.checkpoints"))

    def data(self) -> Diagnosis | None:
        """Install the archive's sets and examine them; None without an archive.

        Raises:
            ValueError, OSError: the archive can't be fetched or unpacked, lacks a set, or a set is installed already.
        """
        address = self.archive
        if address is None and len(self.datasets) == 1:
            address = KNOWN[self.datasets[0]].archive
        if address is None:
            return None
        writable_folder(self.root, "paths.data")
        path = self._fetched(address)
        with tempfile.TemporaryDirectory(prefix=".ipsam_", dir=self.root) as scratch, _errors_named(path):
            folder = path if path.is_dir() else Path(scratch)
            if folder != path:
                self._unpack(path, folder, is_download=address.startswith(WEB))
            splits = find_splits(self.datasets, folder)
            check_free(splits, self.root)
            for split in splits:
                install(split, self.root)
        return diagnose(_data(splits, self.root), num_workers=self.num_workers)

    def instructions(self) -> str:
        """Describe where the sets are published, their layout, and the next command."""
        return "\n".join(
            [
                *(expected_layout(KNOWN[name]) for name in self.datasets),
                f"in {self.root} (paths.data). Fetch the archive there, then:",
                f"  ipsam download datasets=[{','.join(self.datasets)}] archive=FILE",
            ]
        )

    def _unpack(self, path: Path, folder: Path, *, is_download: bool) -> None:
        """Unpack an archive; delete a broken one that was downloaded, which the next run would take for whole."""
        try:
            unpack(path, folder)
        except BrokenArchiveError as error:
            if not is_download:
                raise
            path.unlink()
            raise ValueError(f"{error}; the download was deleted") from error

    def _fetched(self, address: str) -> Path:
        if not address.startswith(WEB):
            path = Path(address)
            if self.sha256 is not None and path.is_file() and sha256_of(path) != self.sha256:
                raise ValueError(f"{path} is not the file: its sha256 is not {self.sha256}; fetch it again")
            return path
        name = Path(unquote(urlparse(address).path)).name.encode()[-MAX_NAME:].decode(errors="ignore") or "archive"
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
