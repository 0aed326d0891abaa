"""The optimizer: its parameter groups, its learning rate, and what it leaves as it is."""

from .freezing import freeze_trunk, parameters_of_single_tasks
from .gate_start import scatter_gates
from .optimizer import create_optimizer
from .param_groups import param_groups
from .schedule import Schedule, ScheduleName, create_schedule

__all__ = [
    "Schedule",
    "ScheduleName",
    "create_optimizer",
    "create_schedule",
    "freeze_trunk",
    "param_groups",
    "parameters_of_single_tasks",
    "scatter_gates",
]
