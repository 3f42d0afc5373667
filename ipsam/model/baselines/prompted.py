"""SAM and SAM2 with fixed prompts: none, the whole image as a box, or the ground truth's centroid."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ipsam.model.baselines.promptable import Promptable, Prompts
from ipsam.model.segmenter import IPSAMOutput, Segmenter

OUTSIDE = "centroid outside the object"
EMPTY = "no object, the point is the image's centre"


class NullPrompt(Segmenter):
    """Prompt-absent SAM or SAM2: empty tokens and a zero mask (section 4.1).

    The backbone's own arguments decide which of its parts train: LoRA, adapters or the decoder.

    Args:
        backbone: SAM or SAM2.
        zero_mask: False takes the learned "no mask" embedding instead, as SAM-Adapter and SAM2-Adapter do.
    """

    uses_all_parameters = False

    def __init__(self, backbone: Promptable, *, zero_mask: bool = True) -> None:
        super().__init__()
        self.backbone: Promptable = backbone
        self.prompts = Prompts(zero_mask=zero_mask)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Segment images (b, 3, H, W) by mask logits (b, 1, hm, wm)."""
        logits, _ = self.backbone.segment(image, self.prompts)
        return IPSAMOutput(logits, logits)


class WholeImageBox(Segmenter):
    """MedSAM without a user: the box prompt is the whole image (Table 1, "MedSAM")."""

    uses_all_parameters = False

    def __init__(self, backbone: Promptable) -> None:
        super().__init__()
        self.backbone: Promptable = backbone

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Segment images (b, 3, H, W) by mask logits (b, 1, hm, wm)."""
        logits, _ = self.backbone.segment(image, Prompts(boxes=whole_image(image)))
        return IPSAMOutput(logits, logits)


class OraclePoint(Segmenter):
    """SAM or SAM2 prompted with the ground truth's centroid, an upper bound (Table 1, "Oracle, 1-pt GT").

    The centroid of a hollow or bent object may lie outside it. It is used all the same, as in the paper, and the
    output's remarks count it.

    Args:
        backbone: SAM or SAM2.
        multimask: predict three masks and take the one with the highest estimated IoU, instead of the single mask.
    """

    oracle = True
    can_train = False

    def __init__(self, backbone: Promptable, *, multimask: bool = False) -> None:
        super().__init__()
        self.backbone: Promptable = backbone
        self.multimask = multimask

    def forward(self, image: Float[Tensor, "b 3 H W"], masks: Sequence[Bool[Tensor, "_ _"]]) -> IPSAMOutput:
        """Segment images (b, 3, H, W) by mask logits (b, 1, hm, wm), given their true masks, each of its own size."""
        found = [centroid(mask) for mask in masks]
        size = torch.tensor(image.shape[:1:-1], dtype=torch.float32)  # W, H
        points = torch.stack([point for point, _ in found])[:, None] * size
        logits, iou = self.backbone.segment(image, Prompts(points=points.to(image.device)), multimask=self.multimask)
        best = logits[torch.arange(len(logits)), iou.argmax(1)][:, None]
        return IPSAMOutput(logits, best, remarks=[remark for _, remark in found])


def whole_image(image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 4"]:
    """Return the box (b, 4) around each whole image (b, 3, H, W)."""
    height, width = image.shape[-2:]
    box = torch.zeros(image.shape[0], 4, device=image.device)  # filled in place: copying a list would synchronise a GPU
    box[:, 2], box[:, 3] = width, height
    return box


def centroid(mask: Bool[Tensor, "height width"]) -> tuple[Float[Tensor, "2"], str]:
    """Return a mask's centroid (x, y) as shares of width and height, and a remark if it lies on no object."""
    height, width = mask.shape
    rows, columns = mask.nonzero(as_tuple=True)
    if not len(rows):
        return torch.tensor([0.5, 0.5]), EMPTY
    y, x = rows.double().mean(), columns.double().mean()
    inside = bool(mask[int(y.round()), int(x.round())])
    return torch.stack([x / width, y / height]).float(), "" if inside else OUTSIDE
