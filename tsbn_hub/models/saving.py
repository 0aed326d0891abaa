"""Folders that timm and transformers load."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf
from timm.utils import unwrap_model
from torch import nn

from ..files.atomic import move_all, new_file_mode, write_atomically
from ..files.names import CONFIG, WEIGHTS, WEIGHTS_INDEX
from ..files.own_code import without_folder
from .own_code import own_code_of
from .timm.model import TimmTaskModel

MODEL_FILES = CONFIG, WEIGHTS


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    data_config: dict[str, Any] | None = None,
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
        TypeError: if the model is not one of timm's.
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
    model, folder = unwrap_model(model), Path(folder)
    if hasattr(model, "save_pretrained"):
        _save_transformers(model, folder, max_shard_size)
        return
    if not hasattr(model, "pretrained_cfg"):
        raise TypeError(
            f"save_pretrained takes a model that timm.create_model made, and {type(model).__name__} has no "
            "pretrained_cfg. Save another network's state_dict() with safetensors.torch.save_file."
        )
    folder.mkdir(parents=True, exist_ok=True)
    tensors, seen = {}, set()
    for name, tensor in model.state_dict().items():
        # safetensors refuses memory that two names share.
        shared = tensor.untyped_storage().data_ptr() in seen and tensor.numel()
        seen.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor.detach().contiguous().clone() if shared else tensor.detach().contiguous()
    write_atomically(
        {
            folder / CONFIG: lambda path: _save_config(model, path, data_config),
            folder / WEIGHTS: lambda path: save_file(tensors, path, metadata={"format": "pt"}),
        }
    )
    _remove_older_weights(folder, {WEIGHTS})


def _save_transformers(model: Any, folder: Path, max_shard_size: int | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving.") as unfinished, without_progress_bars():
        try:
            model.save_pretrained(unfinished, max_shard_size=max_shard_size)
            if getattr(model, "image_processor", None) is not None:  # a folded model does not save it by itself
                model.image_processor.save_pretrained(unfinished)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(f"{folder} could not be written, what was there is kept: {error}") from error
        written = {folder / path.name: path for path in Path(unfinished).iterdir()}
        for path in written.values():
            path.chmod(new_file_mode())  # safetensors makes the weights the owner's alone
        move_all(written)
        _remove_older_weights(folder, {path.name for path in written})


def _remove_older_weights(folder: Path, written: set[str]) -> None:
    for older in [folder / WEIGHTS, folder / WEIGHTS_INDEX, *folder.glob("model-*-of-*.safetensors")]:
        if older.name not in written:
            older.unlink(missing_ok=True)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Within the block, transformers shows no bar for each file."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _save_config(model: nn.Module, path: Path, data_config: dict[str, Any] | None) -> None:
    ours = model.recipe.model_args() if isinstance(model, TimmTaskModel) else {}
    save_config_for_hf(model, str(path), model_args=ours, data_config=data_config)
    config = json.loads(path.read_text())
    # timm takes the number of classes from the config itself; transformers' TimmWrapper passes it, and would pass it
    # twice.
    config.get("model_args", {}).pop("num_classes", None)
    if imports := [*map(without_folder, own_code_of(model))]:
        config["imports"] = imports
    path.write_text(json.dumps(config, indent=2) + "\n")
