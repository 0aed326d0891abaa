"""`<arch>_tsbn` names in timm's registry, for every architecture that has a norm layer, by one mechanism.

An entry point lets timm build its plain model, and converts it at the one moment between construction and loading.
Everything that timm offers (tags, overlays, in_chans, features_only, pruned models, …) is timm's own code at work.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from typing import Any

import timm
from timm.models._pretrained import DefaultCfg, PretrainedCfg
from timm.models._registry import register_model
from torch import nn

from ...files.checkpoints import check_tasks_of_weights
from ...norms import NormOptions, TaskSelector
from ...norms.execution import Execution, check_execution
from ...norms.gating import Patterns
from ...norms.selection import Selection
from ...norms.task_names import check_same_tasks
from ...norms.task_norm import Style, check_same_affine
from . import norms as timm_norms  # noqa: F401 — registers timm's norm classes
from .building import before_loading, loading_of, without_loading
from .model import OF_CLASSES, Classes, Recipe, TimmTaskModel, as_timm_task_model, convert_timm_model, task_classes_of
from .weights import weights_to_load

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
    task_labels: Sequence[Sequence[str] | None] | None = None,
    norm: Style = "sigmoid",
    gated: Patterns = None,
    keep_affine: bool | None = None,
    gate_init: float = 0.5,
    as_pretrained: bool | None = None,
    execution: Execution = "auto",
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
        task_labels: The names of the classes of each task, or None, in the order of the tasks. Those that are not as
            many as a task has classes, for other numbers are asked for than the checkpoint has, are dropped.
        norm: "sigmoid" (TSσBN), "affine" (TSBN), "statistics" (of BatchNorms) or "shared" (hard sharing).
        gated: Which norms are task-specific; see `tsbn_hub.convert`.
        keep_affine: Keep the shared weight and bias beside the gates; None: only with `pretrained`.
        gate_init: A gate's value at the start, from 0.001 to 0.999.
        as_pretrained: Whether timm builds the plain model as for its own weights, which for some architectures have
            another eps: a saved model says it. None: where weights are loaded.
        execution: How all tasks are run: "auto", "batched" or "sequential"; see `TaskModule.execution`.
        pretrained_cfg: As timm has it.
        pretrained_cfg_overlay: As timm has it.
        **kwargs: Keywords of the plain architecture.
    """
    own = kwargs.get("pretrained_model_args") or {}  # of the checkpoint that timm loads
    if pretrained and own.get("tasks") is not None:
        check_same_tasks(tasks, own["tasks"])
        check_same_affine(keep_affine, own.get("keep_affine"))
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
    selector.execution = check_execution(execution)
    as_pretrained = pretrained if as_pretrained is None else as_pretrained
    labels = {}
    if task_labels is not None and sizes is not None:
        named = zip(names, sizes, task_labels, strict=True)
        labels = {task: list(each) for task, size, each in named if each is not None and len(each) == size}
    overlay = {**(pretrained_cfg_overlay or {}), "architecture": name}
    if pretrained:
        weights = weights_to_load(architecture, pretrained_cfg, overlay, kwargs.get("cache_dir"))
        if weights is not None:
            check_tasks_of_weights(weights, names)
    if sizes is not None:
        kwargs["num_classes"] = max(sizes)
    features_only = bool(kwargs.get("features_only"))

    def convert(model: nn.Module) -> None:
        if not isinstance(model, TimmTaskModel):
            convert_timm_model(model, selector, recipe, split=not features_only)

    def build(as_pretrained: bool) -> nn.Module:
        return timm.models.model_entrypoint(architecture)(
            pretrained=as_pretrained, pretrained_cfg=pretrained_cfg, pretrained_cfg_overlay=dict(overlay), **kwargs
        )

    load = loading_of(name, lambda: build(True)) if pretrained and not as_pretrained else None
    as_pretrained = as_pretrained or (pretrained and load is None)
    recipe = Recipe(architecture, selector.tasks, sizes, options, gated, as_pretrained=as_pretrained, labels=labels)
    # Feature extractors that trace or call the model while they are built see one task.
    with (
        before_loading(name, convert, load),
        nullcontext() if pretrained else without_loading(name),
        selector.run(Selection(0)),
    ):
        model = build(as_pretrained)
        if load is not None:
            load(model)
        if features_only and not isinstance(model, TimmTaskModel):
            as_timm_task_model(model, selector, recipe)
        convert(model)
    assert isinstance(model, TimmTaskModel)
    _note_source(model, pretrained)
    return model


def _note_source(model: TimmTaskModel, loaded: bool) -> None:
    """Say in the pretrained config where the weights are from; timm says it of a repo or folder that it was told."""
    # What the classes are called, the tasks say.
    config = {key: value for key, value in dict(model.pretrained_cfg).items() if key not in OF_CLASSES}
    if not loaded:
        config = {key: value for key, value in config.items() if key not in ("source", "file")}
    elif not config.get("source") and not config.get("file") and config.get("hf_hub_id"):
        config["source"] = "hf-hub"
    model.pretrained_cfg = config


def _refuse_mixed_classes(sizes: list[int], own: list[int] | None) -> None:
    """Rows of classifiers go by their order, too, where timm does not leave them out as of another size."""
    if own is not None and sizes != own and max(sizes) == max(own):
        raise ValueError(
            f"The tasks are to have {sizes} classes, those of the checkpoint have {own}. Load it with its own, then "
            "use reset_classifier."
        )
