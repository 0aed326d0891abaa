"""What surfaces look like: patterns of two colours, through the whole of a solid."""

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from .ray_casting import Floats, Integers

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """A pattern.

    Attributes:
        pattern: One of PATTERNS.
        colours: Two of red, green and blue, in [0, 1].
        frequency: Of the pattern along the axes of the solid, per metre.
        phase: Where it starts, along each axis.
    """

    pattern: str
    colours: tuple[Vector, Vector]
    frequency: Vector
    phase: Vector


def draw_material(random: Random) -> Material:
    """Any pattern in any colour; the second colour is a darker one."""
    hue, saturation, value = random.random(), random.uniform(0, 0.75), random.uniform(0.25, 0.95)
    darker = (hue + random.gauss(0, 0.15)) % 1, saturation, value * random.uniform(0.3, 0.9)
    scale = math.exp(random.uniform(math.log(1.5), math.log(8)))
    return Material(
        pattern=random.choice(list(PATTERNS)),
        colours=(colorsys.hsv_to_rgb(hue, saturation, value), colorsys.hsv_to_rgb(*darker)),
        frequency=(
            scale * random.uniform(0.6, 1.6),
            scale * random.uniform(0.6, 1.6),
            scale * random.uniform(0.6, 1.6),
        ),
        phase=(random.random(), random.random(), random.random()),
    )


class Materials:
    """Materials of many solids.

    Args:
        materials: One of each of M solids.
        half_sizes: Of the solids, in metres: a pattern is not stretched with its solid.
    """

    def __init__(self, materials: Sequence[Material], half_sizes: Sequence[Vector]) -> None:
        frequencies = np.array([material.frequency for material in materials], np.float32)
        self._scales = (frequencies * np.array(half_sizes, np.float32)).T
        self._phases = np.array([material.phase for material in materials], np.float32).T
        colours = np.array([material.colours for material in materials], np.float32)
        self._first, self._second = colours[:, 0].T, colours[:, 1].T
        self._patterns = np.array([material.pattern for material in materials])

    def albedo(self, points: Floats, materials: Integers) -> Floats:
        """The colours (3, N), in [0, 1], at points (3, N) in local coordinates, of one material (N,) each."""
        at = points * self._scales.take(materials, axis=1) + self._phases.take(materials, axis=1)
        part = np.empty(len(materials), np.float32)
        for name, pattern in PATTERNS.items():
            which = np.flatnonzero((self._patterns == name)[materials])
            part[which] = pattern(*at.take(which, axis=1))
        first, second = self._first.take(materials, axis=1), self._second.take(materials, axis=1)
        return first + part * (second - first)


def _plain(x: Floats, y: Floats, z: Floats) -> Floats:
    return np.zeros_like(x)


def _checks(x: Floats, y: Floats, z: Floats) -> Floats:
    return (np.floor(x) + np.floor(y) + np.floor(z)) % 2


def _stripes(x: Floats, y: Floats, z: Floats) -> Floats:
    return np.floor(2 * (x + z / 2)) % 2


def _wood(x: Floats, y: Floats, z: Floats) -> Floats:
    """Growth rings around the y axis, which is bent."""
    radius = 1.5 * np.sqrt(x * x + z * z) + 0.4 * np.sin(y)
    return radius - np.floor(radius)


def _clouds(x: Floats, y: Floats, z: Floats) -> Floats:
    return 0.5 + 0.5 * np.sin(x + 2 * np.sin(1.3 * y + z)) * np.sin(z + 2 * np.sin(0.7 * x - y))


# At a point, in periods: the part, in [0, 1], that the second colour has.
PATTERNS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "plain": _plain,
    "checks": _checks,
    "stripes": _stripes,
    "wood": _wood,
    "clouds": _clouds,
}
