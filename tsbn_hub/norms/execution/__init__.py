"""How the outputs of all tasks are computed: one task after another, or in one batched pass."""

from .batched import each_task
from .choice import Execution, check_execution

__all__ = ["Execution", "check_execution", "each_task"]
