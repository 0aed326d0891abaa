"""From what a user has to a native model: a model, a repo, a folder, a name."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperConfig,
    TimmWrapperModel,
)
from transformers.utils import cached_file, is_peft_available

from ...files.checkpoints import CheckpointError, read_json, read_shapes, without_config
from ...files.names import (
    ADAPTER_CONFIG,
    CONFIG,
    IMAGE_PROCESSOR,
    OLDER_ADAPTER_CONFIG,
    OLDER_ADAPTER_WEIGHTS,
)
from ...files.paths import is_path, no_folder
from ...files.permission import names_in
from ...files.repositories import check_reachable, is_repo, local_folder, one_revision, repo_commit
from ...norms import TaskModule
from ..timm.building import eps_args
from ..timm.weights import weights_to_load
from .architectures import backbone_class_of
from .config import native_config
from .features import pooler_of_classification
from .timm_images import timm_processor

Source = Any
"""What a user has a backbone by: text, a path, a model, or a configuration."""

Keywords = dict[str, Any]
"""Those of transformers' `from_pretrained`."""

_TIMM = "timm/"
_OF_THE_HUB = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")
_OF_REPO = ("revision", "cache_dir", "token")
_OF_FILES = {*_OF_THE_HUB, "trust_remote_code"}
_OF_TASK_NORMS = ("norm", "gated", "gate_init", "keep_affine", "trunk", "trunk_args", "pretrained", "execution")
_OR_NONE = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "gated_repo", "connection_errors")}


def native_model(source: Source, pretrained: bool = True, **kwargs: Any) -> PreTrainedModel | PreTrainedConfig:
    """A native base model with weights, or, where there are none, its configuration.

    Args:
        source: As `from_backbone` takes it.
        pretrained: False: no weights, but those of a model that is given.
        **kwargs: Of `from_pretrained`, of the configuration, or, with `timm/…`, of `timm.create_model`.

    Raises:
        ValueError: if the model has task norms already, or timm does not know the architecture.
        TypeError: if a model, or a configuration, is given with keywords that are for names.
        OSError: if there is no such repo or folder.
    """
    if isinstance(source, TaskModule):
        raise ValueError(f"This {type(source).__name__} has task norms already: fold a task first, or use add_task.")
    if isinstance(source, PreTrainedConfig | nn.Module):
        _check_keywords(source, kwargs)
    if isinstance(source, PreTrainedConfig):
        return source
    if isinstance(source, PreTrainedModel):
        return _base_model(source)
    if isinstance(source, nn.Module):
        return _wrapped(source)
    check_folder(source)
    name = str(source)
    if name.startswith(_TIMM) and not Path(name).is_dir():
        model = _timm_model(name.removeprefix(_TIMM), pretrained, kwargs)
        return _wrapped(model) if pretrained else _wrapper_config(model)
    if name in CONFIG_MAPPING and not Path(name).is_dir():
        return CONFIG_MAPPING[name](**kwargs)
    if not pretrained:
        check_reachable(name, [CONFIG], **{key: kwargs.get(key) for key in _OF_REPO})
        return AutoConfig.from_pretrained(name, **kwargs)
    kwargs = safely(name, kwargs)
    config = native_config(AutoConfig.from_pretrained(name, **kwargs))
    native = backbone_class_of(config).from_pretrained(name, **kwargs, **pooler_of_classification(config))
    note_commit(native, name, kwargs)
    return native


def named(source: Source, kwargs: Keywords) -> tuple[Source, Keywords]:
    """A source and the keywords of `from_pretrained`, which has the revision of "org/name@revision" among these.

    Raises:
        ValueError: if two revisions are given.
    """
    if not isinstance(source, str) or "@" not in source or not is_repo(source):
        return source, kwargs
    name, revision = one_revision(source, kwargs.get("revision"))
    return name, {**kwargs, "revision": revision}


def safely(source: str | Path, kwargs: Keywords) -> Keywords:
    """The keywords of `from_pretrained` with which transformers reads no pickle, and of a repo what was checked.

    Asked for safetensors that a repo lacks, transformers would send its name and the user's token to a service that
    converts pickles, and load what comes of it. Of a commit it does not.

    Raises:
        HubError: if the Hub cannot be reached and the cache has no copy, or there is no such repo.
        CheckpointError: if the repo has no weights in safetensors, or a file in the cache is damaged.
    """
    kwargs = {**kwargs, "use_safetensors": True}
    elsewhere = any(kwargs.get(name) for name in ("subfolder", "variant", "local_files_only"))
    if elsewhere or not is_repo(source):
        return kwargs
    options: Keywords = {name: kwargs.get(name) for name in _OF_REPO}
    return {**kwargs, "revision": repo_commit(local_folder(source, **options))}


def note_commit(model: PreTrainedModel, source: str | Path, kwargs: Keywords) -> None:
    """Write down the commit that a model was loaded from, by the keywords of `safely`. transformers does not."""
    model.config._commit_hash = kwargs.get("revision") if is_repo(source) else None


def check_folder(source: str | Path) -> None:
    """Refuse a folder that does not exist, where it cannot be meant as the name of a repo; a file, and a task adapter.

    Raises:
        FileNotFoundError: if there is no such folder, or it holds an adapter alone.
        CheckpointError: if its weights are damaged, or transformers would take a task adapter beside the model for one
            of PEFT.
    """
    folder = Path(source)
    if (is_path(source) or folder.is_file()) and not folder.is_dir():
        raise FileNotFoundError(no_folder(source))
    has_adapter = (folder / ADAPTER_CONFIG).is_file() or (folder / OLDER_ADAPTER_CONFIG).is_file()
    if has_adapter and not (folder / CONFIG).is_file():
        raise FileNotFoundError(without_config(str(source), CONFIG, [path.name for path in folder.iterdir()]))
    for weights in folder.glob("model*.safetensors"):
        read_shapes(weights)  # raises
    older = folder / OLDER_ADAPTER_CONFIG
    if is_peft_available() and older.is_file() and read_json(older).get("peft_type") == "TSBN":
        raise CheckpointError(
            f"{folder} has a task adapter of an older version beside its model, which transformers takes for one of "
            f"PEFT: move {OLDER_ADAPTER_CONFIG} and {OLDER_ADAPTER_WEIGHTS} to a folder of their own."
        )


def code_of(source: str | Path | None, kwargs: Keywords) -> tuple[Path | None, list[str]]:
    """The folder of a checkpoint's config, None without one, and the files and modules that it names.

    Args:
        source: A folder, or a repo; None: it has no files.
        kwargs: As `safely` gives them.

    Raises:
        CheckpointError: if its config cannot be read.
    """
    options = {key: value for key, value in kwargs.items() if key in _OF_THE_HUB}
    config = None if source is None else cached_file(source, CONFIG, **options, **_OR_NONE)
    return (Path(config).parent, names_in(read_json(Path(config)), Path(config))) if config else (None, [])


def image_processor_of(source: Source, native: PreTrainedModel, **kwargs: Any) -> Any:
    """The image processor that came with a backbone, or None.

    Args:
        source: As `from_backbone` takes it.
        native: The native model that was made of it.
        **kwargs: As `native_model` takes them.

    Raises:
        CheckpointError: if there is one, and it cannot be loaded.
    """
    own = getattr(source, "image_processor", None)  # of a folded model
    if own is not None:
        return deepcopy(own)
    is_name = isinstance(source, str | Path)
    if is_name and not _is_architecture(source):
        return saved_image_processor(source, **kwargs)
    if isinstance(native, TimmWrapperModel) and getattr(native.config, "pretrained_cfg", None):
        return timm_processor(native)
    name = None if is_name else getattr(source, "name_or_path", None)
    if not name:
        return None
    if not is_repo(name):
        return saved_image_processor(name, **kwargs) if Path(name).is_dir() else None
    # transformers does not note which revision a model is of: the newest may have another image processor.
    revision = getattr(native.config, "_commit_hash", None) or kwargs.get("revision")
    return saved_image_processor(name, **{**kwargs, "revision": revision}) if revision else None


def saved_image_processor(source: str | Path, **kwargs: Any) -> Any:
    """The image processor of a folder or repo, or None.

    Raises:
        CheckpointError: if there is one, and it cannot be loaded.
    """
    options = {key: value for key, value in kwargs.items() if key in _OF_THE_HUB}
    trusts = bool(kwargs.get("trust_remote_code"))  # None would let transformers ask at the terminal
    try:
        return AutoImageProcessor.from_pretrained(source, trust_remote_code=trusts, **options)
    except Exception as error:  # what a file says can make transformers fail anywhere
        for name in (IMAGE_PROCESSOR, "processor_config.json"):
            if file := cached_file(source, name, **options, **_OR_NONE):
                raise CheckpointError(f"{file} cannot be loaded as an image processor: {error}") from error
        return None


def _is_architecture(name: str | Path) -> bool:
    return (str(name).startswith(_TIMM) or str(name) in CONFIG_MAPPING) and not Path(name).is_dir()


def _check_keywords(source: Source, kwargs: Keywords) -> None:
    """Refuse what would do nothing: a model and a configuration are taken as they are."""
    unknown = sorted(kwargs.keys() - _OF_FILES)
    if unknown:
        raise TypeError(
            f"from_backbone got the keywords {unknown}, and a {type(source).__name__} is taken as it is: change that. "
            f"With it from_backbone takes {[*_OF_TASK_NORMS]}, and for its image processor {sorted(_OF_FILES)}."
        )


def _base_model(model: PreTrainedModel) -> PreTrainedModel:
    """What AutoModel builds. For DINOv3, `base_model` alone would be a part of it."""
    base_class = backbone_class_of(model.config)
    for candidate in (model, model.base_model):
        if isinstance(candidate, base_class):
            return candidate
    if isinstance(model.config, TimmWrapperConfig):
        return _wrapped(model.base_model)
    raise ValueError(
        f"There is no base model in {type(model).__name__}: give a {base_class.__name__}, as AutoModel or AutoBackbone "
        "loads it."
    )


def _timm_model(name: str, pretrained: bool, kwargs: Keywords) -> nn.Module:
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"timm knows no architecture {name!r}: timm.list_models() has them all.")
    overlay = dict(kwargs.get("pretrained_cfg_overlay") or {})
    if pretrained:
        weights_to_load(name, kwargs.get("pretrained_cfg"), overlay, kwargs.get("cache_dir"))
    with torch.device("cpu" if pretrained else "meta"):
        return timm.create_model(name, pretrained=pretrained, **{**kwargs, "pretrained_cfg_overlay": overlay or None})


def _wrapper_config(model: Any) -> TimmWrapperConfig:
    arguments = {key: value for key, value in getattr(model, "_model_args", {}).items() if key != "num_classes"}
    left_out = ("num_classes", "file")  # a file of this machine says nothing elsewhere
    pretrained_cfg = {key: value for key, value in dict(model.pretrained_cfg).items() if key not in left_out}
    return TimmWrapperConfig(
        architecture=model.pretrained_cfg["architecture"],
        model_args=arguments or None,
        num_labels=getattr(model, "num_classes", None) or 1000,
        pretrained_cfg=pretrained_cfg,
    )


def _wrapped(model: nn.Module) -> TimmWrapperModel:
    """A timm model, without its classifier, as transformers has it."""
    if not hasattr(model, "pretrained_cfg"):
        raise ValueError(f"{type(model).__name__} is neither transformers' nor timm's: convert() gives it task norms.")
    config = _wrapper_config(model)
    if eps := eps_args(
        model, lambda **kwargs: timm.create_model(config.architecture, **(config.model_args or {}), **kwargs)
    ):
        config.model_args = {**(config.model_args or {}), **eps}
    wrapped = TimmWrapperModel(config).to(next(model.parameters()).dtype)
    missing = wrapped.timm_model.load_state_dict(model.state_dict(), strict=False).missing_keys
    if missing:
        raise ValueError(f"timm builds {wrapped.config.architecture} with {missing[:3]}, which this model lacks.")
    return wrapped.train(model.training)
