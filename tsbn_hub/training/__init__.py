"""Training on Accelerate: parameter groups, loss weighting, the loop, evaluation."""

from .balancing import loss_weighting
from .config import TrainingConfig
from .delta_m import delta_m
from .dry_run import dry_run
from .evaluate_run import evaluate_run
from .evaluation import evaluate
from .finite import NotFiniteError
from .freezing import freeze_trunk
from .gradients import TasksForward, fill_gradients, label_counts
from .idle_tasks import idle_tasks_at_rest
from .loop import train
from .memory import PeakMemory
from .optimization import create_optimizer, create_schedule
from .param_groups import param_groups
from .signals import Stopped

__all__ = [
    "NotFiniteError",
    "PeakMemory",
    "Stopped",
    "TasksForward",
    "TrainingConfig",
    "create_optimizer",
    "create_schedule",
    "delta_m",
    "dry_run",
    "evaluate",
    "evaluate_run",
    "fill_gradients",
    "freeze_trunk",
    "idle_tasks_at_rest",
    "label_counts",
    "loss_weighting",
    "param_groups",
    "train",
]
