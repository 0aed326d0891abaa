"""What is done with a trained model: predictions, and files that run without this package."""

from .export import Exported, PlainFolder, export_onnx, export_plain, export_program
from .prediction import TaskPrediction, predict, predict_files
from .samples_picture import draw_samples

__all__ = [
    "Exported",
    "PlainFolder",
    "TaskPrediction",
    "draw_samples",
    "export_onnx",
    "export_plain",
    "export_program",
    "predict",
    "predict_files",
]
