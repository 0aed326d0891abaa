"""How several tasks become one step, by name: to add a balancing is to add a file here, or one of your own."""

from .aggregation import GradientAggregation
from .balancing import Balancing, StepWeights, WeightsOfLosses, make_balancing, register_balancing
from .dwa import DynamicWeightAverage
from .equal import FixedWeights
from .gls import GeometricLossStrategy
from .gradnorm import GradNorm
from .imtl_l import ImpartialLossWeighting
from .rlw import RandomWeighting
from .scalarization import LossScalarization
from .stch import SmoothTchebycheff
from .torchjd_methods import MGDA, CAGrad, PCGrad, UPGrad
from .uncertainty import UncertaintyWeighting
from .weighting import LossWeighting

__all__ = [
    "MGDA",
    "Balancing",
    "CAGrad",
    "DynamicWeightAverage",
    "FixedWeights",
    "GeometricLossStrategy",
    "GradNorm",
    "GradientAggregation",
    "ImpartialLossWeighting",
    "LossScalarization",
    "LossWeighting",
    "PCGrad",
    "RandomWeighting",
    "SmoothTchebycheff",
    "StepWeights",
    "UPGrad",
    "UncertaintyWeighting",
    "WeightsOfLosses",
    "make_balancing",
    "register_balancing",
]
