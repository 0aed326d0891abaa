"""Random changes of training samples, by name: to add one is to add a file here, or one of your own."""

from .augmentation import Augmentation
from .blur import Blur
from .color import Color
from .crop import Crop
from .flip import Flip
from .rand_augment import RandAugment
from .scale import Scale
from .shift import Shift
from .step import Effect, Step, register_augmentation
from .trivial_augment import TrivialAugment
from .window import RandomWindow, Window

__all__ = [
    "Augmentation",
    "Blur",
    "Color",
    "Crop",
    "Effect",
    "Flip",
    "RandAugment",
    "RandomWindow",
    "Scale",
    "Shift",
    "Step",
    "TrivialAugment",
    "Window",
    "register_augmentation",
]
