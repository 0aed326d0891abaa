"""What the gates say, how alike tasks are, and what they cost."""

from ..training.state.gates import read_gates
from .cost import Cost, TaskCost, cost_table, model_cost
from .gates.importance import Importance, importance_matrix
from .gates.importance_picture import draw_importance
from .gates.movement_picture import draw_movement
from .passes import passes_by_fork
from .report import report_run
from .run import analyze_run
from .similarity.clustering import cluster_tasks
from .similarity.cosines import TaskCosines
from .similarity.gates import gate_similarity
from .similarity.gradients import gradient_cosines
from .similarity.picture import draw_cosines

__all__ = [
    "Cost",
    "Importance",
    "TaskCosines",
    "TaskCost",
    "analyze_run",
    "cluster_tasks",
    "cost_table",
    "draw_cosines",
    "draw_importance",
    "draw_movement",
    "gate_similarity",
    "gradient_cosines",
    "importance_matrix",
    "model_cost",
    "passes_by_fork",
    "read_gates",
    "report_run",
]
