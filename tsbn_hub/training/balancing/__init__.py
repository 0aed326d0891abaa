"""How much each task's loss counts in a step, by name: to add a weighting is to add a file here."""

from .dynamic import DynamicWeightAverage
from .fixed import FixedWeights
from .random import RandomWeighting
from .uncertainty import UncertaintyWeighting
from .weighting import LossWeighting, loss_weighting, register_loss_weighting

__all__ = [
    "DynamicWeightAverage",
    "FixedWeights",
    "LossWeighting",
    "RandomWeighting",
    "UncertaintyWeighting",
    "loss_weighting",
    "register_loss_weighting",
]
