"""Models from folders and repos, of timm and of transformers, whatever these hold."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..files.checkpoints import CheckpointError, Shapes, read_json, read_shapes, weight_files
from ..files.names import CONFIG
from ..files.permission import code_named_in, names_in
from ..files.repositories import local_folder, repo_commit, split_revision
from .libraries import surface_class_of_config, surface_of
from .surface import NormStyle


def from_pretrained(
    folder_or_repo: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    trust: bool = False,
    local_files_only: bool = False,
    force_download: bool = False,
    **kwargs: Any,
) -> nn.Module:
    """Load a model of timm or transformers from a folder, or from a repo of the Hub: "org/name" or "org/name@revision".

    The folder may come from anybody: no pickle is read, no code of it is run unless it is trusted, and what its config
    asks for is held against what its weights have before memory is taken for it.

    Args:
        folder_or_repo: Where from. A folder that exists wins over a repo of the same name.
        revision: Of a repo: a branch, tag or commit.
        cache_dir: Another cache than that of huggingface_hub.
        token: Another token than the stored one.
        trust: Import the files and modules that the checkpoint names, such as those of a task's kind, whoever has
            written them. Those of your own runs are imported anyway.
        local_files_only: Take a repo from the cache, and ask the Hub nothing.
        force_download: Download a repo's files, even if the cache has them.
        **kwargs: Further keywords of `timm.create_model`, or of transformers' `from_pretrained`.

    Returns:
        The model: of timm, in training mode, or of transformers, in evaluation mode, as these give it.

    Raises:
        TypeError: if it is asked for a subfolder or a variant.
        FileNotFoundError: if there is no such folder, or it has no config.json.
        HubError: if the Hub cannot be reached, or has no such repo.
        CheckpointError: if the weights are no safetensors, or do not fit the config, or the config names no known
            architecture. It is a ValueError. A NotImportedError, which is one, if it needs code that was not imported.

    Example:
        >>> import tempfile, timm, tsbn_hub
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"left": 10, "right": 4})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tsbn_hub.save_pretrained(model, folder)
        ...     tsbn_hub.from_pretrained(folder).tasks
        ['left', 'right']
    """
    if elsewhere := sorted(kwargs.keys() & {"subfolder", "variant"}):
        raise TypeError(
            f"from_pretrained takes no {elsewhere}: a checkpoint is one config.json and one set of weights beside it. "
            "Give the folder that they are in; from a folder or variant in a repo, download it first: "
            "huggingface_hub.snapshot_download."
        )
    folder = local_folder(
        folder_or_repo,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    config = read_json(folder / CONFIG)
    surface_class = surface_class_of_config(config)
    model = _loaded(folder, config, trust, lambda shapes: surface_class.load(folder, config, shapes, **kwargs))
    _note_origin(model, folder_or_repo, folder)
    return model


def load_base(
    folder_or_repo: str | Path,
    task: str,
    style: NormStyle,
    model_args: Mapping[str, Any],
    *,
    revision: str | None = None,
    token: str | None = None,
    trust: bool = False,
) -> nn.Module:
    """A checkpoint to add tasks to: one of ours as it is, or a plain one with task norms.

    Args:
        folder_or_repo: Where from.
        task: The name of the one task of a plain checkpoint.
        style: Of a plain checkpoint's norms.
        model_args: Further keywords of a plain timm model.
        revision: Of a repo: a branch, tag or commit.
        token: Another token than the stored one.
        trust: As `from_pretrained` takes it.

    Raises:
        As `from_pretrained` does.
    """
    folder = local_folder(folder_or_repo, revision=revision, token=token)
    config = read_json(folder / CONFIG)
    surface_class = surface_class_of_config(config)
    if surface_class.is_of_this_package(config):
        model = _loaded(folder, config, trust, lambda shapes: surface_class.load(folder, config, shapes))
        if not surface_of(model).can_part_with_tasks:
            raise CheckpointError(f"{folder} has a {type(model).__name__}, without heads: take a TsbnForMultiTask's.")
    else:
        model = _loaded(
            folder, config, trust, lambda shapes: surface_class.load_plain(folder, shapes, task, style, model_args)
        )
    _note_origin(model, folder_or_repo, folder)
    return model


def _loaded(folder: Path, config: Mapping[str, object], trust: bool, load: Callable[[Shapes], nn.Module]) -> nn.Module:
    """What `load` makes of the shapes of a folder's weights, once the code that its config names is imported."""
    shapes = {name: shape for path in weight_files(folder) for name, shape in read_shapes(path).items()}
    with code_named_in(folder, names_in(config, folder / CONFIG), trust):
        return load(shapes)


def _note_origin(model: nn.Module, source: str | Path, folder: Path) -> None:
    """Write down the repo that a model is from. Its library saw a folder of the cache."""
    if folder != Path(source):
        surface_of(model).note_origin(split_revision(str(source))[0], repo_commit(folder))
