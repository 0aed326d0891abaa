"""Training on Accelerate: parameter groups, balancing, the loop, evaluation."""

from .balancing import make_balancing
from .dry_run import dry_run
from .evaluate_run import evaluate_run
from .evaluation import evaluate
from .loop import train
from .memory import PeakMemory
from .not_finite import NotFiniteError
from .optimization import create_optimizer, create_schedule
from .optimization.freezing import freeze_trunk
from .optimization.param_groups import param_groups
from .recipe.config import TrainingConfig
from .state.signals import Stopped
from .step.gradients import TasksForward, fill_gradients, label_counts
from .step.idle_tasks import idle_tasks_at_rest

__all__ = [
    "NotFiniteError",
    "PeakMemory",
    "Stopped",
    "TasksForward",
    "TrainingConfig",
    "create_optimizer",
    "create_schedule",
    "dry_run",
    "evaluate",
    "evaluate_run",
    "fill_gradients",
    "freeze_trunk",
    "idle_tasks_at_rest",
    "label_counts",
    "make_balancing",
    "param_groups",
    "train",
]
