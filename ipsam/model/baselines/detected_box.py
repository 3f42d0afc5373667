"""YOLOv8+SAM2: SAM2 prompted with the box of a detector (Table 1, "YOLOv8+SAM2(Auto)")."""

import torch
from jaxtyping import Float
from torch import Tensor

from ipsam.imagenet import denormalise
from ipsam.model.baselines.detector import YOLOv8
from ipsam.model.baselines.promptable import Promptable, Prompts
from ipsam.model.baselines.prompted import whole_image
from ipsam.model.ipsam import IPSAMOutput
from ipsam.model.segmenter import Segmenter

NOTHING_FOUND = "nothing detected, the box is the whole image"


class DetectedBox(Segmenter):
    """SAM2 with the detector's most confident box as prompt; the whole image where it finds nothing (section 4.2).

    Args:
        backbone: SAM or SAM2.
        detector: finds the boxes.
    """

    uses_all_parameters = False

    def __init__(self, backbone: Promptable, *, detector: YOLOv8) -> None:
        super().__init__()
        self.backbone: Promptable = backbone
        self.detector = detector

    @property
    def base_sha256(self) -> str | None:
        """Of both files, joined by a plus; None if either's weights are random."""
        digests = (self.backbone.base_sha256, self.detector.base_sha256)
        return None if None in digests else "+".join(map(str, digests))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Mask logits (b, 1, hm, wm) of images (b, 3, H, W)."""
        boxes, found = self.detector(denormalise(image))
        boxes = torch.where(found[:, None], boxes, whole_image(image))
        logits, _ = self.backbone.segment(image, Prompts(boxes=boxes))
        return IPSAMOutput(logits, logits, remarks=["" if one else NOTHING_FOUND for one in found.tolist()])
