"""What the gates say, how alike tasks are, and what they cost.

Modules are imported when a name of theirs is asked for: gates and costs need nothing of the training.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ..training.state.gates import read_gates as read_gates
    from .cost import Cost as Cost
    from .cost import TaskCost as TaskCost
    from .cost import cost_table as cost_table
    from .cost import model_cost as model_cost
    from .gates.importance import Importance as Importance
    from .gates.importance import importance_matrix as importance_matrix
    from .gates.importance_picture import draw_importance as draw_importance
    from .gates.movement_picture import draw_movement as draw_movement
    from .passes import passes_by_fork as passes_by_fork
    from .report import report_run as report_run
    from .run import analyze_run as analyze_run
    from .similarity.clustering import cluster_tasks as cluster_tasks
    from .similarity.cosines import TaskCosines as TaskCosines
    from .similarity.gates import gate_similarity as gate_similarity
    from .similarity.gradients import gradient_cosines as gradient_cosines
    from .similarity.picture import draw_cosines as draw_cosines

_HOMES = {
    "Cost": "cost",
    "Importance": "gates.importance",
    "TaskCosines": "similarity.cosines",
    "TaskCost": "cost",
    "analyze_run": "run",
    "cluster_tasks": "similarity.clustering",
    "cost_table": "cost",
    "draw_cosines": "similarity.picture",
    "draw_importance": "gates.importance_picture",
    "draw_movement": "gates.movement_picture",
    "gate_similarity": "similarity.gates",
    "gradient_cosines": "similarity.gradients",
    "importance_matrix": "gates.importance",
    "model_cost": "cost",
    "passes_by_fork": "passes",
    "read_gates": ".training.state.gates",
    "report_run": "report",
}

__all__ = [*_HOMES]

__getattr__ = lazy_names(__name__, _HOMES)
