"""Reading training pairs, against what most code of this field does: Pillow and torchvision's transforms."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from ipsam.data import TrainSet, collate_train
from ipsam.data.cache import cached
from ipsam.data.pairs import Pair
from ipsam.data.sources import FolderSource, Source
from ipsam.data.transforms import Augment, network_input
from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import settings_of
from ipsam.tools.benchmark.photographs import write_pairs
from ipsam.tools.benchmark.straightforward import PlainPairs
from ipsam.tools.benchmark.timing import check_repeats, environment, side_by_side
from ipsam.utils.imagenet import normalise

IMAGE_SIZES = (1024, 352)  # of the paper's COD setting, and the one that polyp segmentation often takes
# Height, width of the files.
SIZES = ((1000, 1500), (1333, 1000), (1500, 2000), (1920, 1080), (1200, 1600), (1024, 1024), (1700, 1250), (1080, 1920))
# With these a pixel takes as many bits, and as long to decode, as those of CAMO and COD10K: 3 to 4, and about 5 ns.
QUALITY, GRAIN = 95, 6.0
PEER = "Pillow + torchvision"
PEER_WORKER, PLAIN_WORKER = f"{PEER}, a DataLoader's worker", "ipsam, a DataLoader's worker"
PLAIN, ON_CPU, SCALED = "ipsam", "ipsam, normalised on the CPU as well", "ipsam, scaled_decode"
FIRST, LATER = "ipsam, cache, first epoch", "ipsam, cache, later epochs"
QUANTILE = 0.999


def benchmark_data(*, repeats: int = 9) -> tuple[str, dict[str, Any]]:
    """Time one pass over generated pairs by every way, in one thread.

    Args:
        repeats: of each timing; medians are given.

    Returns:
        Two Markdown tables, of times and of how pixels differ, and the same as data: milliseconds per pair, ratios,
        and absolute differences of 255.

    Raises:
        ValueError: ``repeats`` is below 1.
    """
    check_repeats(repeats)
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        pairs = write_pairs(Path(folder), SIZES, quality=QUALITY, grain=GRAIN)
        times = [row for size in IMAGE_SIZES for row in _times(pairs, size, Path(folder), repeats)]
        pixels = [row for size in IMAGE_SIZES for row in _differences(pairs, size)]
    cells = [[one["way"], f"{one['image_size']}", f"{one['ms']:.1f}", f"{one['ratio']:.2f}"] for one in times]
    compared = [
        [one["between"], f"{one['image_size']}", *(f"{one[key]:.{digits}f}" for key, digits in SHOWN.items())]
        for one in pixels
    ]
    about = environment("ipsam", "torch", "torchvision", "opencv-python-headless", "pillow")
    notes = [
        f"{len(pairs)} JPEGs of 1000 to 2000 px with PNG masks, read from memory; one thread, medians of {repeats}.",
        "ipsam's images are normalised on the device, by the training step; one row does it on the CPU. A DataLoader's",
        "worker also hands each pair on to the main process, as it does in training, and is compared with the peer's.",
        "The cache's first epoch makes it, in one process of its own.",
        ", ".join(f"{name} {value}" for name, value in about.items()),
    ]
    tables = (
        markdown(["way", "size", "ms a pair", "times faster"], cells),
        markdown(["pixels, of 255", "size", "mean", "99.9 %", "largest"], compared),
    )
    return "\n\n".join([*tables, "\n".join(notes)]), {"environment": about, "times": times, "pixels": pixels}


SHOWN = {"mean": 3, "quantile": 0, "largest": 0}  # of a difference, with digits


def _times(pairs: Sequence[Pair], image_size: int, folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    peer = PlainPairs(pairs, image_size=image_size, hflip=0.5)
    plain, scaled = (_train_set(FolderSource(pairs, at_least=least), image_size) for least in (None, image_size))
    kept = _train_set(cached(FolderSource(pairs), folder / "kept", image_size=image_size, num_workers=1), image_size)

    def first_epoch() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as new:
            source = cached(FolderSource(pairs), Path(new), image_size=image_size, num_workers=1)
            _read_all(_train_set(source, image_size))

    peer_loader, loader = _loader(peer), _loader(plain)
    taken = side_by_side(
        {
            PEER_WORKER: lambda: [batch is None for batch in peer_loader],
            PLAIN_WORKER: lambda: [batch is None for batch in loader],
            PEER: lambda: _read_all(peer),
            PLAIN: lambda: _read_all(plain),
            ON_CPU: lambda: [normalise(plain[index]["image"]) is None for index in range(len(plain))],
            SCALED: lambda: _read_all(scaled),
            FIRST: first_epoch,
            LATER: lambda: _read_all(kept),
        },
        repeats=repeats,
    )
    for way, seconds in taken.items():
        peers_own = taken[PEER_WORKER if way in (PEER_WORKER, PLAIN_WORKER) else PEER]
        yield {"image_size": image_size, "way": way, "ms": 1000 * seconds / len(pairs), "ratio": peers_own / seconds}


def _differences(pairs: Sequence[Pair], image_size: int) -> Iterator[dict[str, Any]]:
    """How far the images of one way are from those of another, before they are normalised."""
    resize = transforms.Resize((image_size, image_size))
    plain, scaled = ([_image(pair, image_size, least) for pair in pairs] for least in (None, image_size))
    peers = [np.asarray(resize(Image.open(pair.image).convert("RGB"))).transpose(2, 0, 1) for pair in pairs]
    for between, others in ((f"{PLAIN} and {PEER}", peers), (f"{SCALED} and without", scaled)):
        apart = np.abs(np.stack(plain).astype(np.int16) - np.stack(others))
        yield {
            "image_size": image_size,
            "between": between,
            "mean": float(apart.mean()),
            "quantile": float(np.quantile(apart, QUANTILE)),
            "largest": int(apart.max()),
        }


def _loader(dataset: TrainSet | PlainPairs) -> DataLoader[Any]:
    """Batches of one from one worker, which stays from pass to pass."""
    collate = collate_train if isinstance(dataset, TrainSet) else None
    return DataLoader(dataset, batch_size=1, num_workers=1, persistent_workers=True, collate_fn=collate)


def _train_set(source: Source, image_size: int) -> TrainSet:
    return TrainSet(source, image_size=image_size, augment=settings_of(Augment, {}, "data.augment"), seed=0)


def _read_all(dataset: TrainSet | PlainPairs) -> None:
    for index in range(len(dataset)):
        dataset[index]


def _image(pair: Pair, image_size: int, at_least: int | None) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = network_input(
        FolderSource([pair], at_least=at_least).read(0, epoch=0).image, image_size
    ).numpy()
    return pixels


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
