"""`<arch>_tsbn` names in timm's registry, for every architecture that has a norm layer, by one mechanism.

An entry point lets timm build its plain model, and converts it at the one moment between construction and loading.
Everything that timm offers (tags, overlays, in_chans, features_only, pruned models, …) is timm's own code at work.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import timm
from timm.models import _builder
from timm.models._pretrained import DefaultCfg, PretrainedCfg
from timm.models._registry import register_model
from torch import nn

from ...files.checkpoints import CheckpointError, read_shapes, without_weights
from ...files.names import CONFIG, WEIGHTS
from ...files.repositories import local_folder, repo_commit, split_revision
from ...norms import NormOptions, TaskSelector
from ...norms.gating import Patterns
from ...norms.selection import Selection
from ...norms.task_names import check_same_tasks
from ...norms.task_norm import Style
from . import norms as timm_norms  # noqa: F401 — registers timm's norm classes
from .model import Classes, Recipe, TimmTaskModel, as_timm_task_model, convert_timm_model, task_classes_of

SUFFIX = "_tsbn"

# The architectures of timm without any norm layer.
_WITHOUT_NORMS = ("*nfnet*", "nf_*", "resmlp_*", "vgg11", "vgg13", "vgg16", "vgg19")

default_cfgs: dict[str, DefaultCfg] = {}
"""The pretrained configs of our names; timm's `register_model` reads them here."""

__all__: list[str] = ["default_cfgs", "register", "register_timm_architectures"]


def register_timm_architectures() -> None:
    """Register a name for every architecture of timm that has a norm layer."""
    for architecture in timm.list_models():
        if not any(fnmatchcase(architecture, pattern) for pattern in _WITHOUT_NORMS):
            register(architecture)


def register(architecture: str) -> None:
    """Register `<architecture>_tsbn` with timm. timm's own architectures have their names from the import on.

    Args:
        architecture: The name of an architecture that is registered with timm, of timm's or anybody's.

    Raises:
        ValueError: if timm knows no such architecture.

    Example:
        >>> import timm, tsbn_hub
        >>> from timm.models import register_model
        >>> @register_model
        ... def tiny_resnet(pretrained=False, **kwargs):
        ...     return timm.create_model("test_resnet", pretrained=pretrained, **kwargs)
        >>> tsbn_hub.register("tiny_resnet")
        >>> timm.create_model("tiny_resnet_tsbn", tasks=["a", "b"]).tasks
        ['a', 'b']
    """
    if architecture.endswith(SUFFIX):
        raise ValueError(f"{architecture!r} is a name of ours already: register the plain architecture.")
    if not timm.is_model(architecture):
        raise ValueError(
            f"timm knows no architecture {architecture!r}. Register it with timm.models.register_model first."
        )
    name = architecture + SUFFIX
    configs = timm.models.get_arch_pretrained_cfgs(architecture)
    if configs:
        by_tag: dict[str, PretrainedCfg] = {key.partition(".")[2]: config for key, config in configs.items()}
        default_cfgs[name] = DefaultCfg(tags=deque(by_tag), cfgs=by_tag)
    elif (untagged := timm.models.get_pretrained_cfg(architecture)) is not None:
        default_cfgs[name] = DefaultCfg(tags=deque([""]), cfgs={"": untagged})
    globals()[name] = register_model(_entry_point(name, architecture))


def _entry_point(name: str, architecture: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(name, architecture, pretrained, **kwargs)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{architecture} with task norms. The keywords are those of `{architecture}`, and ours."
    return create


def _create(
    name: str,
    architecture: str,
    pretrained: bool,
    *,
    tasks: Sequence[str] | None = None,
    num_classes: Classes | None = None,
    task_classes: Sequence[int] | None = None,
    norm: Style = "sigmoid",
    gated: Patterns = None,
    keep_affine: bool | None = None,
    gate_init: float = 0.5,
    pretrained_cfg: PretrainedCfg | dict[str, object] | None = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    **kwargs: Any,
) -> TimmTaskModel:
    """Build a timm model with task norms.

    Args:
        name: Its registered name.
        architecture: The plain architecture.
        pretrained: Load weights, as timm does.
        tasks: Names of the tasks; None: those of `num_classes`, or a single one.
        num_classes: One number for all tasks, or a dict by task.
        task_classes: A saved model's numbers of classes, in the order of its tasks.
        norm: "sigmoid" (TSσBN), "affine" (TSBN) or "shared" (hard sharing).
        gated: Which norms are task-specific; see `tsbn_hub.convert`.
        keep_affine: Keep the shared weight and bias beside the gates; None: only with `pretrained`.
        gate_init: A gate's value at the start, in (0, 1).
        pretrained_cfg: As timm has it.
        pretrained_cfg_overlay: As timm has it.
        **kwargs: Keywords of the plain architecture.
    """
    own = kwargs.get("pretrained_model_args") or {}  # of the checkpoint that timm loads
    if pretrained and own.get("tasks") is not None:
        check_same_tasks(tasks, own["tasks"])
    names, sizes = task_classes_of(tasks, num_classes, task_classes)
    if pretrained and sizes is not None:
        _refuse_mixed_classes(sizes, own.get("task_classes"))
    options = NormOptions(
        norm,
        keep_affine=pretrained if keep_affine is None else keep_affine,
        gate_init=gate_init,
        affine_dropped_on_request=keep_affine is False,
    )
    selector = TaskSelector(names)
    recipe = Recipe(architecture, selector.tasks, sizes, options, gated)
    overlay = {**(pretrained_cfg_overlay or {}), "architecture": name}
    if pretrained:
        _refuse_pickles(pretrained_cfg, overlay, kwargs.get("cache_dir"))
    if sizes is not None:
        kwargs["num_classes"] = max(sizes)
    features_only = bool(kwargs.get("features_only"))

    def convert(model: nn.Module) -> None:
        if not isinstance(model, TimmTaskModel):
            convert_timm_model(model, selector, recipe, split=not features_only)

    # Feature extractors that trace or call the model while they are built see one task.
    with _before_loading(name, convert), selector.run(Selection(0)):
        model = timm.models.model_entrypoint(architecture)(
            pretrained=pretrained, pretrained_cfg=pretrained_cfg, pretrained_cfg_overlay=overlay, **kwargs
        )
        if features_only and not isinstance(model, TimmTaskModel):
            as_timm_task_model(model, selector, recipe)
        convert(model)
    assert isinstance(model, TimmTaskModel)
    _note_source(model, pretrained)
    return model


def _note_source(model: TimmTaskModel, loaded: bool) -> None:
    """Say in the pretrained config where the weights are from; timm says it of a repo or folder that it was told."""
    config = dict(model.pretrained_cfg)
    if not loaded:
        config = {key: value for key, value in config.items() if key not in ("source", "file")}
    elif not config.get("source") and not config.get("file") and config.get("hf_hub_id"):
        config["source"] = "hf-hub"
    model.pretrained_cfg = config


_patching = threading.RLock()


@contextmanager
def _before_loading(name: str, convert: Callable[[nn.Module], None]) -> Iterator[None]:
    """Within the block, convert the model of this name when timm has built it, and before it does more with it.

    `build_model_with_cfg` builds, prunes, loads and wraps a model in one go, with no door in between. But it asks for
    the model's traits at the right moments: just before the state dict goes in, and just before a feature extractor
    takes the model apart.
    """
    with _patching:
        get_model_traits = _builder.get_model_traits

        def convert_then_get_traits(model: nn.Module) -> dict[str, Any]:
            # Architectures that build another one inside them ask for that one's traits, too.
            if getattr(model, "pretrained_cfg", {}).get("architecture") == name:
                convert(model)
            return get_model_traits(model)

        _builder.get_model_traits = convert_then_get_traits
        try:
            yield
        finally:
            _builder.get_model_traits = get_model_traits


def _refuse_mixed_classes(sizes: list[int], own: list[int] | None) -> None:
    """Rows of classifiers go by their order, too, where timm does not leave them out as of another size."""
    if own is not None and sizes != own and max(sizes) == max(own):
        raise ValueError(
            f"The tasks are to have {sizes} classes, those of the checkpoint have {own}. Load it with its own, then "
            "use reset_classifier."
        )


def _refuse_pickles(pretrained_cfg: object, overlay: dict[str, Any], cache_dir: str | Path | None) -> None:
    """Allow safetensors alone from a user's folder, file or repo; and a whole file, so that the error is clear."""
    config = pretrained_cfg.to_dict() if isinstance(pretrained_cfg, PretrainedCfg) else pretrained_cfg
    config = config if isinstance(config, dict) else {}
    source, file = config.get("source"), overlay.get("file") or config.get("file")
    if source == "hf-hub" or overlay.get("hf_hub_id"):
        repo = overlay.get("hf_hub_id") or config["hf_hub_id"]
        folder = local_folder(repo, (CONFIG, WEIGHTS), cache_dir=cache_dir)
        if commit := repo_commit(folder):  # what was checked is what timm loads, and the model knows where it is from
            overlay["hf_hub_id"] = f"{split_revision(repo)[0]}@{commit}"
        read_shapes(folder / WEIGHTS)
        overlay.setdefault("hf_hub_filename", WEIGHTS)
    elif source == "local-dir" and not overlay.get("file"):
        folder = Path(str(file))
        if not (folder / WEIGHTS).is_file():
            found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            raise CheckpointError(without_weights(str(folder), found))
        read_shapes(folder / WEIGHTS)
    elif file:
        if Path(str(file)).suffix == ".safetensors":
            read_shapes(Path(str(file)))
        elif not overlay.get("custom_load"):
            raise ValueError(
                f"{file} is no .safetensors file. Pickled weights can run code when they are loaded, and are not read: "
                "convert the file with safetensors.torch.save_file."
            )
