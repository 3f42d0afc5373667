"""Reading training pairs against Pillow and torchvision's transforms, which most code of this field uses."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from ipsam.data import TrainSet, collate_train
from ipsam.data.cache import cached
from ipsam.data.pairs import Pair
from ipsam.data.sources import FolderSource, Source
from ipsam.data.transforms import Augment
from ipsam.engine.runs.configuration import settings_of
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.inputs import write_pairs
from ipsam.tools.benchmark.measure import one_thread, report, side_by_side
from ipsam.tools.benchmark.options import BenchmarkOptions
from ipsam.tools.benchmark.straightforward import PlainPairs
from ipsam.utils.imagenet import normalise

DEFAULTS: dict[str, dict[str, object]] = {}
IMAGE_SIZES = (1024, 352)  # network inputs: our default, and a common size in polyp segmentation
# Height and width of the files.
SIZES = ((1000, 1500), (1333, 1000), (1500, 2000), (1920, 1080), (1200, 1600), (1024, 1024), (1700, 1250), (1080, 1920))
QUALITY, GRAIN = 95, 6.0  # 3 to 4 bits a pixel, as in CAMO and COD10K, which determines the time to decode it
PEER = "Pillow + torchvision"
PEER_WORKER, PLAIN_WORKER = f"{PEER}, a DataLoader's worker", "ipsam, a DataLoader's worker"
PLAIN, ON_CPU, SCALED = "ipsam", "ipsam, normalised on the CPU as well", "ipsam, scaled_decode"
FIRST, LATER = "ipsam, cache, first epoch", "ipsam, cache, later epochs"
NOTES = """\
{num_files} JPEGs of 1000 to 2000 px with PNG masks, read from memory; one thread, medians of {repeats}.
ipsam normalises images on the device, in the training step; one row does it on the CPU. A DataLoader's worker also
sends each pair to the main process, as in training, and is compared with the peer's worker.
The first epoch with the cache builds it, in one process of its own."""


def benchmark(options: BenchmarkOptions) -> Report:
    """Time a pass over generated pairs at each of ``IMAGE_SIZES``."""
    with tempfile.TemporaryDirectory() as name, one_thread():
        pairs = write_pairs(Path(name), SIZES, quality=QUALITY, grain=GRAIN)
        times = [row for size in IMAGE_SIZES for row in _times(pairs, size, Path(name), options.repeats)]
    notes = NOTES.format(num_files=len(pairs), repeats=options.repeats)
    return report([times], notes, "ipsam", "torch", "torchvision", "opencv", "pillow")


def _times(pairs: Sequence[Pair], size: int, folder: Path, repeats: int) -> list[dict[str, Any]]:
    def train_set(source: Source) -> TrainSet:
        return TrainSet(source, image_size=size, augment=settings_of(Augment, {}, "data.augment"), seed=0)

    def cached_set(folder: Path) -> TrainSet:
        return train_set(cached(FolderSource(pairs), folder, image_size=size, num_workers=1))

    def first_epoch() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            read_all(cached_set(Path(empty)))

    def read_all(dataset: TrainSet | PlainPairs) -> None:
        for index in range(len(dataset)):
            dataset[index]

    peer, plain = PlainPairs(pairs, image_size=size, hflip=0.5), train_set(FolderSource(pairs))
    scaled, later = train_set(FolderSource(pairs, at_least=size)), cached_set(folder / "cache")
    one_worker: dict[str, Any] = {"batch_size": 1, "num_workers": 1, "persistent_workers": True}
    peer_loader, loader = DataLoader(peer, **one_worker), DataLoader(plain, collate_fn=collate_train, **one_worker)
    seconds = side_by_side(
        {
            PEER_WORKER: lambda: [None for _ in peer_loader],
            PLAIN_WORKER: lambda: [None for _ in loader],
            PEER: lambda: read_all(peer),
            PLAIN: lambda: read_all(plain),
            ON_CPU: lambda: [normalise(plain[index]["image"]) is None for index in range(len(plain))],
            SCALED: lambda: read_all(scaled),
            FIRST: first_epoch,
            LATER: lambda: read_all(later),
        },
        repeats=repeats,
    )
    peers = {way: seconds[PEER_WORKER if way in (PEER_WORKER, PLAIN_WORKER) else PEER] for way in seconds}
    return [
        {"way": way, "size": size, "ms a pair": 1000 * taken / len(pairs), "times faster": peers[way] / taken}
        for way, taken in seconds.items()
    ]
