"""Task adapters: what belongs to one task, apart from the trunk, on the disk and on the Hub."""

from .adapters import load_task, merge, save_task
from .publishing import push_task_of_folder, push_task_to_hub

__all__ = [
    "load_task",
    "merge",
    "push_task_of_folder",
    "push_task_to_hub",
    "save_task",
]
