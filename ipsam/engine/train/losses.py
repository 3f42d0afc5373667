"""The training objective (paper section 3.5), with every term by name."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ipsam.engine.runs.settings import LossWeights, TermWeights
from ipsam.model import IPSAMOutput

EPS = 1.0  # pixels; keeps soft IoU and Dice defined and smooth on empty masks
EQUAL = TermWeights(bce=1.0, iou=1.0, l1=1.0, dice=0.0)  # the terms that the paper names, alike as it gives no weights


def soft_iou_loss(prob: Float[Tensor, "b 1 H W"], mask: Float[Tensor, "b 1 H W"]) -> Float[Tensor, ""]:
    """Average 1 - IoU of probabilities and mask over the images of a batch."""
    intersection = (prob * mask).sum((1, 2, 3))
    union = (prob + mask - prob * mask).sum((1, 2, 3))
    return (1 - (intersection + EPS) / (union + EPS)).mean()


def soft_dice_loss(prob: Float[Tensor, "b 1 H W"], mask: Float[Tensor, "b 1 H W"]) -> Float[Tensor, ""]:
    """Average 1 - Dice coefficient of probabilities and mask over the images of a batch."""
    intersection = (prob * mask).sum((1, 2, 3))
    areas = (prob + mask).sum((1, 2, 3))
    return (1 - (2 * intersection + EPS) / (areas + EPS)).mean()


def mask_loss(
    logits: Float[Tensor, "b 1 _ _"], mask: Float[Tensor, "b 1 H W"], weights: TermWeights = EQUAL
) -> dict[str, Float[Tensor, ""]]:
    """Compute the terms of the dense mask loss of one output that have a weight; they are returned without it.

    Logits of any size are resized to the mask, as in evaluation, so the mask keeps its detail.
    """
    logits = F.interpolate(logits.float(), size=mask.shape[-2:], mode="bilinear", align_corners=False)
    prob = logits.sigmoid()
    terms: dict[str, Callable[[], Tensor]] = {
        "bce": lambda: F.binary_cross_entropy_with_logits(logits, mask),
        "iou": lambda: soft_iou_loss(prob, mask),
        "l1": lambda: (prob - mask).abs().mean(),
        "dice": lambda: soft_dice_loss(prob, mask),
    }
    return {name: term() for name, term in terms.items() if getattr(weights, name)}


def ipsam_loss(
    output: IPSAMOutput, mask: Float[Tensor, "b 1 H W"], weights: LossWeights, term_weights: TermWeights = EQUAL
) -> dict[str, Tensor]:
    """Compute all terms of the objective and their weighted sum ``total``.

    The target of the background prompt is 1 - Y, that of every other output is the mask Y. Terms are named
    ``<output>/<bce|iou|l1|dice>``; auxiliary terms are averaged over the pyramid's levels.
    """
    supervised: Mapping[str, tuple[list[Tensor], Tensor]] = {
        "coarse": ([output.coarse], mask),
        "refined": ([] if output.refined is None else [output.refined], mask),
        "fg": ([] if output.fg_logits is None else [output.fg_logits], mask),
        "bg": ([] if output.bg_logits is None else [output.bg_logits], 1 - mask),
        "auxiliary": (list(output.auxiliary), mask),
    }
    terms: dict[str, Tensor] = {}
    total = torch.zeros((), device=mask.device)
    for name, (outputs, target) in supervised.items():
        if not outputs:
            continue
        losses = [mask_loss(logits, target, term_weights) for logits in outputs]
        for part in losses[0]:
            terms[f"{name}/{part}"] = torch.stack([loss[part] for loss in losses]).mean()
            total = total + getattr(weights, name) * getattr(term_weights, part) * terms[f"{name}/{part}"]
    return {"total": total, **terms}
