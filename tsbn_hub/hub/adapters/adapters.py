"""Task adapters: what belongs to one task, apart from the trunk, and many of them in one model."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from ...files.checkpoints import CheckpointError
from ...files.paths import no_folder
from ...files.permission import code_named_in
from ...files.repositories import split_revision
from ...models import surface_of
from ...models.loading import load_base
from ...models.own_code import imports_of_checkpoint
from ...models.sketching import sketched
from ...models.surface import NormStyle, Surface
from ...models.task_parts import add_task_with, differences, task_state_dict, trunk_sha256
from ...norms import TaskModule
from ...norms.task_names import check_task_names
from ...norms.wrappers import unwrapped_to_change
from ...tasks import Task
from .files import AdapterConfig, adapter_folder, read_adapter, write_adapter

_Read = tuple[str, str | None, AdapterConfig, Task, dict[str, Tensor]]
"""An adapter: where it is from, the name that its task is to have, and what `read_adapter` gave."""


def save_task(model: nn.Module, task: str, folder: str | Path, *, base: str | Path | None = None) -> None:
    """Save what belongs to one task: gates, statistics and head, as task_adapter.json and task_adapter.safetensors.

    The files do not hold the task's name but in the config: it can be loaded under another.

    Args:
        model: A timm model with task norms, or a `TsbnForMultiTask`.
        task: One of its tasks.
        folder: Where to; it is made if it does not exist.
        base: The checkpoint that has the model's trunk, a folder or "org/name@revision"; None: where the model was
            loaded from, if it was.

    Raises:
        TypeError: if the model has no tasks with heads.
        ValueError: if there is no such task.
        OSError: if a file cannot be written.

    Example:
        >>> import tempfile, timm, torch, tsbn_hub
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8}).eval()
        >>> x = torch.rand(1, 3, 64, 64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tsbn_hub.save_task(model, "age", folder)
        ...     _ = tsbn_hub.load_task(model, folder, name="years")
        >>> model.tasks, torch.equal(model(x, task="years"), model(x, task="age"))
        (['gender', 'age', 'years'], True)
    """
    surface = surface_with_tasks(model)
    tensors = task_state_dict(surface, task)
    write_adapter(folder, adapter_config(surface, task, *base_of(surface, base)), tensors)


def load_task(
    model: nn.Module | str | Path,
    folder_or_repo: str | Path,
    name: str | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    trust: bool = False,
) -> nn.Module:
    """Add a task that was saved by `save_task`, at the end.

    Args:
        model: The model, changed in place: its stacked parameters are new objects, rebuild the optimizer. Or the base
            to load first, a folder or "org/name@revision".
        folder_or_repo: The adapter.
        name: The task's name in this model; None: the one it was saved with.
        revision: Of the adapter's repo: a branch, tag or commit.
        token: Another token than the stored one.
        trust: Import the files and modules that adapter and base name: those that their kinds and heads are from.

    Returns:
        The model. The outputs of its other tasks are what they were, bit for bit.

    Raises:
        FileNotFoundError: if the folder has no adapter.
        CheckpointError: if the adapter's files are damaged, or it is for another base; it says what differs. The model
            is as it was. A NotImportedError, which is one, if it needs code that was not imported.
        HubError: if the Hub cannot be reached, or has no such repo.
        ValueError: if the model has a task of this name, or is in DistributedDataParallel.
    """
    folder = adapter_folder(folder_or_repo, revision, token)
    config, task, tensors = read_adapter(folder)
    adapter = (str(folder_or_repo), name, config, task, tensors)
    with code_named_in(folder, config.imports, trust):
        if not isinstance(model, nn.Module):
            return _on_base(*_repo_and_revision(model), [adapter], token, trust)
        _add(surface_with_tasks(unwrapped_to_change(model, "load_task")), *adapter)
    return model


def merge(
    adapters: Sequence[str | Path] | Mapping[str, str | Path],
    base: str | Path | None = None,
    *,
    token: str | None = None,
    trust: bool = False,
) -> nn.Module:
    """One multi-task model of several adapters on one base: the base's tasks, if it has any, then the adapters'.

    Args:
        adapters: Folders and Hub repos ("org/name@revision"), in the order of the tasks; or, by the name that the task
            is to have, a mapping.
        base: A folder or "org/name@revision"; None: the one that the adapters name.
        token: Another token than the stored one.
        trust: Import the files and modules that adapters and base name: those that their kinds and heads are from.

    Returns:
        The model, of timm or transformers as the base is.

    Raises:
        CheckpointError: if an adapter's files are damaged, or adapters are for other bases; it says what differs.
            A NotImportedError, which is one, if they need code that was not imported.
        HubError: if the Hub cannot be reached, or has no such repo.
        ValueError: if there is no adapter, two have one name, or none says which base it is for.

    Example:
        >>> import tempfile, timm, tsbn_hub
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tsbn_hub.save_pretrained(model, f"{folder}/base")
        ...     for task in model.tasks:
        ...         tsbn_hub.save_task(model, task, f"{folder}/{task}", base=f"{folder}/base")
        ...     tsbn_hub.merge({"sex": f"{folder}/gender", "years": f"{folder}/age"}).tasks
        ['gender', 'age', 'sex', 'years']
    """
    if isinstance(adapters, str | Path) or not adapters:
        raise ValueError(f"merge takes a list of adapters, or a mapping from names to adapters, and got {adapters!r}.")
    named = list(adapters.items()) if isinstance(adapters, Mapping) else [(None, adapter) for adapter in adapters]
    folders = [adapter_folder(adapter, token=token) for _, adapter in named]
    read = [(str(adapter), name, *read_adapter(folder)) for (name, adapter), folder in zip(named, folders, strict=True)]
    names = [_name(name, task) for _, name, _, task, _ in read]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Several adapters are named {repeated}: give merge a mapping from names to adapters.")
    if base is None:
        repo, revision = _common_base([(adapter, config) for adapter, _, config, _, _ in read])
    else:
        repo, revision = _repo_and_revision(base)
    with ExitStack() as stack:
        for folder, (_, _, config, _, _) in zip(folders, read, strict=True):
            stack.enter_context(code_named_in(folder, config.imports, trust))
        return _on_base(repo, revision, read, token, trust)


def surface_with_tasks(model: nn.Module) -> Surface:
    """The surface of a model whose tasks can be apart from it.

    Raises:
        TypeError: if they cannot.
    """
    try:
        surface = surface_of(model)
    except TypeError:
        surface = None
    if surface is None or not surface.can_part_with_tasks:
        raise TypeError(
            f"{type(model).__name__} has no tasks with heads: take a timm model with task norms, or a TsbnForMultiTask."
        )
    return surface


def adapter_config(surface: Surface, task: str, base: str | None, revision: str | None) -> AdapterConfig:
    """What task_adapter.json is to say of a task of a model."""
    style = surface.norm_style()
    return AdapterConfig(
        task=surface.described(task).to_dict(),
        library=surface.library,
        architecture=surface.plain_architecture,
        norm=style.norm,
        keep_affine=style.keep_affine,
        gate_init=style.gate_init,
        gated=style.gated if style.gated is None or isinstance(style.gated, str) else ",".join(style.gated),
        trunk_sha256=trunk_sha256(surface),
        model_args=surface.build_args(),
        base_model_name_or_path=base,
        revision=revision,
        imports=imports_of_checkpoint(surface.own_code(task)),
    )


def _repo_and_revision(base: str | Path) -> tuple[str, str | None]:
    if Path(base).is_dir():
        return str(Path(base).resolve()), None
    if isinstance(base, Path):
        raise FileNotFoundError(no_folder(base))
    return split_revision(base)


def base_of(surface: Surface, base: str | Path | None = None) -> tuple[str | None, str | None]:
    """Repo or folder, and revision, of what is given, else of what the model was loaded from, as its library notes."""
    if base is not None:
        return _repo_and_revision(base)
    source, revision = surface.origin()
    return _repo_and_revision(source) if source and Path(source).is_dir() else (source, revision)


def _add(
    surface: Surface, adapter: str, name: str | None, config: AdapterConfig, task: Task, tensors: Mapping[str, Tensor]
) -> None:
    name = _name(name, task)
    if name in surface.tasks:
        raise ValueError(
            f"The model has a task {name!r} already ({surface.tasks}). Give that of {adapter} another name: "
            f"load_task(…, name=…), or merge({{name: {adapter!r}}})."
        )
    found = mismatches(
        config, surface, lambda: sketched(adapter, lambda: differences(surface, task, tensors), len(tensors))
    )
    if found:
        raise CheckpointError(f"The task {task.name!r} of {adapter} does not fit this model: {'; '.join(found)}.")
    add_task_with(surface, replace(task, name=name), tensors)


def mismatches(config: AdapterConfig, surface: Surface, of_tensors: Callable[[], list[str]] = list) -> list[str]:
    """How a model differs from an adapter's base: in what it is, in the tensors' shapes, in the trunk's values."""
    ours = adapter_config(surface, surface.tasks[0], None, None)

    def in_keys(*keys: str) -> list[str]:
        return [
            f"{key} is {theirs!r}, and {here!r} in the model"
            for key in keys
            if (theirs := getattr(config, key)) != (here := getattr(ours, key))
        ]

    found = in_keys("library", "architecture", "norm", "keep_affine") or of_tensors()
    if found or config.trunk_sha256 == ours.trunk_sha256:
        return found
    base = config.base or "a base that it does not name"
    return in_keys("gate_init") or [
        f"the trunk's weights are others: its task was trained on {base}. Another revision, training of the trunk, or "
        "another precision make such a difference"
    ]


def _name(given: str | None, task: Task) -> str:
    return task.name if given is None else given


def load_base_of(
    repo: str, revision: str | None, config: AdapterConfig, tasks: Sequence[str], token: str | None, trust: bool
) -> tuple[nn.Module, str]:
    """The base that an adapter is for, and a name that none of the tasks has: of a plain base's one task."""
    style = NormStyle(config.norm, config.keep_affine, config.gate_init, config.gated)
    placeholder = "_".join(["base", *check_task_names(tasks)])
    base = load_base(repo, placeholder, style, config.model_args, revision=revision, token=token, trust=trust)
    return base, placeholder


def _on_base(repo: str, revision: str | None, adapters: Sequence[_Read], token: str | None, trust: bool) -> nn.Module:
    names = [_name(name, task) for _, name, _, task, _ in adapters]
    model, placeholder = load_base_of(repo, revision, adapters[0][2], names, token, trust)
    for adapter in adapters:
        _add(surface_of(model), *adapter)
    if isinstance(model, TaskModule) and placeholder in model.tasks:
        model.remove_task(placeholder)
    return model


def _common_base(adapters: Sequence[tuple[str, AdapterConfig]]) -> tuple[str, str | None]:
    bases = {
        (config.base_model_name_or_path, config.revision): adapter
        for adapter, config in adapters
        if config.base_model_name_or_path is not None
    }
    if len(bases) == 1:
        return next(iter(bases))
    if not bases:
        raise ValueError(f"None of {[adapter for adapter, _ in adapters]} says which base it is for: give base=.")
    said = ", ".join(f"{adapter}: {base}@{revision}" for (base, revision), adapter in bases.items())
    raise ValueError(f"The adapters are for several bases ({said}): give the one to take as base=.")
