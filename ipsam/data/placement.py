"""Placement of an image in the network's square input, for masks and maps too, there and back.

By default an image fills the square, whatever its aspect ratio. Letterboxed it keeps its aspect ratio: its longer side
fills the square, it lies in the middle, and the padding on both sides of it has ImageNet's mean colour, which
normalisation turns into zeros. In the middle, because a flip then leaves the padding where it is, but for one pixel if
it cannot be halved. For a square image the two are the same.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from ipsam.utils.imagenet import MEAN

PADDING = [round(255 * value) for value in MEAN]  # RGB


@dataclass(frozen=True)
class Placement:
    """Part of the square input that an image takes, in pixels.

    Attributes:
        side: of the square.
        height, width: of the part.
    """

    side: int
    height: int
    width: int

    @classmethod
    def of(cls, size: tuple[int, ...], side: int, *, letterbox: bool) -> "Placement":
        """Place an image of (height, width) = ``size``, such as the shape of its array begins with."""
        if not letterbox:
            return cls(side, side, side)
        height, width = (max(1, round(side * length / max(size[:2]))) for length in size[:2])
        return cls(side, height, width)

    @property
    def top(self) -> int:
        """Return the rows of padding above the image; there are as many below it, or one more."""
        return (self.side - self.height) // 2

    @property
    def left(self) -> int:
        """Return the columns of padding on the left of the image; there are as many on its right, or one more."""
        return (self.side - self.width) // 2

    @property
    def is_whole(self) -> bool:
        """Return whether there is no padding."""
        return self.height == self.width == self.side

    def image(self, image: NDArray[np.uint8]) -> UInt8[Tensor, "3 H W"]:
        """Resize RGB (height, width, 3) to the input (3, side, side); it is not yet normalised."""
        resized: Tensor = v2.functional.resize(to_image(image), [self.height, self.width], antialias=True)
        if not self.is_whole:
            right, bottom = self.side - self.width - self.left, self.side - self.height - self.top
            resized = v2.functional.pad(resized, [self.left, self.top, right, bottom], fill=PADDING)
        return resized.as_subclass(Tensor)

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize the image's mask, of any size, to (side, side); the padding is background."""
        resized = resized_mask(mask, (self.height, self.width))
        if self.is_whole:
            return resized
        square = np.zeros((self.side, self.side), np.uint8)
        square[self.top : self.top + self.height, self.left : self.left + self.width] = resized
        return square

    def cropped(self, maps: Float[Tensor, "c gh gw"]) -> Float[Tensor, "c _ _"]:
        """Cut the image's part out of maps (c, gh, gw) of the whole input, on any grid.

        Without padding they stay as they are; else they are resized to (side, side) first, as the part need not end
        between two cells of a coarser grid.
        """
        if self.is_whole:
            return maps
        whole = F.interpolate(maps[None].float(), size=(self.side, self.side), mode="bilinear", align_corners=False)
        return whole[0, :, self.top : self.top + self.height, self.left : self.left + self.width]


def to_image(image: NDArray[np.uint8]) -> tv_tensors.Image:
    """Convert (height, width, 3) to (3, height, width)."""
    return tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))


def resized_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a mask to (height, width) = ``size`` by nearest neighbour: pixel i is the mask's at floor(i * scale)."""
    if mask.shape == size:
        return mask
    resized: NDArray[np.uint8] = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized
