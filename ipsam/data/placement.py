"""Placement of an image in the network's square input, for masks and maps too, there and back.

By default an image fills the square, whatever its aspect ratio. Letterboxed it keeps its aspect ratio: its longer side
fills the square, it lies in the middle, and the padding on both sides of it has ImageNet's mean colour, which
normalisation turns into zeros. In the middle, because a flip then leaves the padding where it is, but for one pixel if
it cannot be halved. For a square image the two are the same.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from ipsam.utils.imagenet import MEAN

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # predicting by an exported file does without torch

MAX_IMAGE_SIZE = 4096  # side of the square, in pixels; four times SAM2's own
BLOCK = 16  # rows or columns of a resized image that are computed at a time
MAX_BITS = 15  # of a weight of pixels
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

    @property
    def part(self) -> tuple[slice, slice]:
        """Return the rows and columns of the square that the image takes."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def image(self, image: NDArray[np.uint8]) -> UInt8[Tensor, "3 H W"]:
        """Resize RGB (height, width, 3) to the input (3, side, side); it is not yet normalised."""
        import torch
        import torch.nn.functional as F

        resized, size = torch.from_numpy(image)[None].permute(0, 3, 1, 2), (self.height, self.width)
        if image.shape[:2] != size:
            resized = F.interpolate(resized, size=size, mode="bilinear", align_corners=False, antialias=True)
        if self.is_whole:
            return resized[0]
        square = torch.tensor(PADDING, dtype=torch.uint8)[:, None, None].repeat(1, self.side, self.side)
        rows, columns = self.part
        square[:, rows, columns] = resized[0]
        return square

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same as ``image``, to the bit, as an array (side, side, 3); it takes several times as long."""
        resized = resized_image(image, (self.height, self.width))
        if self.is_whole:
            return resized
        square = np.tile(np.array(PADDING, np.uint8), (self.side, self.side, 1))
        square[self.part] = resized
        return square

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize the image's mask, of any size, to (side, side); the padding is background."""
        resized = resized_mask(mask, (self.height, self.width))
        if self.is_whole:
            return resized
        square = np.zeros((self.side, self.side), np.uint8)
        square[self.part] = resized
        return square

    def cropped(self, maps: Float[Tensor, "c gh gw"]) -> Float[Tensor, "c _ _"]:
        """Cut the image's part out of maps (c, gh, gw) of the whole input, on any grid.

        Without padding they stay as they are; else they are resized to (side, side) first, as the part need not end
        between two cells of a coarser grid.
        """
        if self.is_whole:
            return maps
        import torch.nn.functional as F

        whole = F.interpolate(maps[None].float(), size=(self.side, self.side), mode="bilinear", align_corners=False)
        rows, columns = self.part
        return whole[0, :, rows, columns]


def resized_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a mask to (height, width) = ``size`` by nearest neighbour: pixel i is the mask's at floor(i * scale)."""
    if mask.shape == size:
        return mask
    resized: NDArray[np.uint8] = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized


def check_input(description: dict[str, Any], path: Path) -> None:
    """Raise ValueError, with the path, unless a model's description holds a possible image_size and letterbox."""
    size = description.get("image_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_IMAGE_SIZE:
        raise ValueError(
            f"{path}: image_size must be a whole number of pixels up to {MAX_IMAGE_SIZE}, not {size!r:.99}"
        )
    if not isinstance(description["letterbox"], bool):
        raise ValueError(f"{path}: letterbox must be true or false, not {description['letterbox']!r:.99}")


def resized_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (height, width, c) to ``size`` as torch resizes uint8 on a CPU, bilinear with antialiasing, to the bit."""
    for axis in (1, 0):
        if image.shape[axis] != size[axis]:
            image = np.moveaxis(_resized_along(np.moveaxis(image, axis, -1), size[axis]), -1, axis)
    return image


def _resized_along(rows: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """Resize the last axis by weights in fixed point, whose sums are exact in float64."""
    scale = rows.shape[-1] / length
    reach = max(scale, 1.0)
    centres = scale * (np.arange(length) + 0.5)
    first = np.maximum((centres - reach + 0.5).astype(int), 0)
    at = first[:, None] + np.arange(int(np.ceil(reach)) * 2 + 1)
    weights = (1 - np.abs((at - centres[:, None] + 0.5) * (1 / reach))).clip(0)
    weights[at >= rows.shape[-1]] = 0
    weights /= weights.cumsum(axis=1)[:, -1:]  # summed up in torch's order
    bits = next((bits for bits in range(22) if int(0.5 + weights.max() * 2 ** (bits + 1)) >= 1 << MAX_BITS), 22)
    weights = np.floor(0.5 + weights * 2**bits)
    resized = np.empty((*rows.shape[:-1], length), np.uint8)
    for begin in range(0, length, BLOCK):
        block = at[begin : begin + BLOCK]
        low = block[0, 0]
        matrix = np.zeros((block[-1, -1] + 1 - low, len(block)))
        np.put_along_axis(matrix, (block - low).T, weights[begin : begin + BLOCK].T, axis=0)
        near = rows[..., low : block[-1, -1] + 1].astype(np.float64)
        sums = near @ matrix[: near.shape[-1]]
        resized[..., begin : begin + BLOCK] = np.floor(sums / 2**bits + 0.5).clip(0, 255)
    return resized
