"""Predictions of a model on test sets, and their scores."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from ipsam.data import TestSet, collate_test
from ipsam.data.placement import Placement
from ipsam.engine.evaluate.parts import Parts
from ipsam.engine.evaluate.scores import Evaluation, Scored
from ipsam.engine.evaluate.scoring import score_images, summary
from ipsam.engine.inference.forward import forward, to_map
from ipsam.engine.metrics import METRICS, Pixels, Protocol, measure, to_eight_bit
from ipsam.engine.runs.settings import Settings
from ipsam.model import Segmenter
from ipsam.utils.async_copy import one_ahead, to_host
from ipsam.utils.files import write_bytes
from ipsam.utils.shards import WHOLE, Shard, gather
from ipsam.utils.signals import ignore_signals

CONSTANTS = (0, 64, 128, 191, 255)  # grey values, from black to white


@dataclass(frozen=True)
class Predicted:
    """A prediction that a scoring worker calls, to save it at ``path``, if given, and to get it with its mask."""

    name: str
    prediction: Pixels
    mask: NDArray[np.uint8]
    path: Path | None = None

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        """Save the prediction if it has a path; return name, prediction and mask."""
        if self.path is not None:
            write_bytes(self.path, cv2.imencode(".png", to_eight_bit(self.prediction))[1].tobytes())
        return self.name, self.prediction, self.mask


@torch.inference_mode()
def predict(
    model: Segmenter,
    test_set: Dataset[Any],
    *,
    protocol: Protocol,
    device: torch.device,
    bf16: bool,
    batch_size: int,
    num_workers: int,
    maps: Path | None = None,
    remarks: Counter[str] | None = None,
) -> Iterator[Predicted]:
    """Yield predictions for a test set, in its order; ``remarks`` counts the model's remarks on images.

    Raises:
        ValueError: the model's logits for an image are not finite.
    """
    model.eval()
    loader = DataLoader(
        test_set,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate_test,
        worker_init_fn=ignore_signals,
        pin_memory=device.type == "cuda",
    )

    def begin(
        images: Tensor, masks: list[NDArray[np.uint8]], names: list[str], placements: list[Placement]
    ) -> Callable[[], Iterator[Predicted]]:
        output = forward(model, images, masks, placements, device=device, bf16=bf16)
        if remarks is not None:
            remarks.update(filter(None, output.remarks))
        shapes = map(protocol.shape, masks)
        logits = (placed.cropped(one) for one, placed in zip(output.logits, placements, strict=True))
        drawn = [to_map(*each, eight_bit=protocol.eight_bit) for each in zip(logits, shapes, strict=True)]
        return partial(_predicted, to_host([output.logits.isfinite().flatten(1).all(1), *drawn]), masks, names, maps)

    for predictions in one_ahead(begin(*batch) for batch in loader):
        yield from predictions


def _predicted(
    arrive: Callable[[], list[Tensor]], masks: Sequence[NDArray[np.uint8]], names: Sequence[str], maps: Path | None
) -> Iterator[Predicted]:
    """Yield the predictions of a batch once they are on the host."""
    finite, *drawn = arrive()
    for name, prediction, mask, is_finite in zip(names, drawn, masks, finite.tolist(), strict=True):
        if not is_finite:  # 8 bits would hide it
            raise ValueError(f"{name}: the model's logits are not finite; its training has diverged")
        yield Predicted(name, prediction.numpy(), mask, None if maps is None else maps / f"{name}.png")


def evaluate(
    model: Segmenter,
    test_sets: Mapping[str, TestSet],
    *,
    device: torch.device,
    protocol: Protocol | None = None,
    bf16: bool = False,
    batch_size: int = 1,
    num_workers: int = 0,
    maps: Path | None = None,
    parts: Parts | None = None,
) -> Evaluation:
    """Score a model on each test set.

    In a distributed run each process predicts and scores its share of the images, and all return the complete scores.

    Args:
        model: model to evaluate, on ``device``.
        test_sets: test sets by name.
        device: device of the model.
        protocol: rules of scoring; None: the default.
        bf16: predict in bf16.
        batch_size: images per forward pass.
        num_workers: number of processes that read images; as many others score predictions.
        maps: folder for the predictions, as ``<dataset>/<image's stem>.png``.
        parts: score this process's shard alone, and unite it with the others'.

    Raises:
        ShardsMissingError: in the main process, as long as other shards have no scores.
    """
    protocol, state = protocol or Protocol(), PartialState()
    own, rank = WHOLE if parts is None else parts.shard, Shard(state.process_index, state.num_processes)
    scored = {} if parts is None else parts.saved(test_sets, tuple(protocol.metrics))
    for name, test_set in test_sets.items():
        if name in scored:
            continue
        share = rank.of(own.of(range(len(test_set)), batch_size), batch_size)
        remarks: Counter[str] = Counter()
        predictions = predict(
            model,
            Subset(test_set, share),
            protocol=protocol,
            device=device,
            bf16=bf16,
            batch_size=batch_size,
            num_workers=num_workers,
            maps=None if maps is None else maps / name,
            remarks=remarks,
        )
        images = score_images(
            name, predictions, len(share), protocol=protocol, num_workers=num_workers, predicting=True
        )
        images.remarks = remarks
        scored[name] = Scored.united(gather(images, rank), batch_size)
    if parts is not None:
        if not state.is_main_process:
            return Evaluation(protocol=protocol)
        scored = parts.exchange(scored, batch_size)
    summaries = [summary(name, images, protocol) for name, images in scored.items()]
    complete = (one.without(name, test_sets[name].left_out) for name, one in zip(scored, summaries, strict=True))
    return Evaluation.joined(complete, protocol)


def evaluate_with(
    model: Segmenter,
    test_sets: Mapping[str, TestSet],
    settings: Settings,
    *,
    protocol: Protocol | None = None,
    maps: Path | None = None,
    parts: Parts | None = None,
) -> Evaluation:
    """Score a model on each test set by the ``engine`` section, see ``evaluate``."""
    return evaluate(
        model.to(settings.device),
        test_sets,
        device=settings.device,
        protocol=protocol,
        bf16=settings.bf16,
        batch_size=settings.eval_batch_size,
        num_workers=settings.num_workers,
        maps=maps,
        parts=parts,
    )


def evaluate_constant(test_sets: Mapping[str, TestSet], protocol: Protocol | None = None) -> Evaluation:
    """Score constant maps of each grey in ``CONSTANTS``, and return the best score per metric."""
    protocol = protocol or Protocol()
    evaluation = Evaluation(protocol=protocol)
    for name, test_set in test_sets.items():
        indices = tqdm(range(len(test_set)), desc=f"{name}, constant maps", unit="image", leave=False, disable=None)
        scored = [Scored() for _ in CONSTANTS]
        for index in indices:
            mask = test_set.source.read(index, epoch=0).mask
            for value, images in zip(CONSTANTS, scored, strict=True):
                images.add(str(index), measure(np.full_like(mask, value), mask, protocol))
        results = [images.means()[0] for images in scored]
        best = {name: metric.best(result[name] for result in results) for name, metric in METRICS.items()}
        evaluation.datasets[name] = {"num_images": len(test_set), **best}
        evaluation.without(name, test_set.left_out)
    return evaluation
