"""The Hub: publishing, model cards, and task adapters."""

from .adapters import load_task, merge, save_task
from .card import write_card
from .publishing import checkpoints_in, push_folder, push_to_hub
from .results import Results
from .sending import Publication
from .task_publishing import push_task_to_hub

__all__ = [
    "Publication",
    "Results",
    "checkpoints_in",
    "load_task",
    "merge",
    "push_folder",
    "push_task_to_hub",
    "push_to_hub",
    "save_task",
    "write_card",
]
