"""What the engine trains and evaluates: IP-SAM and the systems it is compared with."""

from typing import ClassVar

from torch import nn


class Segmenter(nn.Module):
    """A model that maps an image to an ``IPSAMOutput``, of which only ``mask_logits`` and ``coarse`` must be there.

    ``forward(image)`` takes images (b, 3, H, W), normalised by ImageNet's mean and standard deviation. An oracle's
    takes the ground truth too: ``forward(image, masks)``, b boolean masks, each (height, width) of its own image.

    Attributes:
        oracle: whether ``forward`` takes the ground truth.
        can_train: False for models that are evaluated only.
        uses_all_parameters: whether the loss reaches every trainable parameter, which training on several processes has
            to know.
        backbone: what holds the pretrained weights; its ``base_sha256`` names the file that they came from, or is None
            for random weights.
    """

    oracle: ClassVar[bool] = False
    can_train: ClassVar[bool] = True
    uses_all_parameters: ClassVar[bool] = True
    backbone: nn.Module

    @property
    def base_sha256(self) -> str | None:
        """Of what the pretrained weights came from; None if any of them are random."""
        digest = self.backbone.base_sha256
        assert digest is None or isinstance(digest, str)
        return digest
