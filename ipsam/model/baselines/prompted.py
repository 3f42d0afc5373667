"""SAM and SAM2 with a fixed way of prompting: nothing, the whole image as a box, or a point of the ground truth."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ipsam.model.baselines.promptable import Promptable, Prompts
from ipsam.model.ipsam import IPSAMOutput
from ipsam.model.segmenter import Segmenter

OUTSIDE = "centroid outside the object"
EMPTY = "no object, the point is the image's centre"


class NullPrompt(Segmenter):
    """Prompt-absent SAM or SAM2: empty tokens and a zero mask (section 4.1).

    What of the backbone trains, LoRA, adapters or the decoder, is the backbone's own choice.

    Args:
        backbone: SAM or SAM2.
        zero_mask: False gives the learned embedding for "no mask" instead, as SAM-Adapter and SAM2-Adapter do.
    """

    uses_all_parameters = False

    def __init__(self, backbone: Promptable, *, zero_mask: bool = True) -> None:
        super().__init__()
        self.backbone: Promptable = backbone
        self.prompts = Prompts(zero_mask=zero_mask)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Mask logits (b, 1, hm, wm) of images (b, 3, H, W)."""
        logits, _ = self.backbone.segment(image, self.prompts)
        return IPSAMOutput(logits, logits)


class WholeImageBox(Segmenter):
    """MedSAM without its user: the box prompt is the whole image (Table 1, "MedSAM")."""

    uses_all_parameters = False

    def __init__(self, backbone: Promptable) -> None:
        super().__init__()
        self.backbone: Promptable = backbone

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Mask logits (b, 1, hm, wm) of images (b, 3, H, W)."""
        logits, _ = self.backbone.segment(image, Prompts(boxes=whole_image(image)))
        return IPSAMOutput(logits, logits)


class OraclePoint(Segmenter):
    """SAM or SAM2 prompted with the ground truth's centroid, to show its capacity (Table 1, "Oracle, 1-pt GT").

    The centroid of a hollow or bent object may lie outside it; it is used all the same, as the paper says, and
    remarked on.

    Args:
        backbone: SAM or SAM2.
        multimask: draw three masks and take the one whose IoU the model estimates highest; else the single mask.
    """

    oracle = True
    can_train = False

    def __init__(self, backbone: Promptable, *, multimask: bool = False) -> None:
        super().__init__()
        self.backbone: Promptable = backbone
        self.multimask = multimask

    def forward(self, image: Float[Tensor, "b 3 H W"], masks: Sequence[Bool[Tensor, "_ _"]]) -> IPSAMOutput:
        """Mask logits (b, 1, hm, wm) of images (b, 3, H, W) and their true masks, each of its own size."""
        found = [centroid(mask) for mask in masks]
        size = torch.tensor(image.shape[:1:-1], dtype=torch.float32)  # W, H
        points = torch.stack([point for point, _ in found])[:, None] * size
        logits, iou = self.backbone.segment(image, Prompts(points=points.to(image.device)), multimask=self.multimask)
        best = logits[torch.arange(len(logits)), iou.argmax(1)][:, None]
        return IPSAMOutput(logits, best, remarks=[remark for _, remark in found])


def whole_image(image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 4"]:
    """The box around each whole image (b, 3, H, W)."""
    height, width = image.shape[-2:]
    box = torch.zeros(image.shape[0], 4, device=image.device)  # filled in place, as to copy a list would wait for a GPU
    box[:, 2], box[:, 3] = width, height
    return box


def centroid(mask: Bool[Tensor, "height width"]) -> tuple[Float[Tensor, "2"], str]:
    """Centroid (x, y) of a mask as shares of its width and height, and a remark where it lies on no object."""
    height, width = mask.shape
    rows, columns = mask.nonzero(as_tuple=True)
    if not len(rows):
        return torch.tensor([0.5, 0.5]), EMPTY
    y, x = rows.double().mean(), columns.double().mean()
    inside = bool(mask[int(y.round()), int(x.round())])
    return torch.stack([x / width, y / height]).float(), "" if inside else OUTSIDE
