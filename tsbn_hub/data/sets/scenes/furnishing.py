"""Interiors drawn at random: a room, and furniture where its camera looks."""

import math
from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple

from .interiors import Camera, Frame, Interior, Lamp, Piece
from .materials import Material, Vector, draw_material


def draw_interior(random: Random) -> Interior:
    """A furnished room, seen from the wall that is towards the viewer."""
    half_width, half_height, half_depth = random.uniform(1.5, 2.8), random.uniform(1.15, 1.55), random.uniform(1.5, 2.8)
    room = Frame((0, half_height, 0), (half_width, half_height, half_depth))
    camera = Camera(
        position=(
            random.uniform(-0.6, 0.6) * half_width,
            random.uniform(0.9, 2.0),
            half_depth - random.uniform(0.2, 0.6),
        ),
        yaw=random.uniform(-0.7, 0.7),
        pitch=random.uniform(-0.5, 0.15),
        roll=random.gauss(0, 0.04),
        tangent=random.uniform(0.5, 0.8),
    )
    return Interior(
        room=room,
        floor=draw_material(random),
        ceiling=draw_material(random),
        wall=draw_material(random),
        pieces=_Furnishing(random, room, camera).pieces,
        lamps=[_lamp(random, room) for _ in range(random.choice((1, 1, 2)))],
        ambient=random.uniform(0.12, 0.3),
        camera=camera,
    )


def _lamp(random: Random, room: Frame) -> Lamp:
    half_width, half_height, half_depth = room.half_size
    power = random.uniform(1.5, 4)
    return Lamp(
        position=(
            random.uniform(-0.8, 0.8) * half_width,
            2 * half_height - random.uniform(0.1, 0.15),
            random.uniform(-0.8, 0.9) * half_depth,
        ),
        colour=(power, power * random.uniform(0.8, 1), power * random.uniform(0.65, 1)),
    )


class _Place(NamedTuple):
    x: float
    z: float
    yaw: float
    height: float = 0


class _Furnishing:
    """Puts one object after the other where it finds room: each keeps a circle of the floor for itself.

    Attributes:
        pieces: What has been put.
    """

    def __init__(self, random: Random, room: Frame, camera: Camera) -> None:
        self._random, self._camera = random, camera
        self._half_width, _, self._half_depth = room.half_size
        self._taken = [(camera.position[0], camera.position[2], 0.6)]
        self.pieces: list[Piece] = []
        for put, least, most in (
            (self._cabinet, 0, 2),
            (self._door, 0, 2),
            (self._table, 0, 2),
            (self._chair, 1, 3),
            (self._ball, 0, 3),
            (self._vase, 0, 3),
            (self._picture, 1, 3),
        ):
            for _ in range(random.randint(least, most)):
                put()

    def _cabinet(self) -> None:
        uniform = self._random.uniform
        half_size = uniform(0.25, 0.6), uniform(0.35, 1.05), uniform(0.2, 0.32)
        place = self._place_at_wall(half_size[0], distance=half_size[2] + 0.02)
        if place:
            self._add("cabinet", "cube", place, (0, half_size[1], 0), half_size, draw_material(self._random))

    def _door(self) -> None:
        uniform = self._random.uniform
        half_size = uniform(0.38, 0.5), uniform(0.95, 1.08), 0.03
        place = self._place_at_wall(half_size[0])
        if place:
            material = draw_material(self._random)
            self._add("door", "cube", place, (0, half_size[1], 0), half_size, material)
            self._add("door", "ball", place, (0.8 * half_size[0], 1, 0.07), (0.04, 0.04, 0.04), material)

    def _picture(self) -> None:
        uniform = self._random.uniform
        half_size = uniform(0.2, 0.6), uniform(0.2, 0.45), 0.02
        place = self._place_at_wall(half_size[0])
        if place:
            self._add("picture", "cube", place, (0, uniform(1.4, 1.7), 0), half_size, draw_material(self._random))

    def _table(self) -> None:
        uniform = self._random.uniform
        height, thickness = uniform(0.45, 0.8), uniform(0.015, 0.04)
        half_width, half_depth = uniform(0.35, 0.75), uniform(0.3, 0.45)
        place = self._place_on_floor(math.hypot(half_width, half_depth))
        if place:
            material = draw_material(self._random)
            top = half_width, thickness, half_depth
            self._add("table", "cube", place, (0, height - thickness, 0), top, material)
            self._legs("table", place, half_width - 0.05, half_depth - 0.05, height - 2 * thickness, material)
            put = self._random.choice((self._ball, self._vase, None))
            if put:
                put(place._replace(height=height))

    def _chair(self) -> None:
        uniform = self._random.uniform
        height, half_width, half_back = uniform(0.38, 0.5), uniform(0.18, 0.25), uniform(0.2, 0.35)
        place = self._place_on_floor(1.4 * half_width)
        if place:
            material = draw_material(self._random)
            seat, back = (half_width, 0.025, half_width), (0.94 * half_width, half_back, 0.02)
            self._add("chair", "cube", place, (0, height - 0.025, 0), seat, material)
            self._add("chair", "cube", place, (0, height + half_back, 0.03 - half_width), back, material)
            self._legs("chair", place, half_width - 0.035, half_width - 0.035, height - 0.05, material)

    def _legs(self, label: str, place: _Place, x: float, z: float, height: float, material: Material) -> None:
        for offset in ((-x, height / 2, -z), (-x, height / 2, z), (x, height / 2, -z), (x, height / 2, z)):
            self._add(label, "cube", place, offset, (0.025, height / 2, 0.025), material)

    def _ball(self, on_table: _Place | None = None) -> None:
        radius = self._random.uniform(0.1, 0.18) if on_table else self._random.uniform(0.18, 0.4)
        place = on_table or self._place_on_floor(radius)
        if place:
            half_size = radius, radius, radius
            self._add("ball", "ball", place, (0, radius, 0), half_size, draw_material(self._random))

    def _vase(self, on_table: _Place | None = None) -> None:
        radius = self._random.uniform(0.07, 0.14) if on_table else self._random.uniform(0.14, 0.28)
        half_height = radius * self._random.uniform(1, 2)
        place = on_table or self._place_on_floor(radius)
        if place:
            half_size = radius, half_height, radius
            self._add("vase", "cylinder", place, (0, half_height, 0), half_size, draw_material(self._random))

    def _add(
        self,
        label: str,
        shape: Literal["cube", "cylinder", "ball"],
        place: _Place,
        offset: Vector,
        half_size: Vector,
        material: Material,
    ) -> None:
        """A piece at an offset from its object's place, turned with it."""
        x, y, z = offset
        cosine, sine = math.cos(place.yaw), math.sin(place.yaw)
        centre = place.x + cosine * x + sine * z, place.height + y, place.z - sine * x + cosine * z
        self.pieces.append(Piece(label, shape, Frame(centre, half_size, place.yaw), material))

    def _place_on_floor(self, radius: float) -> _Place | None:
        uniform = self._random.uniform
        x, z = self._half_width - radius - 0.05, self._half_depth - radius - 0.05
        return self._free(radius, lambda: _Place(uniform(-x, x), uniform(-z, z), uniform(-math.pi, math.pi)))

    def _place_at_wall(self, half_width: float, distance: float = 0) -> _Place | None:
        """On the far, the left or the right wall, at a distance from it, and turned to the room."""

        def draw() -> _Place:
            uniform = self._random.uniform
            x, z = self._half_width - half_width - 0.05, self._half_depth - half_width - 0.05
            side = self._random.choice((-1, 0, 1))
            if side == 0:
                return _Place(uniform(-x, x), distance - self._half_depth, 0)
            return _Place(side * (self._half_width - distance), uniform(-z, z), -side * math.pi / 2)

        return self._free(half_width, draw)

    def _free(self, radius: float, draw: Callable[[], _Place]) -> _Place | None:
        """The first of 20 places that is in view and apart from all others."""
        for place in (draw() for _ in range(20)):
            if self._in_view(place) and all(
                math.hypot(place.x - x, place.z - z) > radius + other for x, z, other in self._taken
            ):
                self._taken.append((place.x, place.z, radius))
                return place
        return None

    def _in_view(self, place: _Place) -> bool:
        x, _, z = self._camera.position
        angle = math.atan2(x - place.x, z - place.z) - self._camera.yaw
        return abs(angle) < math.atan(1.2 * self._camera.tangent)
