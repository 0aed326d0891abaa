"""Kinds of task: what a target is, how a prediction is scored."""

from .classification import Classification

__all__ = ["Classification"]
