"""Options of a prediction: how the model looks at an image, and how the saved pictures are drawn."""

from typing import Annotated, Any, Literal

from PIL import ImageColor
from pydantic import AfterValidator, Field

from ipsam.utils.options import Options

SCALES = (0.75, 1.25)  # of the input side, for tta=scales
RGB = tuple[int, int, int]


def rgb(colour: str) -> RGB:
    """Convert a colour's name or ``#rrggbb`` to RGB; ValueError if there is no such colour."""
    return ImageColor.getrgb(colour)[:3]


def _or_colour(word: str) -> AfterValidator:
    def check(value: str) -> str:
        try:
            if value != word:
                rgb(value)
        except ValueError:
            raise ValueError(f"must be {word}, or a colour such as white or '#ff2850', not {value!r:.99}") from None
        return value

    return AfterValidator(check)


class PredictionOptions(Options):
    """Options of ``predict``: the first four of the forward passes, the others of the pictures that are drawn.

    Attributes:
        size: side of the square input in pixels; None: as trained.
        letterbox: keep the aspect ratio and pad; None: as trained.
        tta: average the logits of several views: ``flip``, image and mirror image; ``scales``, both at three sizes.
        zoom: look again at the crop around a small object.
        threshold: probability from which a pixel belongs to the object. Overlay and cutout are drawn with the
            probabilities shifted so that it becomes one half; the map stays as it is.
        colour: of the overlay; ``auto`` takes the one that stands out most from the picture.
        feather: width in pixels of the cutout's soft edge, 0 for a hard one; None: the probability is the opacity.
        edges: colours of the cutout's soft edge. ``plain``: the picture's, with a haze of the background in them;
            ``fusion``: the object's, estimated by blur fusion; ``pymatting``: by that package's multi-level method.
        crop: crop the cutout to the object, with a margin of this share of its longer side; None: keep the whole frame.
        background: of the cutout: None for transparent, a colour, or ``blur`` for the picture's own, blurred.
    """

    size: int | None = Field(default=None, ge=1, le=4096)
    letterbox: bool | None = None
    tta: Literal["none", "flip", "scales"] = "none"
    zoom: bool = False
    threshold: float = Field(default=0.5, gt=0, lt=1)
    colour: Annotated[str, _or_colour("auto")] = "auto"
    feather: float | None = Field(default=None, ge=0, le=200)
    edges: Literal["plain", "fusion", "pymatting"] = "fusion"
    crop: float | None = Field(default=None, ge=0, le=10)
    background: Annotated[str, _or_colour("blur")] | None = None

    def changed(self, **values: Any) -> "PredictionOptions":
        """Return these options with other values.

        Raises:
            OptionsError: a value is impossible.
        """
        return PredictionOptions(**{**dict(self), **values}) if values else self

    def sides(self, trained: int, multiple: int) -> list[int]:
        """Return the input sides of the forward passes; the first one's prompts and gate are kept."""
        side = self.size or trained
        if self.tta != "scales":
            return [side]
        return [side, *(max(1, round(scale * side / multiple)) * multiple for scale in SCALES)]


DEFAULTS = PredictionOptions()
