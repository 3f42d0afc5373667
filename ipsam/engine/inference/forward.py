"""Forward passes of a model, and their outputs as probability maps and predictions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ipsam.data.placement import Placement
from ipsam.engine.inference.options import DEFAULTS, PredictionOptions
from ipsam.engine.inference.prediction import Prediction
from ipsam.model import IPSAMOutput, Segmenter
from ipsam.utils.async_copy import to_device, to_host
from ipsam.utils.imagenet import normalise


def to_map(logits: Tensor, size: tuple[int, int], *, eight_bit: bool = True) -> Tensor:
    """Turn the logits (1, hm, wm) of one image into its map (height, width) = ``size``, on the same device.

    The map is uint8, 0 to 255, or float32, 0.0 to 1.0.
    """
    resized = F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0, 0]
    probabilities = resized.sigmoid_()
    return probabilities.mul_(255).round_().to(torch.uint8) if eight_bit else probabilities


def forward(
    model: Segmenter,
    images: Tensor,
    masks: Sequence[NDArray[np.uint8]],
    placements: Sequence[Placement],
    *,
    device: torch.device,
    bf16: bool,
) -> IPSAMOutput:
    """Run a model on images (b, 3, H, W) uint8 of any device; an oracle gets their masks too, padded as they are."""
    placed = zip(masks, placements, strict=True)
    padded = (mask if placement.is_whole else placement.mask(mask) for mask, placement in placed)
    truth = ([torch.from_numpy(mask > 0) for mask in padded],) if model.oracle else ()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        output: IPSAMOutput = model(normalise(images.to(device, non_blocking=device.type == "cuda")), *truth)
    return output


def forward_views(
    model: Segmenter,
    images: Sequence[NDArray[np.uint8]],
    *,
    sides: Sequence[int],
    letterbox: bool,
    flip: bool,
    device: torch.device,
    bf16: bool,
) -> tuple[IPSAMOutput, list[Placement]]:
    """Run a model on RGB images (height, width, 3) at each input side, and on their mirror images too with ``flip``.

    Returns:
        The output at the first side, whose logits are the mean of all views if there are several, on the finest grid;
        and the images' placements at the first side.

    Raises:
        ValueError: the model cannot work at another size than it was trained at.
    """
    outputs, logits, placements = [], [], []
    for side in sides:
        placed = [Placement.of(image.shape, side, letterbox=letterbox) for image in images]
        inputs = torch.stack([one.image(image) for one, image in zip(placed, images, strict=True)])
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16), resized(model, side):
            batch = normalise(to_device(inputs, device))
            output: IPSAMOutput = model(batch)
            views = [output.logits, model(batch.flip(-1)).logits.flip(-1)] if flip else [output.logits]
        outputs.append(output)
        placements.append(placed)
        logits += views
    if len(logits) == 1:
        return outputs[0], placements[0]
    finest = max(tuple(one.shape[-2:]) for one in logits)
    same = [F.interpolate(one.float(), size=finest, mode="bilinear", align_corners=False) for one in logits]
    return replace(outputs[0], refined=torch.stack(same).mean(dim=0), prediction="decoder"), placements[0]


def start_predictions(
    output: IPSAMOutput,
    images: Sequence[NDArray[np.uint8]],
    placements: Sequence[Placement],
    options: PredictionOptions = DEFAULTS,
) -> Callable[[], list[Prediction]]:
    """Resize a model's output to the images, RGB (height, width, 3), and start copying it to the host.

    The returned call waits for the predictions.
    """
    grids = {"fg_logits": output.fg_logits, "bg_logits": output.bg_logits, "gate_grid": output.gate}
    given = {name: grid.float() for name, grid in grids.items() if grid is not None}
    tensors = []  # of one image after the other
    for index, (image, placed) in enumerate(zip(images, placements, strict=True)):
        tensors.append(to_map(placed.cropped(output.logits[index]), image.shape[:2], eight_bit=False))
        tensors += [placed.cropped(grid[index])[0] for grid in given.values()]
    copied, remarks = to_host(tensors), output.remarks or [""] * len(images)

    def wait() -> list[Prediction]:
        arrays, predictions = iter(copied()), []
        for image, remark in zip(images, remarks, strict=True):
            prob = next(arrays).numpy()
            parts = {name: next(arrays).clone() for name in given}
            predictions.append(Prediction(image, prob, **parts, remark=remark, options=options))
        return predictions

    return wait


@contextmanager
def resized(model: Segmenter, side: int) -> Iterator[None]:
    """Change the side of the images that a model takes, within this block.

    Raises:
        ValueError: its backbone cannot.
    """
    backbone: Any = model.backbone
    trained = backbone.image_size
    if side == trained:
        yield
        return
    if not hasattr(backbone, "resize"):
        raise ValueError(f"{type(model).__name__} takes images of {trained} px only, not of {side}: keep its own size")
    try:
        backbone.resize(side)
    except ValueError as error:
        raise ValueError(f"size={side}: {error}") from error
    try:
        yield
    finally:
        backbone.resize(trained)
