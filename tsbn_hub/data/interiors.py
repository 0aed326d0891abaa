"""Rooms with furniture, drawn at random: what there is to see, before it is seen.

The world's axes are x to the right, y up, z towards the viewer; lengths are metres. The floor's middle is the origin.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from .materials import Material, Vector, draw_material

LABELS = ["floor", "ceiling", "wall", "door", "picture", "cabinet", "table", "chair", "ball", "vase"]
ShapeName = Literal["cube", "cylinder", "ball"]


@dataclass(frozen=True)
class Piece:
    """A solid in a room.

    Attributes:
        label: One of LABELS.
        shape: The unit shape.
        centre: In the world.
        half_size: Along the piece's own axes.
        yaw: Its turn to the left, in radians.
        material: What it is made of.
    """

    label: str
    shape: ShapeName
    centre: Vector
    half_size: Vector
    yaw: float
    material: Material


@dataclass(frozen=True)
class Light:
    """A point that shines.

    Attributes:
        position: In the world.
        colour: Red, green and blue; a white surface that faces the light at 1 m has it.
    """

    position: Vector
    colour: Vector


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: In the world.
        yaw: Its turn to the left, in radians. At 0 it looks along -z.
        pitch: Its turn up.
        roll: Its turn around the view, counterclockwise.
        tangent: Of half the vertical angle of view.
    """

    position: Vector
    yaw: float
    pitch: float
    roll: float
    tangent: float


@dataclass
class Interior:
    """A room with what is in it.

    Attributes:
        size: Of the room, along x, y and z.
        materials: Of its floor, ceiling and walls.
        camera: Somewhere at the wall that is towards the viewer.
        lights: Below the ceiling.
        ambient: The light that is everywhere.
        pieces: The furniture.
    """

    size: Vector
    materials: tuple[Material, Material, Material]
    camera: Camera
    lights: list[Light]
    ambient: float
    pieces: list[Piece] = field(default_factory=list)


def draw_interior(random: Random) -> Interior:
    """A room that is furnished in view of its camera."""
    size = random.uniform(3.5, 6.5), random.uniform(2.3, 3.1), random.uniform(3.5, 6.5)
    camera = Camera(
        position=(
            random.uniform(-0.3, 0.3) * size[0],
            random.uniform(0.9, 2.0),
            size[2] / 2 - random.uniform(0.2, 0.6),
        ),
        yaw=random.uniform(-0.7, 0.7),
        pitch=random.uniform(-0.5, 0.15),
        roll=random.gauss(0, 0.04),
        tangent=random.uniform(0.5, 0.8),
    )
    lights = [_light(random, size) for _ in range(random.choice((1, 1, 2)))]
    materials = draw_material(random), draw_material(random), draw_material(random)
    interior = Interior(size, materials, camera, lights, random.uniform(0.12, 0.3))
    _Furnishing(random, interior).furnish()
    return interior


class _Furnishing:
    """Puts furniture where there is room for it: each piece keeps a circle of the floor for itself."""

    def __init__(self, random: Random, interior: Interior) -> None:
        self._random, self._interior = random, interior
        x, _, z = interior.camera.position
        self._taken = [(x, z, 0.7)]

    def furnish(self) -> None:
        random = self._random
        for put, most in (
            (self._cabinet, 2),
            (self._door, 2),
            (self._table, 2),
            (self._chair, 3),
            (self._ball, 2),
            (self._vase, 2),
            (self._picture, 3),
        ):
            for _ in range(random.randint(0 if most == 2 else 1, most)):
                put()

    # Each of these puts one object, or nothing where no place is found.

    def _cabinet(self) -> None:
        random = self._random
        half = random.uniform(0.25, 0.6), random.uniform(0.35, 1.05), random.uniform(0.2, 0.32)
        place = self._place_at_wall(half[0], half[2] + 0.02)
        if place is not None:
            self._add("cabinet", "cube", place, (0, half[1], 0), half, draw_material(random))

    def _door(self) -> None:
        random = self._random
        half = random.uniform(0.38, 0.5), random.uniform(0.95, 1.08), 0.03
        place = self._place_at_wall(half[0], 0)
        if place is not None:
            material = draw_material(random)
            self._add("door", "cube", place, (0, half[1], 0), half, material)
            self._add("door", "ball", place, (0.8 * half[0], 1.0, 0.07), (0.04, 0.04, 0.04), material)

    def _picture(self) -> None:
        random = self._random
        half = random.uniform(0.2, 0.6), random.uniform(0.2, 0.45), 0.02
        place = self._place_at_wall(half[0], 0)
        if place is not None:
            self._add("picture", "cube", place, (0, random.uniform(1.4, 1.7), 0), half, draw_material(random))

    def _table(self) -> None:
        random = self._random
        height, half_width, half_depth = (
            random.uniform(0.45, 0.8),
            random.uniform(0.35, 0.75),
            random.uniform(0.3, 0.45),
        )
        place = self._place_on_floor(math.hypot(half_width, half_depth))
        if place is None:
            return
        material, thickness = draw_material(random), random.uniform(0.015, 0.04)
        self._add("table", "cube", place, (0, height - thickness, 0), (half_width, thickness, half_depth), material)
        self._legs("table", place, half_width - 0.05, half_depth - 0.05, height - 2 * thickness, material)
        if random.random() < 0.5:
            self._vase((place, height))
        elif random.random() < 0.5:
            self._ball((place, height))

    def _chair(self) -> None:
        random = self._random
        height, half = random.uniform(0.38, 0.5), random.uniform(0.18, 0.25)
        place = self._place_on_floor(1.3 * half)
        if place is None:
            return
        material, back = draw_material(random), random.uniform(0.2, 0.35)
        self._add("chair", "cube", place, (0, height - 0.025, 0), (half, 0.025, half), material)
        self._add("chair", "cube", place, (0, height + back, 0.025 - half), (0.94 * half, back, 0.02), material)
        self._legs("chair", place, half - 0.035, half - 0.035, height - 0.05, material)

    def _ball(self, support: tuple["_Place", float] | None = None) -> None:
        radius = self._random.uniform(0.08, 0.15) if support else self._random.uniform(0.12, 0.35)
        place, height = support or (self._place_on_floor(radius), 0)
        if place is not None:
            self._add("ball", "ball", place, (0, height + radius, 0), (radius,) * 3, draw_material(self._random))

    def _vase(self, support: tuple["_Place", float] | None = None) -> None:
        random = self._random
        radius = random.uniform(0.05, 0.12) if support else random.uniform(0.1, 0.25)
        half_height = radius * random.uniform(1, 2)
        place, height = support or (self._place_on_floor(radius), 0)
        if place is not None:
            half = radius, half_height, radius
            self._add("vase", "cylinder", place, (0, height + half_height, 0), half, draw_material(random))

    def _legs(self, label: str, place: "_Place", x: float, z: float, height: float, material: Material) -> None:
        for side, end in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            self._add(label, "cube", place, (side * x, height / 2, end * z), (0.025, height / 2, 0.025), material)

    def _add(
        self, label: str, shape: ShapeName, place: "_Place", offset: Vector, half_size: Vector, material: Material
    ) -> None:
        cosine, sine = math.cos(place.yaw), math.sin(place.yaw)
        x = place.x + cosine * offset[0] + sine * offset[2]
        z = place.z - sine * offset[0] + cosine * offset[2]
        self._interior.pieces.append(Piece(label, shape, (x, offset[1], z), half_size, place.yaw, material))

    def _place_on_floor(self, radius: float) -> "_Place | None":
        random = self._random
        x, z = (self._interior.size[axis] / 2 - radius - 0.05 for axis in (0, 2))
        return self._free(
            radius, lambda: _Place(random.uniform(-x, x), random.uniform(-z, z), random.uniform(-3.14, 3.14))
        )

    def _place_at_wall(self, half_width: float, distance: float) -> "_Place | None":
        random = self._random
        half_x, half_z = self._interior.size[0] / 2, self._interior.size[2] / 2

        def draw() -> _Place:
            wall = random.randrange(3)
            if wall == 0:
                reach = half_x - half_width - 0.05
                return _Place(random.uniform(-reach, reach), distance - half_z, 0)
            side = 1 if wall == 1 else -1
            reach = half_z - half_width - 0.05
            return _Place(side * (half_x - distance), random.uniform(-reach, reach), -side * math.pi / 2)

        return self._free(half_width, draw)

    def _free(self, radius: float, draw: Callable[[], "_Place"]) -> "_Place | None":
        """One of 20 places that is in view and apart from all others."""
        camera = self._interior.camera
        for _ in range(20):
            place = draw()
            x, z = place.x - camera.position[0], place.z - camera.position[2]
            angle = math.atan2(-x, -z) - camera.yaw
            if abs(angle) < math.atan(1.2 * camera.tangent) and all(
                math.hypot(place.x - x, place.z - z) > radius + other for x, z, other in self._taken
            ):
                self._taken.append((place.x, place.z, radius))
                return place
        return None


@dataclass(frozen=True)
class _Place:
    x: float
    z: float
    yaw: float


def _light(random: Random, size: Vector) -> Light:
    position = (
        random.uniform(-0.4, 0.4) * size[0],
        size[1] - random.uniform(0.1, 0.4),
        random.uniform(-0.4, 0.45) * size[2],
    )
    power = random.uniform(1.5, 4)
    return Light(position, (power, power * random.uniform(0.8, 1), power * random.uniform(0.65, 1)))
