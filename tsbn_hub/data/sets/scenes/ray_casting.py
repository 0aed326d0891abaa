"""Rays against many cubes, cylinders and balls, each stretched and turned: exact, but for the rounding of float32.

A solid is a unit shape in coordinates of its own, which `to_local @ (point - centre)` gives. They keep distances along
a ray, so that every ray is cast against the unit shape. Many vectors are (3, N), many matrices (3, 3, N), in float32.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


class Hits(NamedTuple):
    """Where rays meet solids: three (hits,).

    Attributes:
        ray: The number of the ray.
        solid: The number of the solid.
        distance: In lengths of the ray's direction, > 0.
    """

    ray: Integers
    solid: Integers
    distance: Floats


class Solids(ABC):
    """Solids of one shape.

    Args:
        centres: (3, S).
        to_local: (3, 3, S). The rows of each are orthogonal: it turns, and then stretches.
    """

    def __init__(self, centres: Floats, to_local: Floats) -> None:
        self._centres, self._to_local = centres, to_local
        self._radii = self._bounding_radii(1 / np.sqrt(np.square(to_local).sum(axis=1)))

    def __len__(self) -> int:
        return self._centres.shape[1]

    def hits(self, origin: Floats, directions: Floats) -> Hits:
        """Where rays (3, N) from a point (3,) outside of the solids enter them."""
        ray, counts = self._candidates(origin, directions)
        matrices = self._to_local.repeat(counts, axis=2)
        origins = self._local_origins(origin).repeat(counts, axis=1)
        enter, leave = self._interval(origins, _products(matrices, directions.take(ray, axis=1)))
        met = np.flatnonzero((enter < leave) & (enter > 0))
        return Hits(ray[met], np.arange(len(self)).repeat(counts)[met], enter[met])

    def surface(self, points: Floats, solids: Integers) -> tuple[Floats, Integers, Floats]:
        """What there is at points (3, N) on the surfaces of these solids (N,).

        Returns:
            The points in local coordinates (3, N); the faces (N,), which are the parts of a surface between its
            creases, counted from 0 to 5 at the most; the unit normals that point outwards (3, N).
        """
        matrices = _of_each(self._to_local, solids)
        local = _products(matrices, points - _of_each(self._centres, solids))
        faces, local_normals = self._faces(local)
        return local, faces, normalized(_products(matrices.swapaxes(0, 1), local_normals))

    def _candidates(self, origin: Floats, directions: Floats) -> tuple[Integers, Integers]:
        """The numbers of the rays that meet a sphere around each solid, by solid, and how many they are for each."""
        to_centres = self._centres - origin[:, None]
        distances = np.sqrt(np.square(to_centres).sum(axis=0))
        cosines = np.sqrt(1 - np.minimum(self._radii / distances, 1) ** 2)
        cosines[self._radii >= distances] = -1
        near = (to_centres / distances).T @ normalized(directions) > cosines[:, None] - 1e-4  # lest rounding loses some
        pairs = np.flatnonzero(near)
        firsts = np.arange(len(self)) * directions.shape[1]
        counts = np.diff(pairs.searchsorted(firsts), append=len(pairs))
        return pairs - firsts.repeat(counts), counts

    def _local_origins(self, origin: Floats) -> Floats:
        return _products(self._to_local, origin[:, None] - self._centres)

    @staticmethod
    @abstractmethod
    def _interval(origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """Where rays (3, N) enter and leave the unit shape: two (N,). If they miss it: not enter < leave."""

    @staticmethod
    @abstractmethod
    def _faces(points: Floats) -> tuple[Integers, Floats]:
        """The faces (N,) of points (3, N) on the unit shape, and outward normals (3, N) of any length."""

    @staticmethod
    @abstractmethod
    def _bounding_radii(half_sizes: Floats) -> Floats:
        """The radii (S,) of spheres around the unit shapes stretched by (3, S)."""


class Cubes(Solids):
    """All coordinates in [-1, 1]. The faces are 2 * axis, and one more at its positive end."""

    @staticmethod
    def _interval(origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        middle, half = _slab(origins, directions)
        (x, y, z), (far_x, far_y, far_z) = middle - half, middle + half
        return np.maximum(np.maximum(x, y), z), np.minimum(np.minimum(far_x, far_y), far_z)

    @staticmethod
    def _faces(points: Floats) -> tuple[Integers, Floats]:
        x, y, z = np.abs(points)
        axis = np.where(z > np.maximum(x, y), 2, y > x)
        along = axis == np.arange(3)[:, None]
        return 2 * axis + (along & (points > 0)).any(axis=0), along * points

    @staticmethod
    def _bounding_radii(half_sizes: Floats) -> Floats:
        return np.sqrt(np.square(half_sizes).sum(axis=0))


class Room(Cubes):
    """One cube, for rays and points inside it: it is met where they leave it, and its normals point inwards."""

    def hits(self, origin: Floats, directions: Floats) -> Hits:
        leave = self._interval(self._local_origins(origin), _products(self._to_local, directions))[1]
        return Hits(np.arange(len(leave)), np.zeros(len(leave), np.intp), leave)

    def surface(self, points: Floats, solids: Integers) -> tuple[Floats, Integers, Floats]:
        local, faces, normals = super().surface(points, solids)
        return local, faces, -normals


class Cylinders(Solids):
    """x² + z² <= 1, and y in [-1, 1]. The faces are the mantle, the bottom and the top."""

    @staticmethod
    def _interval(origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        nearest, half_chord = _chord(origins[::2], directions[::2])
        middle, half = _slab(origins[1], directions[1])
        return np.maximum(nearest - half_chord, middle - half), np.minimum(nearest + half_chord, middle + half)

    @staticmethod
    def _faces(points: Floats) -> tuple[Integers, Floats]:
        x, y, z = points
        flat = y * y > x * x + z * z
        return np.where(flat, 1 + (y > 0), 0), np.stack([~flat, flat, ~flat]) * points

    @staticmethod
    def _bounding_radii(half_sizes: Floats) -> Floats:
        return np.hypot(np.maximum(half_sizes[0], half_sizes[2]), half_sizes[1])


class Balls(Solids):
    """x² + y² + z² <= 1. There is one face."""

    @staticmethod
    def _interval(origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
        nearest, half_chord = _chord(origins, directions)
        return nearest - half_chord, nearest + half_chord

    @staticmethod
    def _faces(points: Floats) -> tuple[Integers, Floats]:
        return np.zeros(points.shape[1], np.intp), points

    @staticmethod
    def _bounding_radii(half_sizes: Floats) -> Floats:
        return half_sizes.max(axis=0)


def cast(groups: Sequence[Solids], origin: Floats, directions: Floats) -> Hits:
    """All hits of rays (3, N) that start at one point (3,). Solids are counted on from group to group."""
    firsts = accumulate((len(solids) for solids in groups), initial=0)
    hits = [solids.hits(origin, directions) for solids in groups]
    return Hits(
        np.concatenate([each.ray for each in hits]),
        np.concatenate([each.solid + first for each, first in zip(hits, firsts, strict=False)]),
        np.concatenate([each.distance for each in hits]),
    )


def nearest(hits: Hits, rays: int) -> tuple[Integers, Floats]:
    """The first solid that each ray meets, and how far it is: (rays,). If it meets none: solid -1, at inf."""
    solid, distance = np.full(rays, -1), np.full(rays, np.inf, np.float32)
    ray, number, at = hits
    while len(ray):
        solid[ray], distance[ray] = number, at  # of several hits of a ray, one stays
        closer = np.flatnonzero(at < distance[ray])
        ray, number, at = ray[closer], number[closer], at[closer]
    return solid, distance


def normalized(vectors: Floats) -> Floats:
    """Vectors (3, N) at unit length."""
    return vectors / np.sqrt(dot(vectors, vectors))


def dot(one: Floats, other: Floats) -> Floats:
    """The products (N,) of vectors (3, N), or of any number of coordinates."""
    return np.einsum("in,in->n", one, other)


def _products(matrices: Floats, vectors: Floats) -> Floats:
    return matrices[:, 0] * vectors[0] + matrices[:, 1] * vectors[1] + matrices[:, 2] * vectors[2]


def _of_each(values: Floats, solids: Integers) -> Floats:
    """The values (..., S) of these solids (N,): (..., N); of a single solid (..., 1), which broadcasts."""
    return values if values.shape[-1] == 1 else values.take(solids, axis=-1)


def _slab(origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
    """Where coordinates of rays are in [-1, 1]: the middle, and half the length."""
    slowness = 1 / np.where(directions == 0, np.float32(1e-30), directions)  # 1 / 0 would give inf - inf
    return -origins * slowness, np.abs(slowness)


def _chord(origins: Floats, directions: Floats) -> tuple[Floats, Floats]:
    """Where rays are within 1 of the origin: the middle, and half the length; NaN: nowhere."""
    square = dot(directions, directions)
    middle = -dot(origins, directions) / square
    points = origins + middle * directions  # the textbook's discriminant would cancel
    with np.errstate(invalid="ignore"):
        return middle, np.sqrt((1 - dot(points, points)) / square)
