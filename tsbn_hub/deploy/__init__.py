"""What is done with a trained model: predictions, and files that run without this package."""

from .batch_prediction import (
    Counts,
    Destinations,
    ImageFile,
    ImagePrediction,
    find_images,
    predict_many,
    predict_to_files,
)
from .export import Exported, PlainFolder, export_onnx, export_plain, export_program
from .prediction import TaskPrediction, predict, predict_files
from .samples_picture import draw_samples

__all__ = [
    "Counts",
    "Destinations",
    "Exported",
    "ImageFile",
    "ImagePrediction",
    "PlainFolder",
    "TaskPrediction",
    "draw_samples",
    "export_onnx",
    "export_plain",
    "export_program",
    "find_images",
    "predict",
    "predict_files",
    "predict_many",
    "predict_to_files",
]
