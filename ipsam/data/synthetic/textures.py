"""Natural-looking textures such as sand ripples, bark, pebbles or leaf litter.

Notation: s is the image's side in pixels. A family's function draws two (s, s) float32 fields: the tone in [0, 1], a
position on the palette, and the light, a factor around 1. Two samples of one texture share their statistics and differ
in phase.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

# RGB colours, dark to light, of natural surroundings.
PALETTES: dict[str, list[tuple[int, int, int]]] = {
    "soil": [(70, 53, 40), (108, 84, 60), (146, 119, 86), (182, 157, 120)],
    "foliage": [(42, 55, 28), (70, 88, 42), (103, 119, 60), (146, 156, 92)],
    "sand": [(138, 117, 90), (168, 146, 114), (194, 173, 139), (213, 196, 165)],
    "seabed": [(42, 68, 74), (70, 101, 101), (112, 138, 127), (163, 173, 148)],
    "bark": [(56, 48, 42), (88, 76, 65), (122, 110, 96), (156, 146, 132)],
    "litter": [(70, 46, 30), (124, 80, 45), (160, 113, 66), (190, 156, 106)],
    "rock": [(72, 74, 75), (112, 111, 108), (148, 146, 140), (184, 181, 173)],
    "moss": [(45, 48, 34), (80, 88, 50), (118, 122, 80), (158, 158, 128)],
    "reef": [(78, 60, 62), (128, 94, 88), (158, 132, 120), (194, 168, 146)],
    "lichen": [(96, 102, 94), (136, 142, 128), (172, 176, 160), (206, 206, 194)],
}


@dataclass(frozen=True)
class Texture:
    """Material; `render` draws independent samples of it.

    Args:
        family: a key of `FAMILIES`.
        palette: (k, 3) float32 RGB colours in [0, 255], for tones from 0 to 1.
        scale: size of a typical feature (period, pebble, blade) as a share of the image's side.
        angle: direction across the grain in radians; families without grain ignore it.
        detail: the family's own shape parameter in [0, 1] (roughness, elongation, coverage ...).
    """

    family: str
    palette: Field
    scale: float
    angle: float
    detail: float

    def render(self, rng: np.random.Generator, size: int) -> Field:
        """Draw one sample.

        Returns:
            (size, size, 3) float32 RGB around [0, 255], not clipped.
        """
        tone, light = FAMILIES[self.family](rng, size, self)
        knots = np.linspace(0, 255, len(self.palette))
        table = np.stack([np.interp(np.arange(256), knots, channel) for channel in self.palette.T], axis=1)
        index = np.clip(tone * 255, 0, 255).astype(np.uint8)
        colours: Field = np.take(table.astype(np.float32), index, axis=0)
        colours *= over_channels(light)
        return colours


def random_texture(rng: np.random.Generator) -> Texture:
    """Draw a texture: a family, two to four neighbouring colours of a palette, and parameters."""
    names = list(PALETTES)
    colours = np.array(PALETTES[names[rng.integers(len(names))]], np.float32)
    first = int(rng.integers(0, 2))
    colours = colours[first : first + int(rng.integers(2, 5))]
    families = list(FAMILIES)
    return Texture(
        family=families[rng.integers(len(families))],
        palette=colours + rng.normal(0, 4, colours.shape).astype(np.float32),
        scale=float(np.exp(rng.uniform(np.log(0.05), np.log(0.12)))),
        angle=float(rng.uniform(0, np.pi)),
        detail=float(rng.uniform()),
    )


def over_channels(field: Field) -> Field:
    """Repeat (s, s) to (s, s, 3); multiplying by it is far faster than NumPy's broadcast over a last axis of three."""
    repeated: Field = cv2.cvtColor(field, cv2.COLOR_GRAY2RGB)
    return repeated


@lru_cache(maxsize=4)
def _frequencies(size: int) -> tuple[Field, Field]:
    """Return frequencies (s, s // 2 + 1) along x and y of a real FFT, in cycles per image."""
    fy, fx = np.meshgrid(np.fft.fftfreq(size, 1 / size), np.fft.rfftfreq(size, 1 / size), indexing="ij")
    return fx.astype(np.float32), fy.astype(np.float32)


def _rotated(size: int, angle: float) -> tuple[Field, Field]:
    """Return frequencies across and along the grain, in cycles per image."""
    fx, fy = _frequencies(size)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return fx * cos + fy * sin, fy * cos - fx * sin


def _shaped_noise(rng: np.random.Generator, size: int, gain: Field) -> Field:
    """Draw Gaussian noise (s, s), zero mean and unit variance, with the amplitude spectrum `gain` (s, s // 2 + 1)."""
    gain[0, 0] = 0  # no mean
    spectrum = rng.standard_normal((*gain.shape, 2), np.float32).view(np.complex64)[..., 0]
    spectrum *= gain
    noise = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32, copy=False)
    noise /= noise.std() + np.float32(1e-6)
    return noise


def power_noise(rng: np.random.Generator, size: int, scale: float, exponent: float) -> Field:
    """Draw 1/f^exponent noise (s, s), flat above the feature size `scale`, a share of the side."""
    fx, fy = _frequencies(size)
    return _shaped_noise(rng, size, (1 + (fx * fx + fy * fy) * np.float32(scale * scale)) ** np.float32(-exponent / 2))


def _grain_noise(rng: np.random.Generator, size: int, texture: Texture, stretch: float) -> Field:
    """Draw 1/f^2 noise (s, s) whose features are `stretch` times longer along the grain than across."""
    across, along = _rotated(size, texture.angle)
    reach = (across**2 + (along * np.float32(stretch)) ** 2) * np.float32(texture.scale**2)
    return _shaped_noise(rng, size, np.float32(1) / (1 + reach))


def _squash(noise: Field, slope: float = 1.7) -> Field:
    """Map unit noise to a tone in (0, 1); the default slope makes Gaussian noise about uniform."""
    tone: Field = np.float32(0.5) + np.float32(0.5) * np.tanh(noise * np.float32(slope / 2))
    return tone


def _relief(height: Field, strength: float) -> Field:
    """Light a surface of unit-variance `height` (s, s) from the upper left."""
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0) + cv2.Sobel(height, cv2.CV_32F, 0, 1)
    light: Field = 1 + np.float32(strength) * np.tanh(slope / (slope.std() + np.float32(1e-6)))
    return light


def clouds(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw soil, lichen or coral: isotropic 1/f^k noise, detail = smoothness."""
    height = power_noise(rng, size, texture.scale * 2, 1.4 + texture.detail)
    return _squash(height), _relief(height, 0.08)


def fur(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw fur, dry grass or wood: noise stretched along the grain, detail = elongation."""
    height = _grain_noise(rng, size, texture, 4 + 6 * texture.detail)
    return _squash(height), _relief(height, 0.06)


def bark(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw bark: dark furrows along the grain where the noise crosses zero, detail = elongation."""
    ridge = np.abs(_grain_noise(rng, size, texture, 2 + 3 * texture.detail))
    rough = power_noise(rng, size, texture.scale, 1.2)
    return _squash((ridge - 0.8) * 1.6 + 0.35 * rough), _relief(ridge, 0.12)


def ripples(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw sand ripples or water: a narrow band of waves across the grain, detail = regularity."""
    across, along = _rotated(size, texture.angle)
    centre, width = 1 / texture.scale, (0.35 - 0.2 * texture.detail) / texture.scale
    gain = np.exp(-(((np.abs(across) - centre) / width) ** 2) - (along / width) ** 2)
    height = _shaped_noise(rng, size, gain)
    return _squash(height + 0.35 * power_noise(rng, size, texture.scale, 1.0)), _relief(height, 0.08)


def spots(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw spots, or rings like a leopard's: thresholded isotropic band noise, detail < 0.5 for spots."""
    fx, fy = _frequencies(size)
    radius = np.sqrt(fx * fx + fy * fy)
    band = _shaped_noise(rng, size, np.exp(-(((radius * texture.scale - 1) / 0.3) ** 2)))
    pattern = band - 0.5 if texture.detail < 0.5 else np.abs(band) - 0.7
    rough = power_noise(rng, size, texture.scale * 2, 1.6)
    return _squash(rough - 2.2 * np.tanh(pattern * 2.5)), np.ones_like(band)


def pebbles(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw pebbles or cracked mud: Voronoi cells of random tone, detail = roundness."""
    num = 1.2 / texture.scale**2
    seeds = np.ones((size, size), np.uint8)
    side = int(np.sqrt(num))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)  # jitter leaves no wide gaps
    column, row = ((grid + rng.uniform(0, 1, grid.shape)) * size / side).astype(int).T
    seeds[row, column] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tones = rng.uniform(0.05, 0.95, labels.max() + 1).astype(np.float32)
    rough = power_noise(rng, size, texture.scale, 1.2)
    edges = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    gap = cv2.blur(edges.astype(np.float32), (3, 3))
    dome = np.minimum(distance / (texture.scale * size), 0.8) ** 2
    return tones[labels] + 0.08 * rough, 1.08 - (0.2 + 0.5 * texture.detail) * dome - 0.3 * gap


def _scatter(
    rng: np.random.Generator, size: int, length: Field, width: float, angles: Field, *, ribbed: bool
) -> tuple[Field, Field]:
    """Draw overlapping leaves or blades of random tone, with (n,) half lengths in pixels and directions in radians.

    The greatest ``width`` is a share of the length. The halves of a ``ribbed`` leaf differ in light, as if folded.
    """
    num = len(length)
    axis = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * length[:, None]
    side = np.stack([-axis[:, 1], axis[:, 0]], axis=-1) * width
    along = np.linspace(-1, 1, 5)[:, None]  # stations from the stem to the tip
    broad = 1 - along**2
    centre = rng.uniform(-0.05, 1.05, (num, 1, 2)) * size
    rib = centre + along * axis[:, None] + broad * (side * rng.uniform(-0.8, 0.8, (num, 1)))[:, None]
    edge = broad * side[:, None]
    borders = [(rib + edge, rib), (rib, rib - edge)] if ribbed else [(rib + edge, rib - edge)]
    outlines = np.stack([np.concatenate([one, other[:, -2:0:-1]], axis=1) for one, other in borders])
    points = np.rint(outlines * 16).astype(np.int32)  # 4 fractional bits keep small leaves smooth
    canvas = np.zeros((size, size, 3), np.uint8)
    canvas[..., 0] = np.clip(60 + 35 * power_noise(rng, size, 0.05, 1.2), 0, 255)
    canvas[..., 1] = 105
    light = np.where(side[:, 1] > 0, 14, -14) if ribbed else rng.integers(-14, 15, num)
    for i, (tone, shade) in enumerate(zip(rng.integers(25, 240, num).tolist(), light.tolist(), strict=True)):
        cv2.fillPoly(canvas, [points[0, i]], (tone, 128 + shade, 0), cv2.LINE_8, 4)
        if ribbed:
            cv2.fillPoly(canvas, [points[1, i]], (tone, 128 - shade, 0), cv2.LINE_8, 4)
    return canvas[..., 0].astype(np.float32) / np.float32(255), canvas[..., 1].astype(np.float32) / np.float32(128)


def litter(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw fallen leaves in every direction, detail = breadth of a leaf."""
    num = int(1.3 / texture.scale**2)
    length = rng.uniform(0.6, 1.2, num).astype(np.float32) * texture.scale * size
    angles = rng.uniform(0, 2 * np.pi, num).astype(np.float32)
    return _scatter(rng, size, length, 0.32 + 0.25 * texture.detail, angles, ribbed=True)


def grass(rng: np.random.Generator, size: int, texture: Texture) -> tuple[Field, Field]:
    """Draw blades along the grain, detail = disorder."""
    num = int(1.8 / texture.scale**2)
    length = rng.uniform(1.0, 2.0, num).astype(np.float32) * texture.scale * size
    angles = texture.angle + np.pi / 2 + rng.normal(0, 0.1 + 0.25 * texture.detail, num)
    return _scatter(rng, size, length, 0.07, angles.astype(np.float32), ribbed=False)


FAMILIES: dict[str, Callable[[np.random.Generator, int, Texture], tuple[Field, Field]]] = {
    family.__name__: family for family in (clouds, fur, bark, ripples, spots, pebbles, litter, grass)
}
