"""Folders that timm and transformers load."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.models._hub import download_from_hf, save_config_for_hf
from torch import nn

from .timm_model import TimmTaskModel
from .timm_names import SUFFIX, check_safetensors

MODEL_FILES = CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_pretrained(model: nn.Module, folder: str | Path, data_config: dict[str, Any] | None = None) -> None:
    """Save a model of timm or transformers, with task norms or folded, as config.json and model.safetensors.

    Both are written, whole, or none. Other files of the folder stay.

    Args:
        model: A model made by `timm.create_model`, a `TsbnForMultiTask`, or what their `fold` gives.
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
    if hasattr(model, "save_pretrained"):
        _save_transformers(model, Path(folder))
        return
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


def _save_transformers(model: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving.") as unfinished, _without_progress_bars():
        try:
            model.save_pretrained(unfinished)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(f"{folder} could not be written, what was there is kept: {error}") from error
        for path in Path(unfinished).iterdir():
            path.replace(folder / path.name)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
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
    path.write_text(json.dumps(config, indent=2) + "\n")


def from_pretrained(folder_or_repo: str | Path, **kwargs: Any) -> nn.Module:
    """Load a model of timm or transformers from a folder, or from a repo of the Hub: "org/name" or "org/name@revision".

    Args:
        folder_or_repo: Where from. A folder that exists wins over a repo of the same name.
        **kwargs: Further keywords of `timm.create_model`, or of transformers' `from_pretrained`.

    Returns:
        The model: of timm, in training mode, or of transformers, in evaluation mode, as these give it.

    Raises:
        FileNotFoundError: if there is no such folder, or it has no config.json.
        OSError: if the Hub cannot be reached, or has no such repo.
        ValueError: if the folder's weights are no safetensors file, or its config names no known architecture.
    """
    folder, is_folder = Path(folder_or_repo), Path(folder_or_repo).is_dir()
    path = folder / CONFIG if is_folder else _config_of_repo(folder_or_repo, kwargs.get("cache_dir"))
    config = _read_config(path)
    if is_folder and (folder / WEIGHTS).is_file():
        check_safetensors(folder / WEIGHTS)
    if "model_type" in config:
        return _from_transformers(folder_or_repo, config, **kwargs)
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        base = str(architecture).removesuffix(SUFFIX)
        way_out = f" Call tsbn_hub.register({base!r}) first." if timm.is_model(base) else ""
        raise ValueError(f"{path} names the architecture {architecture!r}, which timm does not know.{way_out}")
    return timm.create_model(f"{'local-dir' if is_folder else 'hf-hub'}:{folder_or_repo}", pretrained=True, **kwargs)


def _config_of_repo(repo: str | Path, cache_dir: str | Path | None) -> Path:
    if len(Path(repo).parts) != 2 or Path(repo).is_absolute():
        raise FileNotFoundError(f"{repo} is neither a folder nor a Hub repo's name (org/name).")
    try:
        return Path(download_from_hf(str(repo), CONFIG, cache_dir=cache_dir))
    except (OSError, ValueError) as error:  # the latter is for what cannot be a name
        raise OSError(f"{repo} is no folder, and the Hub did not give it: {error}") from error


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        found = sorted(each.name for each in path.parent.iterdir())
        raise FileNotFoundError(f"{path.parent} has no {CONFIG} (it has {found}): it is no folder of save_pretrained.")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no object, but {config!r}.")
    return config


def _from_transformers(folder_or_repo: str | Path, config: dict[str, Any], **kwargs: Any) -> nn.Module:
    """One of our models, or a folded one: the class that the config names."""
    import transformers

    from . import hf

    names = config.get("architectures") or []
    classes = [getattr(home, name) for name in names for home in (hf, transformers) if hasattr(home, name)]
    if not classes:
        raise ValueError(f"{folder_or_repo} names the architectures {names}, which transformers does not know.")
    if not Path(folder_or_repo).is_dir() and "@" in str(folder_or_repo):
        folder_or_repo, _, kwargs["revision"] = str(folder_or_repo).partition("@")
    with _without_progress_bars():
        model: nn.Module = classes[0].from_pretrained(folder_or_repo, **{"use_safetensors": True, **kwargs})
    return model


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
