"""What is done with a trained model: predictions."""

from .prediction import TaskPrediction, predict, predict_files

__all__ = ["TaskPrediction", "predict", "predict_files"]
