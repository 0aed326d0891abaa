"""Folders that timm and transformers load."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..files.names import CONFIG, WEIGHTS
from ..norms.merging import refuse_to_save
from .libraries import surface_of

MODEL_FILES = CONFIG, WEIGHTS


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    data_config: Mapping[str, Any] | None = None,
    max_shard_size: int | str = "5GB",
) -> None:
    """Save a model of timm or transformers, with task norms or folded, as config.json and model.safetensors.

    Both are written, whole, or none. Other files of the folder stay.

    Args:
        model: A model made by `timm.create_model`, a `TsbnForMultiTask`, or what their `fold` gives. The image
            processor of one of transformers goes with it.
        folder: Where to; it is made if it does not exist.
        data_config: The preprocessing that the model expects, as timm has it (input_size, mean, std, …), where it is
            another than that of its pretrained config.
        max_shard_size: Of a file of weights of a model of transformers, as a number of bytes or as "5GB". A model of
            timm is always in one file, for timm reads no other.

    Raises:
        TypeError: if the model is neither timm's nor transformers'.
        RuntimeError: if there are layers of PEFT in it that are not merged, or quantized ones.
        OSError: if a file cannot be written.

    Example:
        >>> import tempfile, timm, torch, tsbn_hub
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"left": 10, "right": 4}).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tsbn_hub.save_pretrained(model, folder)
        ...     again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        >>> x = torch.rand(1, 3, 64, 64)
        >>> torch.equal(again(x)["right"], model(x)["right"])
        True
    """
    surface = surface_of(model)
    refuse_to_save(surface.model, "save_pretrained")
    surface.save(Path(folder), data_config, max_shard_size)
