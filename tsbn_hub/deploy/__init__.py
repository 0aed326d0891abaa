"""What is done with a trained model: predictions, and files that run without this package.

Modules are imported when a name of theirs is asked for: a single prediction needs nothing of the training.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .batch_prediction import Counts as Counts
    from .batch_prediction import Destinations as Destinations
    from .batch_prediction import ImageFile as ImageFile
    from .batch_prediction import ImagePrediction as ImagePrediction
    from .batch_prediction import find_images as find_images
    from .batch_prediction import predict_many as predict_many
    from .batch_prediction import predict_to_files as predict_to_files
    from .export import Exported as Exported
    from .export import PlainFolder as PlainFolder
    from .export import export_onnx as export_onnx
    from .export import export_plain as export_plain
    from .export import export_program as export_program
    from .prediction import TaskPrediction as TaskPrediction
    from .prediction import predict as predict
    from .prediction import predict_files as predict_files
    from .samples_picture import draw_samples as draw_samples

_HOMES = {
    "Counts": "batch_prediction",
    "Destinations": "batch_prediction",
    "Exported": "export",
    "ImageFile": "batch_prediction",
    "ImagePrediction": "batch_prediction",
    "PlainFolder": "export",
    "TaskPrediction": "prediction",
    "draw_samples": "samples_picture",
    "export_onnx": "export",
    "export_plain": "export",
    "export_program": "export",
    "find_images": "batch_prediction",
    "predict": "prediction",
    "predict_files": "prediction",
    "predict_many": "batch_prediction",
    "predict_to_files": "batch_prediction",
}

__all__ = [*_HOMES]

__getattr__ = lazy_names(__name__, _HOMES)
