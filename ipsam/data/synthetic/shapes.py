"""Outlines of objects for synthetic scenes: blobs and animal-like shapes, each a union of polygons."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]  # (n, 2) as x, y
CIRCLE: Polygon = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)], axis=1)


def _ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> Polygon:
    """Outline an ellipse turned by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    outline: Polygon = CIRCLE * [radius_x, radius_y] @ np.array([[cos, sin], [-sin, cos]]) + [x, y]
    return outline


def _limb(spine: Polygon, radii: list[float] | NDArray[np.float64]) -> list[Polygon]:
    """Outline a tapering tube along a polyline: a disc on each joint, and quadrilaterals between them."""
    radius = np.asarray(radii)[:, None]
    step = np.diff(spine, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.linalg.norm(step, axis=1, keepdims=True)
    one, other = normal * radius[:-1], normal * radius[1:]
    tubes = np.stack([spine[:-1] + one, spine[1:] + other, spine[1:] - other, spine[:-1] - one], axis=1)
    return [*tubes, *(spine[:, None] + radius[:, None] * CIRCLE[::2])]


def _winding(rng: np.random.Generator, num: int, bend: float) -> Polygon:
    """Draw a smooth random curve of length 2 with `num` points, which turns up to `bend` radians off its heading."""
    along = np.linspace(0, 1, num)
    heading = bend * np.sin(2 * np.pi * rng.uniform(0.6, 1.4) * along + rng.uniform(0, 2 * np.pi))
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * 2 / num
    return np.cumsum(steps, axis=0) - [1, 0]


def blob(rng: np.random.Generator) -> list[Polygon]:
    """Draw a smooth closed curve: a circle with a few random waves on its radius."""
    phase, k = np.linspace(0, 2 * np.pi, 80, endpoint=False), np.arange(2, 7)[:, None]
    waves = rng.normal(0, 0.35 / k) * np.cos(k * phase + rng.uniform(0, 2 * np.pi, k.shape))
    radius = np.maximum(1 + waves.sum(axis=0), 0.35)
    return [np.stack([radius * np.cos(phase) * rng.uniform(1, 1.6), radius * np.sin(phase)], axis=1)]


def _quadruped(rng: np.random.Generator) -> list[Polygon]:
    """Draw a mammal from the side: body, neck, head with ears, four legs, tail."""
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
    """Draw abdomen, thorax and head in a row, six jointed legs, two feelers and, if thin, the wings of a moth."""
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
    """Draw a thick winding line that tapers at head and tail."""
    along = np.linspace(0, 1, 28)
    radius = rng.uniform(0.09, 0.16) * np.minimum(1, np.minimum(0.5 + 8 * along, 0.15 + 2 * (1 - along)))
    return _limb(_winding(rng, 28, rng.uniform(0.8, 1.7)), radius)


def _lizard(rng: np.random.Generator) -> list[Polygon]:
    """Draw, from above, a bent body with a long tail and four spread legs."""
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


SHAPES: list[Callable[[np.random.Generator], list[Polygon]]] = [blob, _quadruped, _fish, _insect, _snake, _lizard]
