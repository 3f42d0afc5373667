"""Interface that SAM and SAM2 share: a pretrained model that predicts masks from an image and prompts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Features:
    """Output of an image encoder.

    Attributes:
        embedding: image embedding (b, c, h, w).
        high_res: finer features for the mask decoder, finest first; empty for SAM.
    """

    embedding: Float[Tensor, "b c h w"]
    high_res: list[Float[Tensor, "b _ _ _"]] = field(default_factory=list)


@dataclass(frozen=True)
class Prompts:
    """Prompts of one object in each image, in pixels of the network input.

    Attributes:
        points: positive points (x, y), (b, n, 2).
        boxes: (x0, y0, x1, y1), (b, 4).
        zero_mask: a mask of zeros as dense prompt instead of the learned "no mask" embedding.
    """

    points: Float[Tensor, "b n 2"] | None = None
    boxes: Float[Tensor, "b 4"] | None = None
    zero_mask: bool = False


class Promptable(nn.Module, ABC):
    """SAM or SAM2 with its own mask decoder.

    Attributes:
        image_size: side of the square input in pixels.
        base_sha256: SHA-256 of the weights' file; None for random weights.
    """

    image_size: int
    base_sha256: str | None = None

    @abstractmethod
    def encode(self, image: Float[Tensor, "b 3 H W"]) -> Features:
        """Encode images (b, 3, H, W), normalised by ImageNet's mean and standard deviation; H = W = image_size."""

    @abstractmethod
    def decode(
        self, features: Features, prompts: Prompts, *, multimask: bool = False
    ) -> tuple[Float[Tensor, "b m hm wm"], Float[Tensor, "b m"]]:
        """Predict mask logits (b, m, hm, wm) and the model's own estimate of each mask's IoU (b, m).

        Args:
            features: encoded images.
            prompts: prompts of each image.
            multimask: predict three masks for each image instead of one (m is 3 or 1).
        """

    def segment(
        self, image: Float[Tensor, "b 3 H W"], prompts: Prompts, *, multimask: bool = False
    ) -> tuple[Float[Tensor, "b m hm wm"], Float[Tensor, "b m"]]:
        """Encode images and decode the prompts."""
        return self.decode(self.encode(image), prompts, multimask=multimask)
