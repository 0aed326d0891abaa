"""What the gates say, and what the tasks cost."""

from .cost import Cost, TaskCost, cost_table, model_cost
from .gates.importance import Importance, importance_matrix
from .gates.importance_picture import draw_importance
from .passes import passes_by_fork

__all__ = [
    "Cost",
    "Importance",
    "TaskCost",
    "cost_table",
    "draw_importance",
    "importance_matrix",
    "model_cost",
    "passes_by_fork",
]
