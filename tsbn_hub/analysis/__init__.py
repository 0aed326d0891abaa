"""What the gates say."""

from .importance import Importance, importance_matrix
from .pictures import draw_importance

__all__ = ["Importance", "draw_importance", "importance_matrix"]
