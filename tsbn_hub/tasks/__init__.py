"""Kinds of task: what a target is, how a prediction is trained, scored and drawn."""

from .classification import Classification
from .kind import Kind, make_kind, register_kind
from .task import Task

__all__ = ["Classification", "Kind", "Task", "make_kind", "register_kind"]
