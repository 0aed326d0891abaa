"""What an interior is: a room, its furniture, its lamps, and a camera in it.

The world's axes are x to the right, y up, z towards the viewer; lengths are metres. The origin lies on the floor.
"""

from dataclasses import dataclass
from typing import Literal

from .materials import Material, Vector

LABELS = ["floor", "ceiling", "wall", "door", "picture", "cabinet", "table", "chair", "ball", "vase"]


@dataclass(frozen=True)
class Frame:
    """Where a unit shape is placed.

    Attributes:
        centre: In the world.
        half_size: Along its own axes.
        yaw: Its turn to the left, in radians.
    """

    centre: Vector
    half_size: Vector
    yaw: float = 0


@dataclass(frozen=True)
class Piece:
    """A solid in a room.

    Attributes:
        label: One of LABELS.
        shape: The unit shape; a cylinder stands upright.
        frame: Where it is.
        material: What it is made of.
    """

    label: str
    shape: Literal["cube", "cylinder", "ball"]
    frame: Frame
    material: Material


@dataclass(frozen=True)
class Lamp:
    """A point that shines.

    Attributes:
        position: In the world.
        colour: Of its light: red, green and blue, >= 0.
    """

    position: Vector
    colour: Vector


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. Angles are in radians.

    Attributes:
        position: In the world.
        yaw: Its turn to the left. At 0 it looks along -z.
        pitch: Its turn upwards, after the yaw.
        roll: Its turn around the optical axis, counterclockwise, after both.
        tangent: Of half the vertical angle of view.
    """

    position: Vector
    yaw: float
    pitch: float
    roll: float
    tangent: float


@dataclass(frozen=True)
class Interior:
    """A room with what is in it.

    Attributes:
        room: A cube, seen from inside.
        floor: Its material.
        ceiling: Its material.
        wall: The material of all four.
        pieces: The furniture. The camera and the lamps are outside of all pieces.
        lamps: What casts shadows.
        ambient: Light that is everywhere, in [0, 1].
        camera: In the room.
    """

    room: Frame
    floor: Material
    ceiling: Material
    wall: Material
    pieces: list[Piece]
    lamps: list[Lamp]
    ambient: float
    camera: Camera
