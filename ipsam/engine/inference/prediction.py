"""A model's prediction for one image, at the image's own size."""

from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.engine.inference import coco, drawing
from ipsam.engine.inference.options import DEFAULTS, RGB, PredictionOptions, rgb
from ipsam.utils.files import write_bytes, write_json

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # predicting by an exported file does without torch

PICTURES = ("map", "mask", "overlay", "cutout")
KINDS = (*PICTURES, *coco.KINDS)
PNG_LEVEL = 3  # of zlib: a third of the time of Pillow's default 6, for a file a third larger

Probabilities = NDArray[np.float32]


class PromptMaps(NamedTuple):
    """SPG's dense prompts as probabilities (height, width): of foreground and of background."""

    fg: Probabilities
    bg: Probabilities


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Prediction for one image.

    Attributes:
        image: upright RGB (height, width, 3) uint8.
        prob: probability of the object, (height, width) float32 in [0, 1].
        fg_logits, bg_logits: SPG's prompts on the mask grid (hm, wm); None for a model without.
        gate_grid: PSG's gate on the embedding grid (h, w); None for a model without. If the image was letterboxed,
            the grid of all three is the image's part of the input, in pixels of the input.
        remark: the model's note on the image, such as that nothing was found; usually empty.
        options: how its mask and pictures are drawn.
    """

    image: NDArray[np.uint8]
    prob: Probabilities
    fg_logits: Tensor | None = None
    bg_logits: Tensor | None = None
    gate_grid: Tensor | None = None
    remark: str = ""
    options: PredictionOptions = DEFAULTS

    def __repr__(self) -> str:
        height, width = self.prob.shape
        return f"Prediction({height} x {width} pixels, {self.mask.mean():.1%} of them object)"

    @property
    def map(self) -> NDArray[np.uint8]:
        """``prob`` in 8 bits, (height, width) of 0 to 255, as evaluation scores it and ``predict.py`` saves it."""
        levels = self.prob * np.float32(255)
        rounded: NDArray[np.uint8] = np.rint(levels, out=levels).astype(np.uint8)
        return rounded

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Object pixels, (height, width)."""
        return np.asarray(self.prob >= self.options.threshold)

    @cached_property
    def prompts(self) -> PromptMaps | None:
        """Foreground and background prompt at the image's size; None for a model without."""
        if self.fg_logits is None or self.bg_logits is None:
            return None
        return PromptMaps(*(self._resized(logits).sigmoid().numpy() for logits in (self.fg_logits, self.bg_logits)))

    @cached_property
    def gate(self) -> Probabilities | None:
        """PSG's gate, (height, width) in (0, 1); it suppresses the foreground prompt near 1. None without PSG."""
        return None if self.gate_grid is None else self._resized(self.gate_grid).clamp(0, 1).numpy()

    @cached_property
    def colour(self) -> RGB:
        """Colour of the overlay, RGB."""
        chosen = self.options.colour
        return drawing.contrasting_colour(self.image) if chosen == "auto" else rgb(chosen)

    def drawn_with(self, **options: Any) -> "Prediction":
        """Return the same prediction with other options of its pictures, see ``PredictionOptions``.

        Raises:
            ValueError: an option is unknown or its value impossible.
        """
        return replace(self, options=self.options.changed(**options))

    def overlay(self, *, colour: RGB | None = None, opacity: float = 0.5) -> Image.Image:
        """Draw the object in colour on the image, in proportion to its probability, and the mask's outline."""
        colour = self.colour if colour is None else colour
        picture = np.empty_like(self.image, order="C")
        for rows in drawing.strips(len(picture)):
            strength = (drawing.shifted(self.prob[rows], self.options.threshold) * opacity)[..., None]
            picture[rows] = np.rint(self.image[rows] * (1 - strength) + np.array(colour, np.float32) * strength)
        contours, _ = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, max(1, min(picture.shape[:2]) // 300))
        return Image.fromarray(picture)

    def cutout(self) -> Image.Image:
        """Draw the object alone: RGBA with a transparent background, or RGB with another one of the options.

        Raises:
            ValueError: ``edges`` needs a package that is not installed.
        """
        options = self.options
        if options.feather is not None:
            opacity = drawing.soft_edge(self.mask, options.feather)
        else:
            opacity = replace(self, prob=drawing.shifted(self.prob, options.threshold)).map
        image = self.image
        if options.crop is not None:
            box = drawing.object_box(self.mask, options.crop)
            image, opacity = image[box], opacity[box]
        colours = drawing.object_colours(image, opacity, options.edges)
        if options.background is None:
            return Image.fromarray(np.dstack([colours, opacity]))
        if options.background == "blur":
            background = drawing.blurred_background(image, opacity)
        else:
            background = np.array(rgb(options.background), np.uint8)
        return Image.fromarray(drawing.composite(colours, opacity, background))

    def picture(self, kind: str) -> Image.Image:
        """Draw one of ``PICTURES``.

        Raises:
            ValueError: the kind is unknown.
        """
        if kind not in PICTURES:
            raise ValueError(f"unknown kind of picture {kind!r}; there are {', '.join(PICTURES)}")
        if kind == "overlay":
            return self.overlay()
        if kind == "cutout":
            return self.cutout()
        return Image.fromarray(self.map if kind == "map" else self.mask.astype(np.uint8) * np.uint8(255))

    def as_coco(self, file_name: str, *, polygons: bool = False) -> dict[str, Any]:
        """Describe the mask as a COCO dataset of one image, with its mean probability as the score.

        Args:
            file_name: of the image.
            polygons: describe it by polygons, which fill its holes, instead of run lengths (RLE), which are exact.
        """
        score = float(self.prob[self.mask].mean()) if self.mask.any() else 0.0
        return coco.describe(self.mask, file_name, score=score, polygons=polygons)

    def save(self, path: str | Path, kind: str = "map", *, file_name: str | None = None) -> Path:
        """Save one of ``KINDS``, completely or not at all; make its folder.

        Args:
            path: picture; for COCO's kinds a JSON file.
            kind: one of ``KINDS``.
            file_name: the image's, in COCO's kinds; None: that of ``path``.

        Raises:
            ValueError: the kind is unknown, or the file's format cannot hold it.
            OSError: the file cannot be written.
        """
        path = Path(path).expanduser()
        if kind in coco.KINDS:
            write_json(path, self.as_coco(file_name or path.name, polygons=kind == "coco_polygons"))
            return path
        picture, content = self.picture(kind), BytesIO()
        format = Image.registered_extensions().get(path.suffix.lower())
        if format not in Image.SAVE:
            raise ValueError(f"{path}: can't be written as a picture of this ending; let it end in .png")
        try:
            picture.save(content, format, compress_level=PNG_LEVEL)  # ignored by other formats
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}: {error}; a cutout needs an ending such as .png") from error
        write_bytes(path, content.getvalue())
        return path

    def _resized(self, grid: Tensor) -> Tensor:
        import torch.nn.functional as F

        return F.interpolate(grid[None, None], size=self.prob.shape, mode="bilinear", align_corners=False)[0, 0]
