"""Training pairs at the network's size in one file, so that decoding and resizing are paid for once.

A record is the image (S, S, 3) and then the mask (S, S), uint8 both, as they leave the resize; record i is pair i's.
The file's name is a cache_key of all that decides its content, so that whatever changes, another file is made and no
old one is ever taken for it. Nothing is deleted: old files are their owner's.
"""

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from ipsam.data.sources import FolderSource, Sample
from ipsam.data.transforms import network_input, resized_mask
from ipsam.utils.workers import begin_worker

VERSION = 3  # of the files: their form, or what is read into them
MAX_WORKERS = 16  # that build; a disk has no use for more
UNFINISHED = ".unfinished"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedSource:
    """The pairs of another source, at the network's size, from the file that ``cached`` made.

    Attributes:
        source: of which it holds the pairs.
        image_size: side of images and masks in pixels.
        path: the file; each process that reads maps it into its memory by itself.
    """

    source: FolderSource
    image_size: int
    path: Path

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, epoch: int) -> Sample:  # noqa: ARG002 (the interface's)
        """Pair ``index``."""
        size = self.image_size
        # Copied on write: torch takes no array that can't be written to, and the file stays as it is.
        record = np.memmap(self.path, np.uint8, "c", index * _record(size), (size, size, 4)).reshape(-1)
        image, mask = np.split(record.view(np.ndarray), [3 * size * size])
        return Sample(self.source.pairs[index].stem, image.reshape(size, size, 3), mask.reshape(size, size))

    def names(self) -> list[str]:
        """The images' stems."""
        return self.source.names()

    def listing(self) -> Iterator[str]:
        """That of the pairs: where they are read from makes no difference."""
        return self.source.listing()


def cached(source: FolderSource, folder: Path, *, image_size: int, num_workers: int | None = None) -> CachedSource:
    """A source's pairs from a file in ``folder``, which is made first where there is none.

    Of several processes that need the same file one makes it, and the others wait. It has its name only when it is
    whole; what is cut off while it is made leaves a file ending in ``.unfinished``, which the next one replaces.

    Args:
        source: pairs on disk.
        folder: made if it is not there.
        image_size: side of the network's input in pixels.
        num_workers: processes that make it; None: one for each CPU, up to 16.

    Raises:
        ValueError: the folder can't be used, or has too little room; or a pair can't be read.
        FileNotFoundError: a pair's file is gone.
    """
    path = folder.absolute() / f"{cache_key(source, image_size)}_{image_size}px.bin"
    num_bytes = len(source) * _record(image_size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file() or path.stat().st_size != num_bytes:
                _build(source, path, image_size, num_workers or min(MAX_WORKERS, os.cpu_count() or 1))
    except FileNotFoundError:
        raise  # a pair's
    except (OSError, NotImplementedError) as error:  # the second: filelock's, of a file system without locks
        _refuse(folder, num_bytes, error)
    logger.info("%d pairs at %d px are read from the cache %s (%s)", len(source), image_size, path, _gb(num_bytes))
    return CachedSource(source, image_size, path)


def cache_key(source: FolderSource, image_size: int) -> str:
    """32 hexadecimal digits of all that decides what a cache of these pairs holds."""
    rules = (VERSION, image_size, source.foreground_above, source.at_least, cv2.__version__, torch.__version__)
    digest = hashlib.sha256(repr(rules).encode())
    for pair in source.pairs:
        for path in (pair.image, pair.mask):
            status = path.stat()
            digest.update(repr((str(path.resolve()), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:32]


def _build(source: FolderSource, path: Path, image_size: int, num_workers: int) -> None:
    num_bytes = len(source) * _record(image_size)
    unfinished = path.with_suffix(UNFINISHED)
    unfinished.unlink(missing_ok=True)  # what it takes up is free again
    if num_bytes > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with unfinished.open("wb") as file:
        file.truncate(num_bytes)
    pool = ProcessPoolExecutor(min(num_workers, len(source)), initializer=_begin)
    try:
        made = pool.map(partial(_write, source, unfinished, image_size), range(len(source)))
        for _ in tqdm(made, total=len(source), desc=f"cache at {image_size} px", unit="pair", disable=None):
            pass
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BrokenProcessPool as error:
        raise ValueError(f"{path}: a process that builds it was killed, perhaps for want of memory") from error
    finally:
        pool.shutdown(cancel_futures=True)
        unfinished.unlink(missing_ok=True)


def _begin() -> None:
    """Each worker has one thread; of torch's, too, a forked process would wait for some that it does not have."""
    begin_worker()
    torch.set_num_threads(1)


def _write(source: FolderSource, path: Path, image_size: int, index: int) -> None:
    """A worker's task. Written, not mapped: where there is no room any more, that is an error, not the end."""
    sample = source.read(index, epoch=0)
    image = network_input(sample.image, image_size).permute(1, 2, 0).numpy()
    with path.open("rb+", buffering=0) as file:
        file.seek(index * _record(image_size))
        for part in (image, resized_mask(sample.mask, (image_size, image_size))):
            if file.write(part.tobytes()) != part.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _refuse(folder: Path, num_bytes: int, error: Exception) -> NoReturn:
    reason = getattr(error, "strerror", None) or error
    raise ValueError(
        f"data.cache={folder}: can't hold the training pairs, which take {_gb(num_bytes)} ({reason}); make room there, "
        "name another folder, or do without (data.cache=null)"
    ) from error


def _record(image_size: int) -> int:
    """Bytes of a pair."""
    return 4 * image_size * image_size


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
