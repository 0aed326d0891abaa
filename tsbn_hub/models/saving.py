"""Folders that `timm.create_model("local-dir:…")`, and transformers' TimmWrapper, load."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf
from torch import nn

from .timm_model import TimmTaskModel
from .timm_names import SUFFIX, check_safetensors

MODEL_FILES = CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_pretrained(model: nn.Module, folder: str | Path, data_config: dict[str, Any] | None = None) -> None:
    """Save a timm model, with task norms or folded, as config.json and model.safetensors.

    Both are written, whole, or none. Other files of the folder stay.

    Args:
        model: A model made by `timm.create_model`, or by `fold`.
        folder: Where to; it is made if it does not exist.
        data_config: The preprocessing that the model expects, as timm has it (input_size, mean, std, …), where it is
            another than that of its pretrained config.

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
    if not hasattr(model, "pretrained_cfg"):
        raise TypeError(
            f"save_pretrained takes a model that timm.create_model made, and {type(model).__name__} has no "
            "pretrained_cfg. Save another network's state_dict() with safetensors.torch.save_file."
        )
    folder = Path(folder)
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


def _save_config(model: nn.Module, path: Path, data_config: dict[str, Any] | None) -> None:
    ours = model.recipe.model_args() if isinstance(model, TimmTaskModel) else {}
    save_config_for_hf(model, str(path), model_args=ours, data_config=data_config)
    config = json.loads(path.read_text())
    # timm takes the number of classes from the config itself; transformers' TimmWrapper passes it, and would pass it
    # twice.
    config.get("model_args", {}).pop("num_classes", None)
    path.write_text(json.dumps(config, indent=2) + "\n")


def from_pretrained(folder_or_repo: str | Path, **kwargs: Any) -> nn.Module:
    """Load a model from a folder, or from a repo of the Hub as "org/name" or "org/name@revision".

    Args:
        folder_or_repo: Where from. A folder that exists wins over a repo of the same name.
        **kwargs: Further keywords of `timm.create_model`.

    Returns:
        The model, in training mode, as timm gives it.

    Raises:
        FileNotFoundError: if the folder has no config.json.
        ValueError: if the folder's weights are no safetensors file, or its config names no known architecture.
    """
    folder = Path(folder_or_repo)
    if not folder.is_dir():
        if len(folder.parts) != 2 or folder.is_absolute():
            raise FileNotFoundError(f"{folder_or_repo} is neither a folder nor a Hub repo's name (org/name).")
        return timm.create_model(f"hf-hub:{folder_or_repo}", pretrained=True, **kwargs)
    if not (folder / CONFIG).is_file():
        found = sorted(path.name for path in folder.iterdir())
        raise FileNotFoundError(f"{folder} has no {CONFIG} (it has {found}): it is no folder of save_pretrained.")
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{folder / CONFIG} holds no object, but {config!r}.")
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        base = str(architecture).removesuffix(SUFFIX)
        way_out = f" Call tsbn_hub.register({base!r}) first." if timm.is_model(base) else ""
        raise ValueError(
            f"{folder / CONFIG} names the architecture {architecture!r}, which timm does not know.{way_out}"
        )
    check_safetensors(folder / WEIGHTS)
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **kwargs)


def write_atomically(files: dict[Path, Callable[[Path], Any]]) -> None:
    """Write files whole, and all or none: each is filled beside its place first, and moved there when all are.

    Raises:
        OSError: if one cannot be written; it names the file.
    """
    written: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
            written[path] = Path(name)
            write(written[path])
            with written[path].open("rb") as file:
                os.fsync(file.fileno())
            written[path].chmod(0o666 & ~_umask())
        for path, temporary in written.items():
            temporary.replace(path)
    except (OSError, SafetensorError) as error:  # the latter is what safetensors makes of a full disk
        raise OSError(f"{path} could not be written, what was there is kept: {error}") from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what a kill in the middle of `write_atomically` left beside a file."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
