"""The Hub: publishing, model cards, and task adapters."""

from ..results.results import Results
from .adapters import load_task, merge, save_task
from .adapters.publishing import push_task_to_hub
from .cards.card import write_card
from .publishing import checkpoints_in, push_folder, push_to_hub
from .sending import Publication

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
