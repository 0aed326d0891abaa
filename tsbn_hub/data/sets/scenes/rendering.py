"""An interior as its camera sees it: label, depth and normal of every pixel, and its picture.

All is in camera coordinates: the camera is the origin, x points to the right, y up, z towards the viewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .interiors import LABELS, Camera, Frame, Interior
from .materials import Materials
from .ray_casting import Balls, Cubes, Cylinders, Floats, Integers, Room, Solids, cast, dot, nearest

_SHAPES: dict[str, type[Solids]] = {"cube": Cubes, "cylinder": Cylinders, "ball": Balls}
_FACES = 6  # the most that a shape has
_ROOM_FACES = [2, 2, 0, 1, 2, 2]  # along x walls, along y floor and ceiling, along z walls: labels and materials


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
        self._lamps, self._ambient = interior.lamps, interior.ambient
        self._position, self._axes = np.array(interior.camera.position), _axes(interior.camera)
        by_shape = [[piece for piece in interior.pieces if piece.shape == shape] for shape in _SHAPES]
        pieces = [piece for group in by_shape for piece in group]

        self.groups: list[Solids] = [Room(*self._placed([interior.room]))]
        for kind, group in zip(_SHAPES.values(), by_shape, strict=True):
            self.groups.append(kind(*self._placed([piece.frame for piece in group])))
        self.materials = Materials(
            [interior.floor, interior.ceiling, interior.wall, *(piece.material for piece in pieces)],
            [frame.half_size for frame in [interior.room] * 3 + [piece.frame for piece in pieces]],
        )
        self.label_of = np.array([_ROOM_FACES, *([LABELS.index(piece.label)] * _FACES for piece in pieces)])
        self.material_of = np.array([_ROOM_FACES, *([3 + at] * _FACES for at in range(len(pieces)))])

    def surface(self, points: Floats, solids: Integers) -> tuple[Floats, Integers, Floats]:
        """As Solids.surface, for the solids of all groups."""
        local, normals = np.empty_like(points), np.empty_like(points)
        faces = np.empty(len(solids), np.intp)
        first = 0
        for group in self.groups:
            which = np.flatnonzero((solids >= first) & (solids < first + len(group)))
            surface = group.surface(points.take(which, axis=1), solids[which] - first)
            local[:, which], faces[which], normals[:, which] = surface
            first += len(group)
        return local, faces, normals

    def irradiance(self, points: Floats, normals: Floats) -> Floats:
        """The light (3, N) that falls on points of surfaces: ambient, and of the lamps by Lambert's law."""
        total = np.full_like(points, self._ambient)
        for lamp in self._lamps:
            position = self._seen(np.array(lamp.position))
            from_lamp = points - position[:, None]
            square = dot(from_lamp, from_lamp)
            cosine = -dot(from_lamp, normals) / np.sqrt(square)
            facing = np.flatnonzero(cosine > 0)
            before = cast(self.groups[1:], position, from_lamp.take(facing, axis=1))
            cosine[facing[before.ray[before.distance < 0.999]]] = 0  # in shadow; at 1 is the point itself
            strength = np.maximum(cosine, 0) / (1 + square)  # a lamp is no point quite: it does not blind
            total += np.array(lamp.colour, np.float32)[:, None] * strength
        return total

    def _placed(self, frames: Sequence[Frame]) -> tuple[Floats, Floats]:
        """The centres and to_local that Solids takes."""
        centres = np.array([frame.centre for frame in frames]).reshape(-1, 3)
        half_sizes = np.array([frame.half_size for frame in frames]).reshape(-1, 3)
        local_from_world = _turns(1, np.array([frame.yaw for frame in frames])).swapaxes(1, 2)
        to_local = local_from_world @ self._axes / half_sizes[:, :, None]
        return self._seen(centres).T.copy(), to_local.transpose(1, 2, 0).astype(np.float32, order="C")

    def _seen(self, points: Floats) -> Floats:
        """Points (..., 3) of the world in camera coordinates."""
        return ((points - self._position) @ self._axes).astype(np.float32)


def _axes(camera: Camera) -> Floats:
    """The camera's axes in the world, as columns: (3, 3)."""
    yaw, pitch, roll = (np.array(angle) for angle in (camera.yaw, camera.pitch, camera.roll))
    return _turns(1, yaw) @ _turns(0, pitch) @ _turns(2, roll)


def _turns(axis: int, angles: Floats) -> Floats:
    """Matrices (..., 3, 3) that turn counterclockwise around a coordinate axis by angles (...)."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    turns = np.zeros((*angles.shape, 3, 3))
    turns[..., axis, axis] = 1
    turns[..., one, one] = turns[..., other, other] = np.cos(angles)
    turns[..., other, one] = np.sin(angles)
    turns[..., one, other] = -turns[..., other, one]
    return turns
