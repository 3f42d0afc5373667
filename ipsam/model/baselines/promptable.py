"""What SAM and SAM2 have in common: a pretrained model that draws masks from an image and prompts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Features:
    """What an image encoder makes of images.

    Attributes:
        embedding: image embedding (b, c, h, w).
        high_res: finer features for the mask decoder, finest first; SAM has none.
    """

    embedding: Float[Tensor, "b c h w"]
    high_res: list[Float[Tensor, "b _ _ _"]] = field(default_factory=list)


@dataclass(frozen=True)
class Prompts:
    """One object's prompts in each image; in pixels of the network input.

    Attributes:
        points: positive points (x, y), (b, n, 2).
        boxes: (x0, y0, x1, y1), (b, 4).
        zero_mask: a mask of zeros as dense prompt, instead of the learned embedding that stands for "no mask".
    """

    points: Float[Tensor, "b n 2"] | None = None
    boxes: Float[Tensor, "b 4"] | None = None
    zero_mask: bool = False


class Promptable(nn.Module, ABC):
    """SAM or SAM2 with its own mask decoder.

    Attributes:
        image_size: side of the square input in pixels.
        base_sha256: of the file that the weights came from; None for random weights.
    """

    image_size: int
    base_sha256: str | None = None

    @abstractmethod
    def encode(self, image: Float[Tensor, "b 3 H W"]) -> Features:
        """Features of images (b, 3, H, W), normalised by ImageNet's mean and standard deviation; H = W = image_size."""

    @abstractmethod
    def decode(
        self, features: Features, prompts: Prompts, *, multimask: bool = False
    ) -> tuple[Float[Tensor, "b m hm wm"], Float[Tensor, "b m"]]:
        """Mask logits on the mask grid, and the model's own estimate of each mask's IoU.

        Args:
            features: of the images.
            prompts: for each image.
            multimask: three masks an image instead of one.
        """

    def segment(
        self, image: Float[Tensor, "b 3 H W"], prompts: Prompts, *, multimask: bool = False
    ) -> tuple[Float[Tensor, "b m hm wm"], Float[Tensor, "b m"]]:
        """``decode`` of ``encode``."""
        return self.decode(self.encode(image), prompts, multimask=multimask)
