"""What SAM and SAM2 have in common: a pretrained model that draws masks from an image and prompts."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Promptable(nn.Module, ABC):
    """SAM or SAM2, whole, with its original mask decoder.

    Attributes:
        image_size: side of the square input in pixels.
        base_sha256: of the file that the weights came from; None for random weights.
    """

    image_size: int
    base_sha256: str | None

    @abstractmethod
    def segment(
        self,
        image: Float[Tensor, "b 3 H W"],
        *,
        points: Float[Tensor, "b n 2"] | None = None,
        boxes: Float[Tensor, "b 4"] | None = None,
        zero_mask: bool = False,
        multimask: bool = False,
    ) -> tuple[Float[Tensor, "b m hm wm"], Float[Tensor, "b m"]]:
        """Mask logits on the mask grid, and the model's own estimate of each mask's IoU.

        Args:
            image: normalised by ImageNet's mean and standard deviation; H = W = image_size.
            points: positive points, (x, y) in pixels of the network input.
            boxes: (x0, y0, x1, y1) in pixels of the network input.
            zero_mask: with a mask of zeros as dense prompt, instead of the embedding for "no mask".
            multimask: three masks an image instead of one.
        """
