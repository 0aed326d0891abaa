"""A trained model in one file that runs without this package, or in folders that timm and transformers load."""

from .file import Exported, export_onnx, export_program
from .plain import PlainFolder, export_plain

__all__ = ["Exported", "PlainFolder", "export_onnx", "export_plain", "export_program"]
