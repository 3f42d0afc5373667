"""Contract of a model: what the engine expects of IP-SAM and of every comparison system, and what they return."""

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn


@dataclass
class IPSAMOutput:
    """Outputs of a forward pass, as logits on the mask grid (hm, wm) = (H/4, W/4) unless said otherwise.

    Attributes:
        mask_logits: the decoder's masks, (b, m, hm, wm).
        coarse: the decoder's masks reduced to one, (b, 1, hm, wm).
        refined: coarse plus the refinement head's residual; None without that head. MDSAM puts the mask of its detail
            branch here, (b, 1, H, W).
        fg_logits, bg_logits: SPG's dense prompts P+ and P-; None without SPG.
        gate: PSG's suppressive gate in (0, 1), (b, 1, h, w); None for operators without a gate.
        auxiliary: lateral inhibition's logits of each pyramid level, in training only; else empty.
        prediction: the output that ``logits`` returns, ``decoder`` or ``fg_prompt``.
        remarks: for each image a remark for the evaluation report to count, such as "centroid outside the object", or
            an empty text.
    """

    mask_logits: Float[Tensor, "b m hm wm"]
    coarse: Float[Tensor, "b 1 hm wm"]
    refined: Float[Tensor, "b 1 _ _"] | None = None
    fg_logits: Float[Tensor, "b 1 hm wm"] | None = None
    bg_logits: Float[Tensor, "b 1 hm wm"] | None = None
    gate: Float[Tensor, "b 1 h w"] | None = None
    auxiliary: list[Float[Tensor, "b 1 _ _"]] = field(default_factory=list)
    prediction: str = "decoder"
    remarks: list[str] = field(default_factory=list)

    @property
    def logits(self) -> Float[Tensor, "b 1 _ _"]:
        """The model's prediction: refined, else coarse; with ``prediction="fg_prompt"`` SPG's P+."""
        if self.prediction == "fg_prompt":
            assert self.fg_logits is not None, "fg_prompt needs SPG"
            return self.fg_logits
        return self.coarse if self.refined is None else self.refined


class NoBackbone(nn.Module):
    """Backbone of a model without pretrained weights.

    Args:
        image_size: side of the model's input, in pixels.
    """

    base_sha256: ClassVar[None] = None

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size

    def encoder_blocks(self) -> list[nn.Module]:
        """Return no blocks to checkpoint."""
        return []


class Segmenter(nn.Module):
    """Model from an image to an ``IPSAMOutput``, which must hold at least ``mask_logits`` and ``coarse``.

    ``forward(image)`` takes images (b, 3, H, W), normalised by ImageNet's mean and standard deviation. An oracle's
    ``forward(image, masks)`` takes the ground truth too: b boolean masks, each (height, width) of its own image.

    Attributes:
        oracle: whether ``forward`` takes the ground truth.
        can_train: False for models that are evaluated only.
        uses_all_parameters: whether the loss reaches every trainable parameter, be it with a gradient of zero; training
            on several processes depends on it.
        backbone: module with the pretrained weights, or ``NoBackbone``. Its ``image_size`` is the side of the input in
            pixels; its ``base_sha256`` is the SHA-256 of the weights' file, or None for random weights; its
            ``encoder_blocks()`` returns the image encoder's blocks in order.
    """

    oracle: ClassVar[bool] = False
    can_train: ClassVar[bool] = True
    uses_all_parameters: bool = True
    backbone: nn.Module

    @property
    def base_sha256(self) -> str | None:
        """SHA-256 of the pretrained weights' file; None if any of them are random."""
        digest = self.backbone.base_sha256
        assert digest is None or isinstance(digest, str)
        return digest
