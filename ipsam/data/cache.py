"""Cache training pairs at the network's size in one file, so that each is decoded and resized once.

A record is the image (S, S, 3) and then the mask (S, S), both uint8, as they leave the resize, and their checksum;
record i is pair i's. A damaged record is replaced by its pair as read from the files, so it only takes longer.
The file's name is a hash of everything that decides its content, so a change makes a new file. Old files are kept:
their owner may delete them.
"""

import errno
import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from ipsam.data.items import Item, identity
from ipsam.data.placement import Placement
from ipsam.data.sources import FolderSource, Sample
from ipsam.utils.files import is_file
from ipsam.utils.processes import from_main
from ipsam.utils.worker_pool import begin_worker, num_cpus

VERSION = 4  # of the file format and of how pairs are read
CHECKSUM = 4  # bytes of a CRC-32
NUM_CHECKED = 32  # records, evenly spaced, whose checksums decide whether a file is used
MAX_WORKERS = 16  # that build; more would wait for the disk

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedSource:
    """Pairs at the network's size, read from a file that `cached` made.

    Attributes:
        source: the pairs on disk.
        image_size: side of images and masks in pixels.
        path: the file; each process maps it into its own memory.
        letterbox: pad them to the square, see ``Placement``.
    """

    source: FolderSource
    image_size: int
    path: Path
    letterbox: bool = False
    _checked: set[int] = field(default_factory=set, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, epoch: int) -> Sample:  # noqa: ARG002 (the interface's)
        """Read pair ``index``."""
        size, stem = self.image_size, self.source.pairs[index].stem
        # Copy-on-write: torch takes writable arrays only, and the file must not change.
        mapped = np.memmap(self.path, np.uint8, "c", index * _record(size), (_record(size),))
        image, mask, checksum = np.split(mapped.view(np.ndarray), [3 * size * size, 4 * size * size])
        if index not in self._checked and _checksum(mapped[:-CHECKSUM].data) == checksum.tobytes():
            self._checked.add(index)  # once a process: it would take longer than the rest
        if index not in self._checked:
            logger.warning(
                "%s: %s is damaged and read from its files; delete the cache to build it anew", self.path, stem
            )
            content = np.frombuffer(bytearray(_content(self, index)), np.uint8)
            image, mask = np.split(content, [3 * size * size])
        return Sample(stem, image.reshape(size, size, 3), mask.reshape(size, size))

    def names(self) -> list[str]:
        """Return the images' stems."""
        return self.source.names()

    def listing(self) -> Iterator[str]:
        """Yield the listing of the pairs on disk: the cache holds the same data."""
        return self.source.listing()


def cached(
    source: FolderSource, folder: Path, *, image_size: int, letterbox: bool = False, num_workers: int | None = None
) -> CachedSource:
    """Return a source's pairs from a file in ``folder``, which is built first if it is missing.

    If several processes need the same file, one builds it and the others wait. The file gets its name when it is
    complete; an interrupted build leaves a file ending in `.unfinished`, which the next build replaces.

    Args:
        source: the pairs on disk.
        folder: created if it does not exist.
        image_size: side of the network's input in pixels.
        letterbox: keep the images' aspect ratio.
        num_workers: processes that build; None: one for each CPU, up to 16.

    Raises:
        ValueError: the folder cannot be used, or has too little space; or a pair cannot be read.
        FileNotFoundError: a pair's file is missing.
    """
    key = from_main(partial(cache_key, source, image_size, letterbox=letterbox))  # looks at every file
    path = folder.absolute() / f"{key}_{image_size}px.bin"
    cache = CachedSource(source, image_size, path, letterbox)
    num_bytes = len(source) * _record(image_size)
    gigabytes = f"{num_bytes / 1e9:.1f} GB"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not _is_whole(path, num_bytes, _record(image_size)):
                _build(cache, num_bytes, num_workers or min(MAX_WORKERS, num_cpus()))
    except FileNotFoundError:
        raise  # of a pair
    except (OSError, NotImplementedError) as error:  # filelock raises the second on file systems without locks
        raise ValueError(
            f"cache={folder}: can't hold the training pairs, which take {gigabytes} "
            f"({getattr(error, 'strerror', None) or error}); make room there, name another folder, or do without "
            "(cache=null)"
        ) from error
    logger.info("%d pairs at %d px are read from the cache %s (%s)", len(source), image_size, path, gigabytes)
    return cache


def cache_key(source: FolderSource, image_size: int, *, letterbox: bool = False) -> str:
    """Hash everything that decides the content of a cache of these pairs to 32 hexadecimal digits."""
    rules = (VERSION, image_size, source.foreground_above, source.at_least, cv2.__version__, torch.__version__)
    digest = hashlib.sha256(repr((*rules, *["letterbox"] * letterbox)).encode())  # older caches stay valid
    for pair in source.pairs:
        for path in (pair.image, pair.mask):
            if isinstance(path, Item):
                digest.update(repr((str(path.path), identity(path))).encode())
                continue
            status = path.stat()
            digest.update(repr((str(path.resolve()), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:32]


def _is_whole(path: Path, num_bytes: int, record: int) -> bool:
    """Return whether a file has its length, and records their checksums: a crash of the machine may leave zeros."""
    if not is_file(path) or path.stat().st_size != num_bytes:
        return False
    num_records = num_bytes // record
    with path.open("rb") as file:
        for index in range(0, num_records, max(1, num_records // NUM_CHECKED)):
            file.seek(index * record)
            content = file.read(record)
            if _checksum(content[:-CHECKSUM]) != content[-CHECKSUM:]:
                logger.warning("%s is damaged; it is built anew", path)
                return False
    return True


def _build(cache: CachedSource, num_bytes: int, num_workers: int) -> None:
    path, image_size = cache.path, cache.image_size
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)  # before the free space is measured
    if num_bytes > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with unfinished.open("wb") as file:
        file.truncate(num_bytes)
    pool = ProcessPoolExecutor(
        min(num_workers, len(cache)), initializer=_begin, initargs=(partial(_write, cache, unfinished),)
    )
    try:
        written = pool.map(_do, range(len(cache)))
        for _ in tqdm(written, total=len(cache), desc=f"cache at {image_size} px", unit="pair", disable=None):
            pass
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BrokenProcessPool as error:
        raise ValueError(f"{path}: a process that builds it was killed, perhaps for lack of memory") from error
    finally:
        pool.shutdown(cancel_futures=True)
        unfinished.unlink(missing_ok=True)


_task: list[Callable[[int], None]] = []  # of a worker; sent with each pair, all pairs would be pickled for each


def _begin(task: Callable[[int], None]) -> None:
    begin_worker()
    torch.set_num_threads(1)  # a forked process would wait for torch's threads, which it does not have
    _task[:] = [task]


def _do(index: int) -> None:
    _task[0](index)


def _write(cache: CachedSource, path: Path, index: int) -> None:
    """Write pair ``index``. A full disk is an error here; with a memory map it would kill the process."""
    content = _content(cache, index)
    record = content + _checksum(content)
    with path.open("rb+", buffering=0) as file:
        file.seek(index * len(record))
        if file.write(record) != len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _content(cache: CachedSource, index: int) -> bytes:
    sample = cache.source.read(index, epoch=0)
    placement = Placement.of(sample.image.shape, cache.image_size, letterbox=cache.letterbox)
    return placement.image(sample.image).permute(1, 2, 0).numpy().tobytes() + placement.mask(sample.mask).tobytes()


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM, "little")


def _record(image_size: int) -> int:
    """Return the bytes of a record."""
    return 4 * image_size * image_size + CHECKSUM
