"""Models from folders and repos, of timm and of transformers, whatever these hold."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from timm.models._hub import load_model_config_from_path
from timm.models._input import update_model_args
from torch import nn
from torch.overrides import TorchFunctionMode

from ..files.checkpoints import CheckpointError, Shapes, read_json, read_shapes, weight_files
from ..files.names import CONFIG, WEIGHTS
from ..files.permission import code_named_in, names_in
from ..files.repositories import local_folder, repo_commit, split_revision, with_revision
from ..tasks import Task
from .saving import without_progress_bars
from .task_parts import has_task_heads
from .timm.names import SUFFIX

T = TypeVar("T")

# A config may ask for this many values and no more, or for this many times those that the weights have.
_VALUES, _TIMES = 10**7, 10
# How many calls of torch it takes to build a network: some for each of its tensors.
_CALLS, _CALLS_A_TENSOR = 20_000, 200


def from_pretrained(
    folder_or_repo: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    trust: bool = False,
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
        **kwargs: Further keywords of `timm.create_model`, or of transformers' `from_pretrained`.

    Returns:
        The model: of timm, in training mode, or of transformers, in evaluation mode, as these give it.

    Raises:
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
    folder = local_folder(folder_or_repo, revision=revision, cache_dir=cache_dir, token=token)
    config = read_json(folder / CONFIG)
    files = weight_files(folder)
    shapes = {name: shape for path in files for name, shape in read_shapes(path).items()}
    load = _from_transformers if "model_type" in config else _from_timm
    with code_named_in(folder, names_in(config, folder / CONFIG), trust):
        model = load(folder, config, shapes, **kwargs)
    if folder != Path(folder_or_repo):
        _note_origin(model, split_revision(str(folder_or_repo))[0], repo_commit(folder))
    return model


def load_base(
    folder_or_repo: str | Path,
    task: str,
    options: Mapping[str, Any],
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
        options: Of a plain checkpoint's norms: norm, keep_affine, gate_init, gated.
        model_args: Further keywords of a plain timm model.
        revision: Of a repo: a branch, tag or commit.
        token: Another token than the stored one.
        trust: As `from_pretrained` takes it.

    Raises:
        As `from_pretrained` does.
    """
    folder = local_folder(folder_or_repo, revision=revision, token=token)
    config = read_json(folder / CONFIG)
    model: Any
    is_ours = str(config.get("architecture")).endswith(SUFFIX)
    if "model_type" in config:
        is_ours = config["model_type"] == "tsbn"
    if is_ours:
        model = from_pretrained(folder, trust=trust)
        if not has_task_heads(model):
            raise CheckpointError(f"{folder} has a {type(model).__name__}, without heads: take a TsbnForMultiTask's.")
    else:
        shapes = {name: shape for path in weight_files(folder) for name, shape in read_shapes(path).items()}
        with code_named_in(folder, names_in(config, folder / CONFIG), trust):
            model = _plain_with_task_norms(folder, config, shapes, task, options, model_args)
    if folder != Path(folder_or_repo):
        _note_origin(model, split_revision(str(folder_or_repo))[0], repo_commit(folder))
    return model


def _plain_with_task_norms(
    folder: Path,
    config: dict[str, Any],
    shapes: Shapes,
    task: str,
    options: Mapping[str, Any],
    model_args: Mapping[str, Any],
) -> nn.Module:
    if "model_type" in config:
        from .hf import TsbnForMultiTask

        def on_backbone(pretrained: bool) -> Any:
            return TsbnForMultiTask.from_backbone(
                folder, [Task(task, num_classes=1)], pretrained=pretrained, trust_remote_code=False, **options
            )

        with without_progress_bars():
            _check_size(folder, shapes, lambda: on_backbone(pretrained=False))
            return _built(folder, lambda: on_backbone(pretrained=True))

    def build(pretrained: bool) -> nn.Module:
        pretrained_cfg, architecture, own_args = load_model_config_from_path(folder)
        args = {**own_args, **model_args}
        model: nn.Module = timm.models.model_entrypoint(architecture + SUFFIX)(
            pretrained=pretrained,
            pretrained_cfg=pretrained_cfg,
            pretrained_cfg_overlay=None,
            tasks=[task],
            num_classes=1,
            **options,
            **args,
        )
        update_model_args(model, **args)  # as timm.create_model does, which would read the file of a checkpoint_path
        return model

    _check_size(folder, shapes, lambda: build(pretrained=False))
    return _built(folder, lambda: build(pretrained=True))


def _from_timm(folder: Path, config: dict[str, Any], shapes: Shapes, **kwargs: Any) -> nn.Module:
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        base = str(architecture).removesuffix(SUFFIX)
        way_out = f" Call tsbn_hub.register({base!r}) first." if timm.is_model(base) else ""
        raise CheckpointError(
            f"{folder / CONFIG} names the architecture {architecture!r}, which timm does not know.{way_out}"
        )
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}, and timm reads no other safetensors. Save it in one file.")
    name = f"local-dir:{folder}"
    sketch: Any = _check_size(folder, shapes, lambda: timm.create_model(name, pretrained=False, **kwargs))
    said = sketch.pretrained_cfg.get("num_classes")
    if getattr(sketch, "num_classes", said) != said and not kwargs.keys() & {"num_classes", "task_classes"}:
        raise CheckpointError(
            f"{folder / CONFIG} says num_classes={said}, and its model_args make a model of {sketch.num_classes}: timm "
            "would leave out the classifiers' weights."
        )
    return _built(folder, lambda: timm.create_model(name, pretrained=True, **kwargs))


def _from_transformers(folder: Path, config: dict[str, Any], shapes: Shapes, **kwargs: Any) -> nn.Module:
    """One of our models, or a folded one: the class that the config names."""
    import transformers

    from . import hf
    from .hf.config import TsbnConfig

    if config["model_type"] == TsbnConfig.model_type and not config.get("feature_layout"):
        # Without it, a model runs when it is built, on images of whatever size the config names.
        raise CheckpointError(f"{folder / CONFIG} has no feature_layout, and every model that was saved has one.")
    names = config.get("architectures")
    known = [
        getattr(home, name)
        for name in (names if isinstance(names, list) else [])
        for home in (hf, transformers)
        if isinstance(name, str) and hasattr(home, name)
    ]
    classes = [each for each in known if isinstance(each, type) and issubclass(each, transformers.PreTrainedModel)]
    if not classes:
        raise CheckpointError(
            f"{folder / CONFIG} names the architectures {names}, which transformers does not know as models."
        )
    model_class: Any = classes[0]
    with without_progress_bars():
        _check_size(folder, shapes, lambda: model_class(model_class.config_class.from_pretrained(folder)))
        return _built(folder, lambda: model_class.from_pretrained(folder, **{**kwargs, "use_safetensors": True}))


def _check_size(folder: Path, shapes: Shapes, build: Callable[[], nn.Module]) -> nn.Module:
    """Refuse a config that asks for much more than the weights have. Returns the model, without memory."""

    def numel(shape: tuple[int, ...]) -> int:
        return torch.Size(shape).numel()

    model = sketched(folder, build, len(shapes))
    asked = sum(tensor.numel() for tensors in (model.parameters(), model.buffers()) for tensor in tensors)
    given = sum(map(numel, shapes.values()))
    if asked > max(_VALUES, _TIMES * given):
        raise CheckpointError(
            f"{folder / CONFIG} describes a model of {asked:,} values, and the weights beside it are {given:,}."
        )
    return model


def sketched(source: str | Path, build: Callable[[], T], tensors: int) -> T:
    """What is built by what a config of anybody's says: on the meta device, without memory, and in bounded time.

    Args:
        source: Where the config is from.
        build: Builds it.
        tensors: How many tensors the checkpoint has.

    Raises:
        CheckpointError: if it cannot be built, or has many more layers than the checkpoint has tensors.
    """
    with torch.device("meta"), _CallsOfTorch(_CALLS + _CALLS_A_TENSOR * tensors):
        return _built(source, build)


def _built(source: str | Path, build: Callable[[], T]) -> T:
    try:
        return build()
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # what a config says can make timm and transformers fail anywhere
        raise CheckpointError(f"{source} cannot be loaded: {type(error).__name__}: {error}") from error


def _note_origin(model: Any, repo: str, commit: str | None) -> None:
    """Write down where a model is from as timm and transformers do, which saw a folder of the cache."""
    if hasattr(model, "pretrained_cfg"):
        origin = {"source": "hf-hub", "hf_hub_id": with_revision(repo, commit)}
        model.pretrained_cfg = {key: value for key, value in model.pretrained_cfg.items() if key != "file"} | origin
    else:
        model.config.name_or_path = repo
        model.config._commit_hash = commit


class _CallsOfTorch(TorchFunctionMode):
    """Within the block, a limit to the number of torch's functions that this thread calls."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._left -= 1
        if self._left < 0:
            raise CheckpointError("The config describes a network of many more layers than the weights have.")
        return func(*args, **(kwargs or {}))
