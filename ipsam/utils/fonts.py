"""Names in pictures that matplotlib draws: any letters, as text and not as formulas, and not too long."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.font_manager import fontManager

# For letters that DejaVu Sans, which comes with matplotlib, does not have; the first of them that is installed.
OTHER_FONTS = ("Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Arial Unicode MS")


def fonts() -> list[str]:
    """Families to draw a name with, the first that has a letter for that letter."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in OTHER_FONTS if name in installed)]


def short(name: str, most: int = 48) -> str:
    """A name, its end cut off if it has more than ``most`` letters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


@contextmanager
def boxes_for_unknown_letters() -> Iterator[None]:
    """Let a letter that no installed font has be drawn as a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
