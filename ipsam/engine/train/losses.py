"""The training objective (paper section 3.5): every term by name."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ipsam.engine.runs.settings import LossWeights
from ipsam.model import IPSAMOutput

EPS = 1.0  # pixels; keeps the soft IoU defined, and calm, on empty masks


def soft_iou_loss(prob: Float[Tensor, "b 1 H W"], mask: Float[Tensor, "b 1 H W"]) -> Float[Tensor, ""]:
    """1 - IoU of probabilities with the mask, each image by itself, averaged over the batch."""
    intersection = (prob * mask).sum((1, 2, 3))
    union = (prob + mask - prob * mask).sum((1, 2, 3))
    return (1 - (intersection + EPS) / (union + EPS)).mean()


def mask_loss(logits: Float[Tensor, "b 1 _ _"], mask: Float[Tensor, "b 1 H W"]) -> dict[str, Float[Tensor, ""]]:
    """The dense mask loss of one output: terms ``bce``, ``iou`` and ``l1``.

    The logits, of any grid, are resized to the mask as in evaluation, so that no detail of the mask is averaged away.
    """
    logits = F.interpolate(logits.float(), size=mask.shape[-2:], mode="bilinear", align_corners=False)
    prob = logits.sigmoid()
    return {
        "bce": F.binary_cross_entropy_with_logits(logits, mask),
        "iou": soft_iou_loss(prob, mask),
        "l1": (prob - mask).abs().mean(),
    }


def ipsam_loss(output: IPSAMOutput, mask: Float[Tensor, "b 1 H W"], weights: LossWeights) -> dict[str, Tensor]:
    """All terms of the objective and their weighted sum ``total``.

    Coarse, refined, auxiliary logits and the foreground prompt are compared with the mask Y, the background prompt with
    1 - Y. Terms are named ``<output>/<bce|iou|l1>``; the auxiliary ones are averaged over the pyramid's levels.
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
        losses = [mask_loss(logits, target) for logits in outputs]
        for part in losses[0]:
            terms[f"{name}/{part}"] = torch.stack([loss[part] for loss in losses]).mean()
            total = total + getattr(weights, name) * terms[f"{name}/{part}"]
    return {"total": total, **terms}
