"""Predictions for any number of images: from files, folders and tables to lines, pictures and maps."""

from .batches import ImagePrediction, predict_many
from .run import Counts, Destinations, predict_to_files
from .sources import ImageFile, find_images

__all__ = ["Counts", "Destinations", "ImageFile", "ImagePrediction", "find_images", "predict_many", "predict_to_files"]
