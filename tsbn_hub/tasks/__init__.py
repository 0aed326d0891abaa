"""Kinds of task: what a target is, how a prediction is trained, scored and drawn."""

from .attributes import Attributes
from .classification import Classification
from .depth import Depth
from .edges import Edges
from .kind import Kind, make_kind, register_kind
from .normals import Normals
from .regression import Regression
from .saliency import Saliency
from .segmentation import Segmentation
from .task import Task

__all__ = [
    "Attributes",
    "Classification",
    "Depth",
    "Edges",
    "Kind",
    "Normals",
    "Regression",
    "Saliency",
    "Segmentation",
    "Task",
    "make_kind",
    "register_kind",
]
