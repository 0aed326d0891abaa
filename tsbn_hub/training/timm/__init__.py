"""Multi-task training in timm's own loops."""

from .evaluator import MultiTaskEvaluator
from .task import MultiTaskTraining, TimmCollate

__all__ = ["MultiTaskEvaluator", "MultiTaskTraining", "TimmCollate"]
