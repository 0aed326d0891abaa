"""An interior as its camera sees it: label, depth and normal of every pixel, and its picture.

All is in camera coordinates: the camera is the origin, x points to the right, y up, z towards the viewer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .interiors import LABELS, Camera, Interior
from .materials import Materials
from .ray_casting import Balls, Cubes, Cylinders, Floats, Integers, Room, Solids, cast, dot, nearest

_SHAPES: dict[str, type[Solids]] = {"cube": Cubes, "cylinder": Cylinders, "ball": Balls}
_FACES = 6  # the most that a shape has
_ROOM_FACES = [2, 2, 0, 1, 2, 2]  # by axis: walls, floor and ceiling, walls


@dataclass(frozen=True)
class View:
    """What each pixel sees.

    Attributes:
        labels: (H, W), int64: indices into LABELS.
        surfaces: (H, W), int64: a number for every face of every solid.
        depth: (H, W), float32: metres along the optical axis.
        normals: (3, H, W), float32, of unit length: outward from the surface.
        light: (3, H, W), float32, >= 0: the red, green and blue that the pixel receives.
    """

    labels: Integers
    surfaces: Integers
    depth: Floats
    normals: Floats
    light: Floats


def render(interior: Interior, height: int, width: int) -> View:
    """What the interior's camera sees through the pixels' centres."""
    stage = _Stage(interior)
    rays = pixel_rays(interior.camera.tangent, height, width)
    solids, depth = nearest(cast(stage.groups, np.zeros(3, np.float32), rays), rays.shape[1])
    points = depth * rays
    local, faces, normals = stage.surface(points, solids)
    light = stage.materials.albedo(local, stage.material_of[solids, faces]) * stage.irradiance(points, normals)
    return View(
        labels=stage.label_of[solids, faces].reshape(height, width),
        surfaces=(solids * _FACES + faces).reshape(height, width),
        depth=depth.reshape(height, width),
        normals=normals.reshape(3, height, width),
        light=light.reshape(3, height, width),
    )


def pixel_rays(tangent: float, height: int, width: int) -> Floats:
    """The directions (3, H * W) of the pixels' centres. Their z is -1: the distance along them is the depth.

    Args:
        tangent: Of half the vertical angle of view.
        height: H, which spans this angle.
        width: W.
    """
    pixel = 2 * tangent / height
    rays = np.full((3, height, width), -1, np.float32)
    rays[0] = (np.arange(width) + 0.5 - width / 2) * pixel
    rays[1] = (height / 2 - 0.5 - np.arange(height))[:, None] * pixel
    return rays.reshape(3, -1)


class _Stage:
    """An interior in arrays. Solid 0 is the room; the pieces follow by shape.

    Attributes:
        groups: The room, and the pieces of each shape.
        materials: The room's three, and one of each piece.
        label_of: (solids, faces): what a face is, an index into LABELS.
        material_of: (solids, faces): what it is made of.
    """

    def __init__(self, interior: Interior) -> None:
        self._lights, self._ambient = interior.lights, interior.ambient
        self._position, self._axes = np.array(interior.camera.position), _axes(interior.camera)

        by_shape = [[piece for piece in interior.pieces if piece.shape == shape] for shape in _SHAPES]
        pieces = [piece for of_shape in by_shape for piece in of_shape]
        self.groups: list[Solids] = [Room(*self._frames([interior.room]))]
        self.groups += [kind(*self._frames(part)) for kind, part in zip(_SHAPES.values(), by_shape, strict=True)]

        labels = [[LABELS.index(piece.label)] * _FACES for piece in pieces]
        self.label_of = np.array([_ROOM_FACES, *labels])
        materials = [[number] * _FACES for number in range(3, 3 + len(pieces))]
        self.material_of = np.array([_ROOM_FACES, *materials])
        solids = [interior.room] * 3 + pieces
        self.materials = Materials(
            [*interior.materials, *(piece.material for piece in pieces)],
            np.array([solid.half_size for solid in solids], np.float32),
        )

    def surface(self, points: Floats, solids: Integers) -> tuple[Floats, Integers, Floats]:
        """As Solids.surface, for the solids of all groups."""
        local, normals = np.empty_like(points), np.empty_like(points)
        faces = np.empty(len(solids), np.intp)
        for group, end in zip(self.groups, self._ends, strict=True):
            first = end - len(group)
            which = np.flatnonzero((solids >= first) & (solids < end))
            local[:, which], faces[which], normals[:, which] = group.surface(
                points.take(which, axis=1), solids[which] - first
            )
        return local, faces, normals

    def irradiance(self, points: Floats, normals: Floats) -> Floats:
        """The light (3, N) at points on surfaces: ambient, and Lambert's law where no solid is before a lamp."""
        total = np.full_like(points, self._ambient)
        for light in self._lights:
            position = self._seen(light.position)
            from_light = points - position[:, None]
            square = dot(from_light, from_light)
            cosine = -dot(from_light, normals) / np.sqrt(square)
            lit = np.flatnonzero(cosine > 0)
            shadows = cast(self.groups[1:], position, from_light.take(lit, axis=1))
            cosine[lit[shadows.ray[shadows.distance < 0.999]]] = 0  # at 1 is the point itself
            total += np.array(light.colour, np.float32)[:, None] * np.maximum(cosine, 0) / (1 + square)
        return total

    def _seen(self, points: ArrayLike) -> Floats:
        """Points (..., 3) of the world in camera coordinates."""
        seen: Floats = ((points - np.array(self._position)) @ self._world_from_camera).astype(np.float32)
        return seen


def _world_from_camera(camera: Camera):
    return _rotations(1, camera.yaw) @ _rotations(0, camera.pitch) @ _rotations(2, camera.roll)


def _rotations(axis: int, angles: ArrayLike):
    """Matrices (..., 3, 3) that turn counterclockwise around a coordinate axis by angles (...)."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    rotations = np.zeros((*np.shape(angles), 3, 3))
    rotations[..., axis, axis] = 1
    rotations[..., one, one] = rotations[..., other, other] = np.cos(angles)
    rotations[..., other, one] = np.sin(angles)
    rotations[..., one, other] = -rotations[..., other, one]
    return rotations
