"""Which runs a comparison has: methods by balancings by settings by seeds."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from ..baselines import methods
from ..files.own_code import import_all
from ..files.registry import did_you_mean
from ..training import TrainingConfig
from ..training.recipe.config import OF_THE_MACHINE

_OF_GATES = ("gate_lr_scale", "model_args.gate_init", "model_args.keep_affine")
_OF_TASK_NORMS = (*_OF_GATES, "model_args.gated")
# What is of no use to one task has these values, so that all comparisons name its run in the same way.
_ALONE: dict[str, Any] = {"balancing": "equal", "balancing_args": {}, "backward": "all", "tasks_per_step": None}
_SINGLE_TASK = "stl"
_HARD_SHARING = "hps"
_WITH_GATES = ("sigmoid", "affine")


@dataclass(frozen=True)
class Variant:
    """A row of the comparison: a way to train, without seed and learning rate.

    Args:
        method: By its name in `tsbn_hub.baselines.methods`, or of a trunk of one's own.
        balancing: By its name; None: the config's.
        settings: Further keys of the config, with dots into mappings, and their values.
        epochs: How many times the config's epochs it is trained: hard sharing with the compute of another method.
    """

    method: str
    balancing: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()
    epochs: float = 1.0

    @property
    def label(self) -> str:
        """What a table calls it."""
        words = [self.method + (f" + {self.balancing}" if self.balancing not in (None, "equal") else "")]
        words += [f"{key.rpartition('.')[2]}={value}" for key, value in self.settings]
        words += [f"{self.epochs:.3g}x epochs"] if self.epochs != 1 else []
        return ", ".join(words)

    @property
    def is_single_task(self) -> bool:
        """Whether each task has a network, and a run, of its own."""
        return self.method == _SINGLE_TASK


@dataclass(frozen=True)
class Run:
    """A run of the grid: an ordinary run of `tsbn train`.

    Args:
        config: What it is.
        seed: Of the config.
        task: The task of a single-task run; None: it is for all.
    """

    config: TrainingConfig = field(hash=False)  # it has lists
    seed: int
    task: str | None = None

    @property
    def folder(self) -> Path:
        """Where it is."""
        return Path(self.config.output)


@dataclass(frozen=True)
class Grid:
    """What is compared.

    Args:
        file: The YAML file of the runs' config, which the variants change.
        methods: Their names.
        balancings: Their names; none: the config's own.
        settings: By key of the config, the values to try.
        seeds: How many: 0, 1, … are used.
        overrides: By key of the config, what all runs have instead of the file's.
        folder: Where the runs are.
        single_task_folder: Where single-task runs are, which all grids of the same data and recipe share.

    Raises:
        ValueError: if a method is unknown, nothing is to be compared, or there is no seed.
    """

    file: Path
    methods: Sequence[str]
    folder: Path
    single_task_folder: Path
    balancings: Sequence[str] = ()
    settings: dict[str, list[Any]] = field(default_factory=dict)
    seeds: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.methods or self.seeds < 1:
            raise ValueError(f"methods={list(self.methods)}, seeds={self.seeds}: compare at least one, with one seed.")
        import_all(self.base.imports)
        unknown = [name for name in self.methods if name not in methods]
        if unknown:
            from ..models.hf.trunk import trunks  # it imports transformers

            known = [*methods, *(name for name in trunks if name not in methods)]
            for name in unknown:
                if name not in known:
                    near = did_you_mean(name, known)
                    raise ValueError(f"There is no method {name!r}.{near} Known: {', '.join(known)}.")

    @cached_property
    def base(self) -> TrainingConfig:
        """The config of the file."""
        return TrainingConfig.read(self.file, **{**self.overrides, "output": "-"})

    def variants(self) -> list[Variant]:
        """The rows, without those that would be another row's run under a second name."""
        found: dict[Variant, None] = {}
        balancings: list[str | None] = [*self.balancings] or [None]
        for method, balancing in product(self.methods, balancings):
            settings = {key: values for key, values in self.settings.items() if _concerns(key, method)}
            for values in product(*settings.values()):
                found[
                    Variant(
                        method,
                        None if method == _SINGLE_TASK else balancing,
                        tuple(zip(settings, values, strict=True)),
                    )
                ] = None
        return list(found)

    def with_the_compute_of(self, passes: float) -> list[Variant]:
        """Hard sharing, trained for as many trunk passes as a method that needs `passes` of them for all tasks."""
        hard_sharing = replace(self, methods=[_HARD_SHARING])
        return [replace(variant, epochs=passes) for variant in hard_sharing.variants()]

    def run(self, variant: Variant, seed: int, lr: float | None = None, task: str | None = None) -> Run:
        """A run of a row.

        Args:
            variant: The row.
            seed: The seed.
            lr: The learning rate; None: the config's.
            task: The task, of a single-task row.

        Raises:
            ValueError: if the config does not allow it.
        """
        values = {**self.overrides, **_of_method(variant.method), **dict(variant.settings), "seed": seed, "output": "-"}
        if variant.method != self.base.method:
            values["method_args"] = {}
        if variant.balancing is not None:
            values["balancing"] = variant.balancing
            if variant.balancing != self.base.balancing:
                values["balancing_args"] = {}
        if lr is not None:
            values["lr"] = lr
        config = TrainingConfig.read(self.file, **values)
        if variant.epochs != 1:
            config = replace(config, epochs=max(1, round(config.epochs * variant.epochs)))
        if task is None:
            return Run(_placed(config, self.folder / "runs", variant.label), seed)
        head = {name: head for name, head in config.heads.items() if name == task}
        alone = replace(config, **_ALONE, tasks=[task], heads=head)
        return Run(_placed(alone, self.single_task_folder, f"{variant.label} {task}"), seed, task)


def _concerns(key: str, method: str) -> bool:
    """Whether a key of the config changes anything for a method."""
    norm = methods[method].norm if method in methods else None
    if key in _OF_GATES:
        return norm in _WITH_GATES
    if key in _OF_TASK_NORMS:
        return norm in (*_WITH_GATES, "statistics")
    return method != _SINGLE_TASK or key.partition(".")[0] not in _ALONE


def _of_method(name: str) -> dict[str, Any]:
    values: dict[str, Any] = {"method": name, "norm": None}
    if not _concerns("gate_lr_scale", name):
        values["gate_lr_scale"] = None
    return values


def _placed(config: TrainingConfig, folder: Path, name: str) -> TrainingConfig:
    """The config, with a folder whose name says what the run is, and ends in a digest of all that makes it."""
    return replace(config, output=str(folder / f"{_plain(name)}-seed{config.seed}-{digest_of(config)}"))


def digest_of(config: TrainingConfig) -> str:
    """What tells a run from others, in 8 hexadecimal digits: all of its config but where and how it is computed."""
    values = {key: value for key, value in dataclasses.asdict(config).items() if key not in OF_THE_MACHINE}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _plain(text: str) -> str:
    """Text as the name of a file: short, of letters, digits and few others."""
    return "".join(each if each.isalnum() or each in "+=." else "-" for each in text.replace(" ", "")).strip("-.")[:80]
