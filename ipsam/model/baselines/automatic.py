"""SAM2-AMG: sam2's automatic mask generator, from which the mask with the highest predicted IoU is taken."""

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ipsam.model.baselines.sam2 import SAM2
from ipsam.model.segmenter import IPSAMOutput, Segmenter
from ipsam.utils.imagenet import denormalise

CERTAIN = 10.0  # logit of a binary mask's foreground in SAM2's scale; the background gets its negative
NONE_FOUND = "no mask found, an empty map"
MAX_POINTS = 256  # on each side of the grid


class AutomaticMask(Segmenter):
    """Grid of point prompts, a filter of the masks, and the best mask by the model's own IoU estimate (section 4.1).

    The generator gets the network's square input, as SAM2 itself would resize it.

    Args:
        backbone: SAM2.
        points_per_side: side of the grid in points, 1 to 256.
        points_per_batch: points prompted together; more is faster and takes more memory.
        pred_iou_thresh: lowest predicted IoU of a mask that is kept.
        stability_score_thresh: lowest stability of a mask that is kept.
        box_nms_thresh: box IoU above which non-maximum suppression drops the worse of two masks.

    Raises:
        ValueError: ``points_per_side`` is out of range.
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
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator  # SAM2 has imported sam2

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
        # sam2's predictor assumes the feature sizes of 1024 px.
        self.generator.predictor._bb_feat_sizes = [(backbone.image_size // stride,) * 2 for stride in (4, 8, 16)]

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Segment images (b, 3, H, W) by binary logits (b, 1, H, W); without any mask all is background."""
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
