"""What is done with a trained model: predictions."""

from .prediction import TaskPrediction, predict, predict_files
from .samples_picture import draw_samples

__all__ = ["TaskPrediction", "draw_samples", "predict", "predict_files"]
