"""Formats that a model can be exported to: size, difference from PyTorch, change of the scores, and speed."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ipsam.data.files import image_files, normal_stem, read_list
from ipsam.data.images import read_mask
from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.export import check_target, export
from ipsam.engine.inference.export.precision import write_at
from ipsam.engine.inference.export.program import FORMATS, PRECISIONS
from ipsam.engine.inference.loading import load
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.metrics import Protocol, measure
from ipsam.engine.runs.exported_file import IR
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.inputs import PHOTOGRAPH, experiment, random_model, write_pairs
from ipsam.tools.benchmark.measure import bytes_of, report
from ipsam.tools.benchmark.options import BenchmarkOptions

DEFAULTS = {"cpu": {"sizes": (512,), "repeats": 5}}
METRICS = ("mae", "fw", "sm", "em")
NUM_FILES, NUM_SCORED = 4, 2  # of generated photographs: all, and those that do not calibrate int8
NOTES = """\
Differences of maps and changes of mean scores against PyTorch in fp32, as ipsam predict computes them, on {num}
images; int8 is calibrated on others of the same folder. images/s: from a picture in memory to its map; times: median of
the ratios of {repeats} turns, in which PyTorch in fp32 and the format alternate. With one thread CPU seconds count,
which other programs hardly disturb, otherwise seconds."""
Row = dict[str, Any]


def benchmark(options: BenchmarkOptions) -> Report:
    """Export a model to each format and precision, and compare it with PyTorch in fp32.

    Raises:
        ValueError: the device is a GPU, there are no images to score or to calibrate on, or a mask is missing.
    """
    if options.device.type != "cpu":
        raise ValueError("formats are compared on a CPU: --device cpu")
    with tempfile.TemporaryDirectory() as folder:
        scored, others, masks = _pictures(options, Path(folder))
        reference, rows = _predictor(options, "fp32"), []
        row, maps = _compared(reference, reference, scored, masks, options.repeats)
        rows.append({"format": "PyTorch", "precision": "fp32", "MB": bytes_of(reference.model) / 1e6, **row})
        for name, precision, size, predictor in _exported(options, others, Path(folder)):
            row, _ = _compared(predictor, reference, scored, masks, options.repeats, maps)
            rows.append({"format": name, "precision": precision, "MB": size / 1e6, **row})
    notes = NOTES.format(num=len(scored), repeats=options.repeats)
    return report([rows], notes, "ipsam", "torch", "onnxruntime", "openvino", "nncf", options=options)


def _pictures(options: BenchmarkOptions, folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the pictures to score, those to calibrate on, and the masks of the first; generate them without photos."""
    if options.photos is None:
        pairs = write_pairs(folder, NUM_FILES * [PHOTOGRAPH])
        images = [Path(str(pair.image)) for pair in pairs]
        return images[:NUM_SCORED], images[NUM_SCORED:], [Path(str(pair.mask)) for pair in pairs[:NUM_SCORED]]
    if options.masks is None or options.stems is None:
        raise ValueError("--photos needs --masks, a folder of PNGs, and --stems, a file with a photo's stem a line")
    chosen, images = set(read_list(options.stems)), image_files(options.photos)
    scored = [image for image in images if normal_stem(image.stem) in chosen]
    others = [image for image in images if normal_stem(image.stem) not in chosen]
    if not scored or not others:
        raise ValueError(f"--stems {options.stems} must list some of the photos in {options.photos}, and not all")
    return scored, others, [options.masks / f"{image.stem}.png" for image in scored]


def _predictor(options: BenchmarkOptions, precision: str, *, fast: bool = True) -> Predictor:
    if options.ckpt is not None:
        loaded = load(options.ckpt, device="cpu", precision=precision, fast=fast)
        assert isinstance(loaded, Predictor)
        return loaded
    size = options.sizes[0]
    model = random_model(experiment(options.variant, size))
    return Predictor(model, image_size=size, device="cpu", precision=precision, fast=fast)


def _exported(
    options: BenchmarkOptions, others: Sequence[Path], folder: Path
) -> Iterator[tuple[str, str, int, BasePredictor]]:
    """Yield each format after the other, with its precision and bytes; one at a time is in memory and on disk."""
    bf16 = _predictor(options, "bf16")
    yield "PyTorch", "bf16", bytes_of(bf16.model), bf16
    del bf16
    import onnx

    plain = export(_predictor(options, "fp32", fast=False), folder / "plain.onnx")
    for ending in (".onnx", IR):
        for precision in PRECISIONS[ending]:
            path = check_target(folder / f"{precision}{ending}", precision, calibrated=precision == "int8")
            write_at(precision, onnx.load(plain), path, others)
            files = [file for file in folder.iterdir() if file.stem == precision]
            yield FORMATS[ending], precision, sum(file.stat().st_size for file in files), load(path)
            for file in files:
                file.unlink()


def _compared(
    predictor: BasePredictor,
    reference: BasePredictor,
    scored: Sequence[Path],
    masks: Sequence[Path],
    repeats: int,
    expected: Sequence[NDArray[np.float32]] | None = None,
) -> tuple[Row, list[NDArray[np.float32]]]:
    """Compare a predictor with the reference, whose maps are expected."""
    maps = [predictor.predict(image).prob for image in scored]
    pairs = list(zip(maps, maps if expected is None else expected, strict=True))
    row: Row = {"largest difference": max(float(np.abs(a - b).max()) for a, b in pairs)}
    row["mean difference"] = fmean(float(np.abs(a - b).mean()) for a, b in pairs)
    scores = _scores([a for a, _ in pairs], masks), _scores([b for _, b in pairs], masks)
    row |= {f"change of {name}": new - old for name, new, old in zip(METRICS, *scores, strict=True)}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    image, seconds = to_rgb(scored[0]), []
    for _ in range(repeats + 1):
        turn = []
        for one in (reference, predictor):
            began = clock()
            one.predict(image)
            turn.append(clock() - began)
        seconds.append(turn)
    row["images/s"] = 1 / median(taken for _, taken in seconds[1:])
    row["times PyTorch fp32"] = median(base / taken for base, taken in seconds[1:])
    return row, maps


def _scores(maps: Sequence[NDArray[np.float32]], masks: Sequence[Path]) -> list[float]:
    """Return the mean score of ``METRICS`` over 8-bit maps."""
    pairs = zip(maps, masks, strict=True)
    scored = [measure(np.rint(255 * one).astype(np.uint8), read_mask(mask), Protocol()).scores for one, mask in pairs]
    return [fmean(scores[metric] for scores in scored) for metric in METRICS]
