"""Kinds of task: what a target is, how a prediction is trained, scored and drawn."""

from .kind import Kind, make_kind, register_kind
from .kinds import Attributes, Classification, Depth, Disparity, Edges, Normals, Regression, Saliency, Segmentation
from .task import Task

__all__ = [
    "Attributes",
    "Classification",
    "Depth",
    "Disparity",
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
