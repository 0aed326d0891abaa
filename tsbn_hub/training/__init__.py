"""Training on Accelerate: parameter groups, the loop, evaluation."""

from .config import TrainingConfig
from .evaluation import evaluate
from .loop import train
from .param_groups import param_groups

__all__ = ["TrainingConfig", "evaluate", "param_groups", "train"]
