"""Corruptions of test images: noise, blur, weather and digital ones (Hendrycks and Dietterich, 2019).

The package ``imagecorruptions`` draws them on images of any size, as Michaelis et al. (2019) define them there. Masks
stay as they are.
"""

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.data.datasets import TestSet
from ipsam.data.sources import Sample, Source
from ipsam.utils.options import close_to

PACKAGE = "imagecorruptions-imaug"
INSTALL = f"pip install -e '.[corruptions]' && pip install --no-deps {PACKAGE}"
GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
ALL = ("noise", "blur", "weather", "digital")  # the 15 that studies report; the extra ones are for tuning
SEEDED = ("impulse_noise", "glass_blur")  # take a seed of their own instead of numpy's global generator
MOST_SEVERE = 5
SEVERITIES = (1, 3, 5)
MIN_SIDE = 32  # pixels of an image


@dataclass(frozen=True)
class Corruption:
    """Corruption at a severity from 1 to 5; 0 changes nothing."""

    name: str
    severity: int

    def __str__(self) -> str:
        return f"{self.name}-{self.severity}" if self.severity else self.name

    def apply(self, image: NDArray[np.uint8], key: str) -> NDArray[np.uint8]:
        """Corrupt an image, RGB (height, width, 3); the same image and key give the same result.

        Severity 0 returns the image itself.

        Raises:
            ValueError: a side has less than ``MIN_SIDE`` pixels.
        """
        if not self.severity:
            return image
        if min(image.shape[:2]) < MIN_SIDE:
            height, width = image.shape[:2]
            raise ValueError(f"{key}: {width} x {height} pixels; images to corrupt need {MIN_SIDE} on each side")
        from imagecorruptions import corrupt

        seed = zlib.crc32(f"{self.name} {key}".encode())
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            with redirect_stdout(io.StringIO()):  # it prints what it handles
                own: dict[str, Any] = {"seed": seed} if self.name in SEEDED else {}
                corrupted = np.array(corrupt(image, self.severity, self.name, **own))  # a copy: some are read-only
        finally:
            np.random.set_state(state)
        return corrupted


CLEAN = Corruption("clean", 0)


@dataclass(frozen=True)
class CorruptedSource:
    """Samples with corrupted images; neither their order nor the number of workers matters.

    Attributes:
        source: of the clean samples.
        corruption: of every image; its seed is the image's name, and the same for each severity.
    """

    source: Source
    corruption: Corruption

    @property
    def left_out(self) -> Mapping[str, list[str]]:
        """Stems that the source leaves out, by the reason."""
        return getattr(self.source, "left_out", {})

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, epoch: int) -> Sample:
        """Read a sample and corrupt its image."""
        sample = self.source.read(index, epoch)
        return Sample(sample.name, self.corruption.apply(sample.image, sample.name), sample.mask)

    def names(self) -> list[str]:
        """Return the source's names."""
        return self.source.names()

    def listing(self) -> Iterator[str]:
        """Yield the source's listing and the corruption."""
        yield from self.source.listing()
        yield str(self.corruption)


def corrupted(test_set: TestSet, corruption: Corruption) -> TestSet:
    """Return a test set with corrupted images."""
    source = CorruptedSource(test_set.source, corruption)
    return TestSet(source, image_size=test_set.image_size, letterbox=test_set.letterbox)


def chosen_corruptions(names: str | Sequence[str] | None, severities: Sequence[int] | None = None) -> list[Corruption]:
    """Return each named corruption at each severity above 0; none if both arguments are None.

    Args:
        names: of corruptions and of ``GROUPS``, ``all``, or a list of these.
        severities: whole numbers from 0 to 5; None: ``SEVERITIES``.

    Raises:
        ValueError: a name is unknown, names or severities are no such list, or there are severities alone.
        ImportError: the package is not installed.
    """
    if names is None:
        if severities is not None:
            raise ValueError("severities are those of corruptions; set corruptions=all, or leave severities out")
        return []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"corruptions must be all, or a list of names such as [noise,fog], not {names!r:.99}")
    known = [*GROUPS, *(name for group in GROUPS.values() for name in group)]
    wanted = [part for name in names for part in (ALL if name == "all" else [name])]
    for name in wanted:
        if name not in known:
            meant = close_to(str(name), known)
            raise ValueError(
                f"corruptions: unknown {name!r:.99}{f', perhaps {meant}' if meant else ''}; there are all, "
                f"{', '.join(known)}"
            )
    severities = SEVERITIES if severities is None else severities
    listed = isinstance(severities, list | tuple) and all(type(one) is int for one in severities)
    levels = sorted(set(severities) - {0}) if listed else []
    if not levels or levels[0] < 0 or levels[-1] > MOST_SEVERE:
        raise ValueError(f"severities must be a list of whole numbers from 1 to {MOST_SEVERE}, not {severities!r:.99}")
    if find_spec("imagecorruptions") is None:
        raise ImportError(f"corruptions need the extra [corruptions]: {INSTALL}")
    each = [name for group, own in GROUPS.items() for name in own if {group, name} & set(wanted)]
    return [Corruption(name, level) for name in each for level in levels]
