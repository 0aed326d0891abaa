"""The heads of tasks, by their names: to add one is to add a file here, or to register one from anywhere.

Their layers start as torch initialises them. (transformers would draw the weights of its two decoders from a normal
distribution of standard deviation 0.02 in their own models; in front of a batch norm the scale makes no difference.)
"""

from .decoders import DeepLabV3Head, SegformerHead, UperNetHead
from .head import DenseHead, FeatureInfo, Features, Head, make_head, register_head
from .linear import LinearDenseHead, LinearHead
from .small import SmallHead

__all__ = [
    "DeepLabV3Head",
    "DenseHead",
    "FeatureInfo",
    "Features",
    "Head",
    "LinearDenseHead",
    "LinearHead",
    "SegformerHead",
    "SmallHead",
    "UperNetHead",
    "make_head",
    "register_head",
]
