"""Which runs a comparison has: methods by balancings by settings by seeds."""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from ..baselines import HARD_SHARING, SINGLE_TASK, methods
from ..files.own_code import import_all
from ..files.registry import did_you_mean
from ..training import TrainingConfig
from ..training.balancing.balancing import balancings
from ..training.recipe.config import OF_THE_MACHINE, read_values

# What is of no use to one task has these values, so that all comparisons name its run in the same way.
ALONE: dict[str, object] = {"balancing": "equal", "balancing_args": {}, "backward": "all", "tasks_per_step": None}
# By key, the styles of norms that it changes anything for; a trunk of another kind has none.
_NORMS_OF_KEY = {
    "gate_lr_scale": ("sigmoid", "affine"),
    "gate_weight_decay": ("sigmoid", "affine"),
    "gate_noise": ("sigmoid",),
    "model_args.gate_init": ("sigmoid",),
    "model_args.keep_affine": ("sigmoid",),
    "model_args.gated": ("sigmoid", "affine", "statistics"),
}
_OF_THE_GRID = {
    "method": "name the methods",
    "norm": "name the methods",
    "seed": "say how many seeds",
    "output": "choose the folder of the grid",
}
_DEFAULTS = dataclasses.asdict(TrainingConfig(model="-", data="-", output="-"))
_ONE_FOR_ALL = ("balancing", "data", "data_args", "tasks", "imports", *OF_THE_MACHINE)


@dataclass(frozen=True)
class Variant:
    """A row of the comparison: a way to train, without seed and learning rate.

    Args:
        method: By its name in `tsbn_hub.baselines.methods`, or of a trunk of one's own.
        balancing: By its name; None: of one task there is none.
        settings: Further keys of the config, with dots into mappings, and their values.
        epochs: How many times the config's epochs it is trained: hard sharing with the compute of another method.
    """

    method: str
    balancing: str | None = None
    settings: tuple[tuple[str, object], ...] = ()
    epochs: float = 1.0

    @property
    def label(self) -> str:
        """What a table calls it."""
        words = [self.method + (f" + {self.balancing}" if self.balancing not in (None, "equal") else "")]
        words += [f"{name_in_labels(key)}={value}" for key, value in self.settings]
        words += [f"{self.epochs:.3g}x epochs"] if self.epochs != 1 else []
        return ", ".join(words)

    @property
    def is_single_task(self) -> bool:
        """Whether each task has a network, and a run, of its own."""
        return self.method == SINGLE_TASK


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
        folder: Where the runs are.
        single_task_folder: Where single-task runs are, which all grids of the same data and recipe share.
        balancings: Their names; none: the config's own.
        settings: By key of the config, the values to try, for the methods and balancings that it changes anything for.
        seeds: How many.
        first_seed: The first of them; the others are those that follow.
        overrides: By key of the config, what these have instead of the file's.
        imports: Files and modules of one's own, beside the file's.

    Raises:
        ValueError: if a method or balancing is unknown, nothing is to be compared, there is no seed, or a key cannot be
            set or changes nothing.

    Example:
        >>> from tsbn_hub.compare import Grid
        >>> grid = Grid(
        ...     file="examples/configs/multi_digits.yaml", methods=["stl", "hps", "tssigma"],
        ...     balancings=["equal", "gls"], settings={"gate_lr_scale": [1, 100]},
        ...     folder="runs/digits", single_task_folder="runs/single_task",
        ... )
        >>> for variant in grid.variants():
        ...     print(variant.label)
        stl
        hps
        hps + gls
        tssigma, gate_lr_scale=1
        tssigma, gate_lr_scale=100
        tssigma + gls, gate_lr_scale=1
        tssigma + gls, gate_lr_scale=100
    """

    file: str | Path
    methods: Sequence[str]
    folder: str | Path
    single_task_folder: str | Path
    balancings: Sequence[str] = ()
    settings: Mapping[str, Sequence[object]] = field(default_factory=dict)
    seeds: int = 1
    first_seed: int = 0
    overrides: Mapping[str, object] = field(default_factory=dict)
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.methods or self.seeds < 1:
            raise ValueError(f"methods={list(self.methods)}, seeds={self.seeds}: compare at least one, with one seed.")
        if self.first_seed < 0:
            raise ValueError(f"first_seed={self.first_seed} must be 0 or more.")
        for key in (*self.settings, *self.overrides):
            if key in _OF_THE_GRID:
                raise ValueError(f"{key} is not set for all runs of a comparison: {_OF_THE_GRID[key]}.")
        for key in self.settings:
            if key.partition(".")[0] in _ONE_FOR_ALL:
                raise ValueError(f"{key}={list(self.settings[key])}: all runs of a comparison have the same {key}.")
        import_all(self.base.imports)
        for name in self.methods:
            _check_method(name)
        for name in self.balancings:
            balancings[name]
        variants = self.variants()
        for key in (*self.settings, *self.overrides):
            if not any(concerns(key, variant.method, variant.balancing) for variant in variants):
                raise ValueError(f"{key} changes nothing for {', '.join(self.methods)}.")

    @property
    def seeds_used(self) -> range:
        """The seeds of each row."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @cached_property
    def base(self) -> TrainingConfig:
        """The config of the file."""
        overrides = {key: value for key, value in self.overrides.items() if key.partition(".")[0] != "method_args"}
        return self._read({**overrides, "output": "-"})

    def variants(self) -> list[Variant]:
        """The rows, without those that would be another row's run under a second name."""
        return self._variants_of(self.methods)

    def with_the_compute_of(self, times: float) -> list[Variant]:
        """Hard sharing, trained for as many operations as a method that needs `times` those of its own in a step."""
        return [replace(variant, epochs=times) for variant in self._variants_of([HARD_SHARING])]

    def _variants_of(self, methods: Sequence[str]) -> list[Variant]:
        found: dict[Variant, None] = {}
        for method, balancing in product(methods, self.balancings or [self.base.balancing]):
            of_method = None if method == SINGLE_TASK else balancing
            settings = {key: values for key, values in self.settings.items() if concerns(key, method, of_method)}
            for values in product(*settings.values()):
                found[Variant(method, of_method, tuple(zip(settings, values, strict=True)))] = None
        return list(found)

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
        method, balancing = variant.method, variant.balancing
        values: dict[str, object] = {"method": method, "norm": None, "seed": seed, "output": "-"}
        if method != self.base.method:
            values["method_args"] = {}
        if balancing is not None:
            values["balancing"] = balancing
            if balancing != self.base.balancing:
                values["balancing_args"] = {}
        for key in _NORMS_OF_KEY:
            if key in _DEFAULTS and not concerns(key, method, balancing):
                values[key] = _DEFAULTS[key]
        for key, value in (*self.overrides.items(), *variant.settings):
            if key != "balancing" and concerns(key, method, balancing):
                values[key] = value
        if lr is not None:
            values["lr"] = lr
        if task is not None:
            values |= {**ALONE, "tasks": [task]}
        config = self._read(values)
        if variant.epochs != 1:
            config = replace(
                config,
                epochs=max(1, round(config.epochs * variant.epochs)),
                warmup_epochs=config.warmup_epochs * variant.epochs,
                decay_epochs=config.decay_epochs * variant.epochs,
            )
        if task is None:
            return Run(_placed(config, Path(self.folder, "runs"), variant.label), seed)
        heads, kind_args, chosen_by = (
            {name: each for name, each in by_task.items() if name == task}
            for by_task in (config.heads, config.kind_args, config.chosen_by)
        )
        alone = replace(config, heads=heads, kind_args=kind_args, chosen_by=chosen_by)
        return Run(_placed(alone, Path(self.single_task_folder), f"{variant.label} {task}"), seed, task)

    @cached_property
    def _of_file(self) -> dict[str, Any]:
        """Read once: all runs are of the same file, whoever edits it meanwhile."""
        return read_values(self.file)

    def _read(self, values: dict[str, object]) -> TrainingConfig:
        config = TrainingConfig.of(self._of_file, str(self.file), **values)
        return replace(config, imports=list(dict.fromkeys([*config.imports, *self.imports])))


def name_in_labels(key: str) -> str:
    """What the labels of a grid call a key: its last part."""
    return key.rpartition(".")[2]


def reference_of(methods: Sequence[str]) -> int | None:
    """Which row Δm is the gain over: the first of single-task learning, else of hard sharing; None: there is none."""
    return next((methods.index(name) for name in (SINGLE_TASK, HARD_SHARING) if name in methods), None)


def _check_method(name: str) -> None:
    if name not in methods:
        from ..models.hf.trunk import trunks  # it imports transformers

        known = [*methods, *(trunk for trunk in trunks if trunk not in methods)]
        if name not in known:
            raise ValueError(f"There is no method {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")


def concerns(key: str, method: str, balancing: str | None) -> bool:
    """Whether a key of the config changes anything for a method with a balancing.

    Args:
        key: With dots into mappings.
        method: By its name.
        balancing: By its name; None: there is one task.
    """
    outer, _, inner = key.partition(".")
    norm = methods[method].norm if method in methods else None
    if key in _NORMS_OF_KEY:
        return norm in _NORMS_OF_KEY[key]
    if outer == "method_args":
        return norm is None and (not inner or inner in _keywords_of_trunk(method))
    if balancing is None:
        return outer not in ALONE
    if outer == "balancing_args" and inner:
        return balancing in balancings and inner in inspect.signature(balancings[balancing]).parameters
    return True


def _keywords_of_trunk(method: str) -> Sequence[str]:
    from ..models.hf.trunk import trunks  # it imports transformers

    return list(inspect.signature(trunks[method]).parameters)


def _placed(config: TrainingConfig, folder: Path, name: str) -> TrainingConfig:
    """The config, with a folder whose name says what the run is, and ends in a digest of all that makes it."""
    return replace(config, output=str(folder / f"{_plain(name)}-seed{config.seed}-{digest_of(config)}"))


def digest_of(config: TrainingConfig) -> str:
    """What tells a run from others, in 8 hexadecimal digits: all of its config but where and how it is computed.

    A value that is the default does not count: keys that the config gets later leave the digest as it is.
    """
    values = {
        key: value
        for key, value in dataclasses.asdict(config).items()
        if key not in OF_THE_MACHINE and value != _DEFAULTS[key]
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _plain(text: str) -> str:
    """Text as the name of a file: short, of letters, digits and few others."""
    return "".join(each if each.isalnum() or each in "+=." else "-" for each in text.replace(" ", "")).strip("-.")[:80]
