"""Synthetic camouflage: an animal-like object filled with a second sample of the texture it lies on.

Made on the fly from a random generator, without files. `difficulty` runs from 0, where colour, contrast, grain and
shading all give the object away, to 1, where its colours match the surroundings and only the break of the texture at
the contour is left.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.textures import Field, Texture, over_channels, random_texture

MIN_SIZE = 32
FOREGROUND = (0.03, 0.35)  # share of the image that the mask covers
SUPERSAMPLING = 3

Polygon = NDArray[np.float64]  # (n, 2) as x, y
CIRCLE: Polygon = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)], axis=1)


@dataclass(frozen=True)
class Scene:
    """An image, (s, s, 3) uint8 RGB, with its mask, (s, s) uint8: 255 on the visible object and 0 elsewhere."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def camouflaged_scene(rng: np.random.Generator, *, size: int, difficulty: float) -> Scene:
    """Draw a scene; the same generator state, size and difficulty give the same scene.

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
    fill = _disguised(rng, material, strength).render(rng, size)
    # What hides best takes on the brightness of its very place; the texture itself stays the object's own.
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
    return Scene(image=_photographed(rng, background), mask=np.where(alpha > 0.5, 255, 0).astype(np.uint8))


def _disguised(rng: np.random.Generator, material: Texture, strength: float) -> Texture:
    """The object's material: the background's, given away in proportion to `strength` (1 plain, 0 hidden)."""
    palette = material.palette
    mean = palette.mean(axis=0)
    brightness = mean.mean()
    # Away from the nearer end of the range, so that the shift survives clipping to [0, 255].
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
    """Smooth (s, s, ...) over about a tenth of the side, at a sixteenth of the cost of a blur in full size."""
    size = len(field)
    small = cv2.GaussianBlur(cv2.resize(field, (32, 32), interpolation=cv2.INTER_AREA), (0, 0), 1.6)
    smooth: Field = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    return smooth


def _patches(rng: np.random.Generator, size: int) -> Field:
    """Distractors: a light (s, s) with a few soft-edged lighter and darker patches that are no objects."""
    canvas = np.ones((64, 64), np.float32)
    for _ in range(rng.integers(2, 6)):
        outline = rng.uniform(0, 64, 2) + rng.uniform(5, 14) * _blob(rng)[0]
        patch = np.zeros((64, 64), np.float32)
        cv2.fillPoly(patch, [np.rint(outline).astype(np.int32)], 1.0)
        canvas += np.float32(rng.uniform(-0.12, 0.12)) * cv2.GaussianBlur(patch, (0, 0), rng.uniform(0.8, 4))
    light: Field = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_CUBIC)
    return light


def _photographed(rng: np.random.Generator, image: Field) -> NDArray[np.uint8]:
    """Light (s, s, 3) falling off to one side, the lens's slight blur, the sensor's noise; 8 bits."""
    size = len(image)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    fall_x, fall_y = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
    image *= over_channels(1 + fall_x * ramp[None, :] + fall_y * ramp[:, None])
    image = cv2.GaussianBlur(image, (0, 0), 0.3 + rng.uniform(0, 0.3) * size / 128)
    image += over_channels(np.float32(rng.uniform(1, 4)) * rng.standard_normal((size, size), np.float32))
    np.rint(image, out=image)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _silhouettes(rng: np.random.Generator, size: int) -> Field:
    """One object, or two in a quarter of the scenes: coverage (s, s) in [0, 1]."""
    two = rng.uniform() < 0.25
    gap = np.ones((2 * (size // 32) + 3,) * 2, np.uint8)  # so that two objects stay two
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
    """An animal or blob of about the given share of the image, turned and placed at random, partly outside at times."""
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
    coverage: NDArray[np.uint8] = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return coverage.astype(np.float32) / np.float32(255)


def _painted(points: Polygon, ends: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Fill polygons, given in shares of the side and one after the other in `points`: (s, s), 255 on their union."""
    canvas = np.zeros((size, size), np.uint8)
    corners = np.rint(points * size).astype(np.int32)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        cv2.fillPoly(canvas, [corners[start:end]], 255)
    return canvas


def _ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> Polygon:
    """Outline of an ellipse turned by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    outline: Polygon = CIRCLE * [radius_x, radius_y] @ np.array([[cos, sin], [-sin, cos]]) + [x, y]
    return outline


def _limb(spine: Polygon, radii: list[float] | NDArray[np.float64]) -> list[Polygon]:
    """A tapering tube along a polyline: a disc on each joint, and quadrilaterals between them."""
    radius = np.asarray(radii)[:, None]
    step = np.diff(spine, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.linalg.norm(step, axis=1, keepdims=True)
    one, other = normal * radius[:-1], normal * radius[1:]
    tubes = np.stack([spine[:-1] + one, spine[1:] + other, spine[1:] - other, spine[:-1] - one], axis=1)
    return [*tubes, *(spine[:, None] + radius[:, None] * CIRCLE[::2])]


def _winding(rng: np.random.Generator, num: int, bend: float) -> Polygon:
    """A smooth random curve of length 2 through `num` points that turns up to `bend` radians off its heading."""
    along = np.linspace(0, 1, num)
    heading = bend * np.sin(2 * np.pi * rng.uniform(0.6, 1.4) * along + rng.uniform(0, 2 * np.pi))
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * 2 / num
    return np.cumsum(steps, axis=0) - [1, 0]


def _blob(rng: np.random.Generator) -> list[Polygon]:
    """A smooth closed curve: a circle with a few random waves on its radius."""
    phase, k = np.linspace(0, 2 * np.pi, 80, endpoint=False), np.arange(2, 7)[:, None]
    waves = rng.normal(0, 0.35 / k) * np.cos(k * phase + rng.uniform(0, 2 * np.pi, k.shape))
    radius = np.maximum(1 + waves.sum(axis=0), 0.35)
    return [np.stack([radius * np.cos(phase) * rng.uniform(1, 1.6), radius * np.sin(phase)], axis=1)]


def _quadruped(rng: np.random.Generator) -> list[Polygon]:
    """A mammal from the side: body, neck, head with ears, four legs, tail."""
    tall, head = rng.uniform(0.24, 0.36), np.array([rng.uniform(0.75, 1.0), rng.uniform(-0.5, -0.1)])
    parts = [_ellipse(0.0, 0.0, 0.62, tall), _ellipse(head[0], head[1], 0.24, 0.16, rng.uniform(-0.2, 0.5))]
    parts += _limb(np.array([(0.4, -0.05), head]), [0.2, 0.13])
    parts += [_ellipse(head[0] - 0.12 + dx, head[1] - 0.17, 0.05, 0.11, -0.3) for dx in (0.0, 0.12)]
    for x in (-0.48, -0.3, 0.28, 0.46):
        knee, foot = x + rng.uniform(-0.12, 0.12), x + rng.uniform(-0.18, 0.18)
        parts += _limb(
            np.array([(x, 0.1), (knee, tall + 0.18), (foot, tall + rng.uniform(0.35, 0.5))]), [0.14, 0.085, 0.06]
        )
    tail = rng.uniform(-0.4, 0.4)
    return parts + _limb(np.array([(-0.55, -0.05), (-0.85, tail / 2), (-1.1, tail)]), [0.1, 0.06, 0.04])


def _fish(rng: np.random.Generator) -> list[Polygon]:
    """Body tapering to the tail, a forked tail fin, a back and a belly fin."""
    spine = _winding(rng, 16, rng.uniform(0, 0.35))
    along = np.linspace(0, 1, 16)
    parts = _limb(spine, rng.uniform(0.3, 0.5) * np.sin(np.pi * along**0.75) ** 0.8 + 0.05)
    end, fork = spine[-1], rng.uniform(0.25, 0.45)
    parts.append(end + np.array([[-0.1, 0], [0.35, -fork], [0.2, 0], [0.35, fork]]))
    for side in (-1, 1):
        height = side * rng.uniform(0.4, 0.65)
        parts.append(np.stack([spine[4], spine[8] + [0.1, height], spine[11] + [0, height * 0.7], spine[12]]))
    return parts


def _insect(rng: np.random.Generator) -> list[Polygon]:
    """Abdomen, thorax and head in a row, six jointed legs, two feelers; half of them with the wings of a moth."""
    fat = rng.uniform(0.16, 0.3)
    parts = [_ellipse(-0.5, 0.0, 0.5, fat), _ellipse(0.12, 0.0, 0.24, fat * 0.8), _ellipse(0.44, 0.0, 0.16, fat * 0.6)]
    sweep = rng.uniform(0.2, 0.8)
    for side in (-1, 1):
        parts += _limb(
            np.array([(0.5, 0), (0.8, side * 0.15), (1.05, side * rng.uniform(0.1, 0.5))]), [0.055, 0.05, 0.045]
        )
        for x, lean in ((-0.1, -0.4), (0.1, 0.0), (0.28, 0.4)):
            reach = rng.uniform(0.6, 0.85)
            parts += _limb(
                np.array([(x, 0), (x + lean / 2, side * reach * 0.6), (x + lean, side * reach)]), [0.075, 0.06, 0.045]
            )
        if fat < 0.23:
            parts.append(_ellipse(-0.1, side * 0.5, 0.34, 0.6, side * -sweep))
            parts.append(_ellipse(-0.45, side * 0.35, 0.28, 0.45, side * sweep))
    return parts


def _snake(rng: np.random.Generator) -> list[Polygon]:
    """A thick winding line, head and tail tapering."""
    along = np.linspace(0, 1, 28)
    radius = rng.uniform(0.09, 0.16) * np.minimum(1, np.minimum(0.5 + 8 * along, 0.15 + 2 * (1 - along)))
    return _limb(_winding(rng, 28, rng.uniform(0.8, 1.7)), radius)


def _lizard(rng: np.random.Generator) -> list[Polygon]:
    """From above: a bent body with a long tail and four spread legs."""
    spine = _winding(rng, 20, rng.uniform(0.2, 0.8))
    along = np.linspace(0, 1, 20)
    belly = rng.uniform(0.16, 0.24) * np.exp(-(((along - 0.32) / 0.2) ** 2))
    parts = _limb(spine, belly + 0.13 * np.exp(-(((along - 0.06) / 0.07) ** 2)) + 0.05 * (1.1 - along))
    for joint in (4, 9):
        forward = spine[joint + 1] - spine[joint - 1]
        normal = np.array([-forward[1], forward[0]]) / np.linalg.norm(forward)
        for side in (-1, 1):
            elbow = spine[joint] + side * normal * rng.uniform(0.25, 0.35) + [rng.uniform(-0.15, 0.15), 0]
            foot = elbow + side * normal * 0.15 + [rng.uniform(-0.25, 0.25), 0]
            parts += _limb(np.stack([spine[joint], elbow, foot]), [0.09, 0.07, 0.05])
    return parts


SHAPES: list[Callable[[np.random.Generator], list[Polygon]]] = [_blob, _quadruped, _fish, _insect, _snake, _lizard]
