"""Training on Accelerate: parameter groups, the loop, evaluation."""

from .config import TrainingConfig
from .evaluation import evaluate
from .idle_tasks import idle_tasks_at_rest
from .loop import train
from .param_groups import param_groups

__all__ = ["TrainingConfig", "evaluate", "idle_tasks_at_rest", "param_groups", "train"]
