"""Synthetic camouflage: an animal-like object with a second sample of the texture it lies on.

Scenes come from a random generator, without files. At `difficulty` 0, colour, contrast, grain and shading all give the
object away; at 1, its colours match the surroundings and only the break of the texture at the contour is left.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.synthetic.shapes import SHAPES, Polygon, blob
from ipsam.data.synthetic.textures import Field, Texture, over_channels, random_texture

MIN_SIZE = 32
FOREGROUND = (0.03, 0.35)  # smallest and largest share of the image that the mask covers
SUPERSAMPLING = 3


@dataclass(frozen=True)
class Scene:
    """Image (s, s, 3) uint8 RGB with its mask (s, s) uint8, 255 on the visible object and 0 elsewhere."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def camouflaged_scene(rng: np.random.Generator, *, size: int, difficulty: float) -> Scene:
    """Draw a scene. The same generator state, size and difficulty give the same scene.

    Args:
        rng: source of every choice; advanced by the call.
        size: side of the image in pixels, at least 32.
        difficulty: between 0 (plainly visible) and 1 (truly hidden).
    """
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty}: choose a number between 0 (plainly visible) and 1 (hidden)")
    if size < MIN_SIZE:
        raise ValueError(f"size is {size} px: textures need at least {MIN_SIZE}, choose a larger image")
    strength = 1 - difficulty
    alpha = cv2.GaussianBlur(_silhouettes(rng, size), (0, 0), 0.3 + 0.003 * size)
    material = random_texture(rng)
    background = material.render(rng, size)
    background *= over_channels(_patches(rng, size))
    fill = _object_texture(rng, material, strength).render(rng, size)
    # The harder, the more the object takes on the local brightness; its texture stays its own.
    fill += np.float32(1 - strength**0.5) * (_low_pass(background) - _low_pass(fill))
    fill = cv2.GaussianBlur(fill, (0, 0), size * (0.002 + 0.008 * strength * rng.uniform() ** 2))

    soft = _low_pass(alpha)
    rim = 0.03 + 0.4 * strength**1.5 * rng.uniform()
    shadow = 0.02 + 0.4 * strength**1.5 * rng.uniform()
    fill *= over_channels(1 - np.float32(rim) * (1 - soft))
    background *= over_channels(1 - np.float32(shadow) * soft)
    fill -= background
    fill *= over_channels(alpha)
    background += fill
    return Scene(image=_add_camera_effects(rng, background), mask=np.where(alpha > 0.5, 255, 0).astype(np.uint8))


def _object_texture(rng: np.random.Generator, material: Texture, strength: float) -> Texture:
    """Return the background's texture, changed in proportion to `strength` (1 plainly visible, 0 hidden)."""
    palette = material.palette
    mean = palette.mean(axis=0)
    brightness = mean.mean()
    # Shift away from the nearer end of [0, 255], so that clipping does not undo it.
    lighter = rng.uniform(70, 160) > brightness
    hue = rng.normal(0, 1) * np.array([1, 0, -1]) + rng.normal(0, 0.25) * np.array([1, -2, 1])  # mostly warm to cold
    tilt = rng.uniform(0, 0.22 * np.pi)
    direction = (1 if lighter else -1) * np.cos(tilt) / np.sqrt(3) + np.sin(tilt) * hue / np.linalg.norm(hue)
    shift = direction * rng.uniform(75, 110) * strength**1.5  # RGB levels, length of the vector
    contrast = np.exp(rng.uniform(-0.5, 0.3) * strength)
    turn = rng.choice([-1, 1]) * (rng.uniform(0.25, 0.6) + rng.uniform(0, 0.9) * strength)  # radians
    return replace(
        material,
        palette=(mean + contrast * (palette - mean) + shift).astype(np.float32),
        scale=material.scale * float(np.exp(rng.uniform(-0.5, 0.3) * strength)),
        angle=material.angle + float(turn),
    )


def _low_pass(field: Field) -> Field:
    """Smooth (s, s, ...) over about a tenth of the side, at a sixteenth of the cost of a full-size blur."""
    size = len(field)
    small = cv2.GaussianBlur(cv2.resize(field, (32, 32), interpolation=cv2.INTER_AREA), (0, 0), 1.6)
    smooth: Field = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    return smooth


def _patches(rng: np.random.Generator, size: int) -> Field:
    """Draw distractors: a light field (s, s) with a few lighter and darker soft-edged patches."""
    canvas = np.ones((64, 64), np.float32)
    for _ in range(rng.integers(2, 6)):
        outline = rng.uniform(0, 64, 2) + rng.uniform(5, 14) * blob(rng)[0]
        patch = np.zeros((64, 64), np.float32)
        cv2.fillPoly(patch, [np.rint(outline).astype(np.int32)], 1.0)
        canvas += np.float32(rng.uniform(-0.12, 0.12)) * cv2.GaussianBlur(patch, (0, 0), rng.uniform(0.8, 4))
    light: Field = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_CUBIC)
    return light


def _add_camera_effects(rng: np.random.Generator, image: Field) -> NDArray[np.uint8]:
    """Add a light gradient, slight blur and sensor noise to (s, s, 3), and round it to 8 bits."""
    size = len(image)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    fall_x, fall_y = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
    image *= over_channels(1 + fall_x * ramp[None, :] + fall_y * ramp[:, None])
    image = cv2.GaussianBlur(image, (0, 0), 0.3 + rng.uniform(0, 0.3) * size / 128)
    image += over_channels(np.float32(rng.uniform(1, 4)) * rng.standard_normal((size, size), np.float32))
    np.rint(image, out=image)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _silhouettes(rng: np.random.Generator, size: int) -> Field:
    """Draw one object, or two in a quarter of the scenes, as coverage (s, s) in [0, 1]."""
    two = rng.uniform() < 0.25
    gap = np.ones((2 * (size // 32) + 3,) * 2, np.uint8)  # keeps two objects apart
    while True:
        areas = rng.uniform(0.04, 0.12, 2) if two else np.exp(rng.uniform(np.log(0.06), np.log(0.32), 1))
        canvases = [_silhouette(rng, size, area) for area in areas]
        if two and np.any(cv2.dilate(canvases[0], gap) * canvases[1] > 0):
            continue
        shares = [canvas.mean() for canvas in canvases]
        if min(shares) > FOREGROUND[0] and sum(shares) < FOREGROUND[1]:
            coverage: Field = np.sum(canvases, axis=0, dtype=np.float32)
            return coverage


def _silhouette(rng: np.random.Generator, size: int, area: float) -> Field:
    """Draw an animal or blob with about this share of the image, turned, placed at random, sometimes partly outside."""
    parts = SHAPES[rng.integers(len(SHAPES))](rng)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [rng.choice([-1, 1]), 1]
    ends = np.cumsum([len(part) for part in parts])
    points = np.concatenate(parts) @ turn.T
    low, high = points.min(0), points.max(0)
    extent = (high - low) / (high - low).max()
    points = (points - (low + high) / 2) / (high - low).max()  # bounding box of side 1 about 0
    scale = min(np.sqrt(area / (_painted(points + 0.5, ends, 64) > 0).mean()), 1.1)
    reach = extent * scale / 2
    margin = np.minimum(reach if rng.uniform() < 0.7 else 0.4 * reach, 0.5)  # the rest may run over the border
    canvas = _painted(points * scale + rng.uniform(margin, 1 - margin), ends, size * SUPERSAMPLING)
    coverage: Field = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    coverage /= 255
    return coverage


def _painted(points: Polygon, ends: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Fill polygons: `points` holds them one after the other, in shares of the side; returns (s, s), 255 inside."""
    canvas = np.zeros((size, size), np.uint8)
    corners = np.rint(points * size).astype(np.int32)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        cv2.fillPoly(canvas, [corners[start:end]], 255)
    return canvas
