"""SAM2-AMG: sam2's automatic mask generator, of whose masks the one with the highest predicted IoU counts."""

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from torch import Tensor

from ipsam.model.baselines.sam2 import SAM2
from ipsam.model.ipsam import IPSAMOutput
from ipsam.model.segmenter import Segmenter
from ipsam.utils.imagenet import denormalise

CERTAIN = 10.0  # logit of a binary mask's foreground, in SAM2's scale; its negative is the background's
NONE_FOUND = "no mask found, an empty map"
MAX_POINTS = 256  # a side


class AutomaticMask(Segmenter):
    """Prompts a grid of points, filters the masks, and takes the best by the model's own word (section 4.1).

    The generator sees the network's input, square as SAM2 itself would make it.

    Args:
        backbone: SAM2.
        points_per_side: of the grid.
        points_per_batch: prompted together; more is faster and takes more memory.
        pred_iou_thresh: predicted IoU below which a mask is dropped.
        stability_score_thresh: stability below which a mask is dropped.
        box_nms_thresh: box IoU above which the worse of two masks is dropped.

    Raises:
        ValueError: for a grid of no points or of too many.
    """

    can_train = False

    def __init__(
        self,
        backbone: SAM2,
        *,
        points_per_side: int = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        box_nms_thresh: float = 0.7,
    ) -> None:
        super().__init__()
        if not 1 <= points_per_side <= MAX_POINTS:
            raise ValueError(f"points_per_side must be between 1 and {MAX_POINTS}, not {points_per_side}")
        self.backbone: SAM2 = backbone
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # sam2 compiles its transform by torch.jit
            self.generator: Any = SAM2AutomaticMaskGenerator(
                backbone.model,
                points_per_side=points_per_side,
                points_per_batch=points_per_batch,
                pred_iou_thresh=pred_iou_thresh,
                stability_score_thresh=stability_score_thresh,
                box_nms_thresh=box_nms_thresh,
            )
        # sam2's predictor takes the feature sizes of 1024 px for granted.
        self.generator.predictor._bb_feat_sizes = [(backbone.image_size // stride,) * 2 for stride in (4, 8, 16)]

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Logits of two values (b, 1, H, W) for images (b, 3, H, W); all background where no mask is found."""
        pixels = denormalise(image).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        logits = image.new_full((image.shape[0], 1, *image.shape[-2:]), -CERTAIN)
        remarks = []
        for index, picture in enumerate(pixels):
            masks = self.generator.generate(np.ascontiguousarray(picture))
            remarks.append("" if masks else NONE_FOUND)
            if masks:
                best = max(masks, key=lambda mask: mask["predicted_iou"])
                logits[index, 0][torch.from_numpy(best["segmentation"]).to(image.device)] = CERTAIN
        return IPSAMOutput(logits, logits, remarks=remarks)
