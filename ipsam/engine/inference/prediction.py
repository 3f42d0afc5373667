"""What a model makes of one image, at the image's own size."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

COLOUR = (255, 40, 80)  # of the overlay, RGB
THRESHOLD = 0.5
PNG_LEVEL = 3  # of zlib: a third of the time of Pillow's own 6, for a file a third larger

Probabilities = NDArray[np.float32]


class PromptMaps(NamedTuple):
    """SPG's dense prompts as probabilities (height, width): of foreground and of background."""

    fg: Probabilities
    bg: Probabilities


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """A prediction.

    Attributes:
        image: what was looked at, RGB (height, width, 3) uint8, the right way up.
        prob: probability that a pixel belongs to the object, (height, width) float32 in [0, 1].
        fg_logits, bg_logits: SPG's prompts on the mask grid (hm, wm); None where the model makes none.
        gate_grid: PSG's gate on the embedding grid (h, w); None where the model has none.
        remark: what the model says of the image, such as that nothing was found; mostly empty.
    """

    image: NDArray[np.uint8]
    prob: Probabilities
    fg_logits: Tensor | None = None
    bg_logits: Tensor | None = None
    gate_grid: Tensor | None = None
    remark: str = ""

    def __repr__(self) -> str:
        height, width = self.prob.shape
        return f"Prediction({height} x {width} pixels, {self.mask.mean():.1%} of them object)"

    @property
    def map(self) -> NDArray[np.uint8]:
        """``prob`` in 8 bits, (height, width) of 0 to 255: what evaluation scores and ``predict.py`` saves."""
        rounded: NDArray[np.uint8] = np.rint(self.prob * np.float32(255)).astype(np.uint8)
        return rounded

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where the object is, (height, width)."""
        return self.prob >= THRESHOLD

    @cached_property
    def prompts(self) -> PromptMaps | None:
        """Foreground and background prompt at the image's size; None where the model makes none."""
        if self.fg_logits is None or self.bg_logits is None:
            return None
        return PromptMaps(self._resized(self.fg_logits, logits=True), self._resized(self.bg_logits, logits=True))

    @cached_property
    def gate(self) -> Probabilities | None:
        """PSG's gate, (height, width) in (0, 1): near 1 the foreground prompt is suppressed; None without PSG."""
        return None if self.gate_grid is None else self._resized(self.gate_grid, logits=False)

    def overlay(self, *, colour: tuple[int, int, int] = COLOUR, opacity: float = 0.5) -> Image.Image:
        """The image with the object in colour, its strength that of the probability, and the mask's outline."""
        strength = (self.prob * opacity)[..., None]
        blended = self.image * (1 - strength) + np.array(colour, np.float32) * strength
        picture = np.ascontiguousarray(np.rint(blended).astype(np.uint8))
        contours, _ = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, max(1, min(picture.shape[:2]) // 300))
        return Image.fromarray(picture)

    def cutout(self) -> Image.Image:
        """The object alone, RGBA: the probability is the opacity."""
        return Image.fromarray(np.dstack([self.image, self.map]))

    def save(self, path: str | Path, kind: str = "map") -> Path:
        """Write one of ``KINDS`` as a picture, making its folder.

        Raises:
            ValueError: for an unknown kind, or an ending that can't hold it.
            OSError: it can't be written.
        """
        path = Path(path)
        if kind not in KINDS:
            raise ValueError(f"unknown kind of picture {kind!r}; there are {', '.join(KINDS)}")
        picture = {
            "map": lambda: Image.fromarray(self.map),
            "mask": lambda: Image.fromarray(self.mask.astype(np.uint8) * np.uint8(255)),
            "overlay": self.overlay,
            "cutout": self.cutout,
        }[kind]()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            picture.save(path, compress_level=PNG_LEVEL)  # which other formats don't heed
        except (ValueError, KeyError) as error:  # Pillow's, of an ending it doesn't know
            raise ValueError(f"{path}: can't be written as a picture ({error}); let it end in .png") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise ValueError(f"{path}: {error}; a cutout needs an ending such as .png") from error
        return path

    def _resized(self, grid: Tensor, *, logits: bool) -> Probabilities:
        resized = F.interpolate(grid[None, None], size=self.prob.shape, mode="bilinear", align_corners=False)[0, 0]
        values: Probabilities = (resized.sigmoid() if logits else torch.clamp(resized, 0, 1)).numpy()
        return values


KINDS = ("map", "mask", "overlay", "cutout")
