"""Fonts for names in matplotlib figures, which may have any letters."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.font_manager import fontManager

# For letters that DejaVu Sans, which comes with matplotlib, lacks.
OTHER_FONTS = ("Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Arial Unicode MS")


def fonts() -> list[str]:
    """List the font families for a name; matplotlib takes each letter from the first that has it."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in OTHER_FONTS if name in installed)]


def short(name: str, most: int = 48) -> str:
    """Cut a name to at most ``most`` letters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


@contextmanager
def boxes_for_unknown_letters() -> Iterator[None]:
    """Draw letters that no installed font has as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
