"""What one training run is: read from YAML, overridden from the command line."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ...baselines import SINGLE_TASK, method_of, methods
from ...files.parsing import parse_yaml
from ...files.paths import near_hint
from ...files.registry import did_you_mean
from ...norms.execution import Execution
from ...norms.task_norm import Style
from ..balancing.balancing import RENAMED
from ..optimization import ScheduleName
from .sources import DataSource
from .values import check_value

Backward = Literal["all", "task"]

OF_THE_MACHINE = (
    "output", "execution", "eval_batch_size", "channels_last", "workers", "checkpoint_steps", "trackers",
)  # fmt: skip
"""The keys that say where and how a run is computed, not what it is."""

_ALL_KEYS = "`tsbn config` lists all keys."
_FREE_TO_CHANGE = (*OF_THE_MACHINE, "imports")
_OF_A_NEW_MODEL = ("model", "method_args", "pretrained")
_OF_NORMS = ("gated", "gate_init")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run.

    Args:
        model: A timm name, with `_tsbn`; or what `TsbnForMultiTask.from_backbone` takes: `timm/…`, a Hub repo or
            folder, or a model type of transformers ("vit", "swin"), whose configuration is `model_args`.
        data: A data set of `tsbn_hub.data` by its name, or your own: by the name that it is registered under in one
            of the `imports`, or as `path/to/file.py:Class`. It is called with
            `split="train"` and `split="test"`. Or a list of several, each a name or a mapping with `name`, `args` and
            `rate`: how many batches are drawn from it, relative to the others; without rates, in proportion to size.
        output: The folder of the run: checkpoints, log, card, picture.
        tasks: The tasks to train; None for all of the data. One gives single-task training.
        norm: "sigmoid" (TSσBN), "affine" (TSBN), "statistics" (of BatchNorms), "shared" (hard sharing); None: as
            `method` says, else "sigmoid", or the checkpoint's.
        method: How the tasks share the network: "stl" (one task alone), "hps", "stats", "tsbn", "tssigma",
            "cross-stitch", "mtan" (see docs/methods.md), or a trunk that is registered (see docs/extending.md). None:
            by task norms, as `norm` says.
        method_args: Further keywords of "cross-stitch", "mtan" or another trunk.
        heads: By task, the name of its head ("small", "deeplabv3", "upernet", "segformer", "linear"), or a mapping with
            `name` and the head's keywords; None: the default of the task's kind.
        kind_args: By task, further keywords of its kind, beside those that the data set gives, as
            `{price: {loss: huber}, looks: {tune_thresholds: true}}`: docs/training.md has the losses in a table.
        model_args: Further keywords of `timm.create_model`, or of the backbone's configuration.
        data_args: Further keywords of the data set, where it is one.
        augmentation: Random changes of training samples, of images and targets together, by name: "flip", "crop",
            "scale", "shift", "color", "blur", and for tasks of whole images "rand_augment" and "trivial_augment". Each
            is true, the value of its first option, or a mapping of its options (see docs/training.md).
        pretrained: Start from pretrained weights. Images, whose values are from 0 to 1, are then normalised by the mean
            and standard deviation that these were trained with.
        checkpoint: In place of `model`, a trained model of ours to go on from: the folder of a run, or a Hub repo. It
            keeps its tasks and its preprocessing, and gets the tasks of the data that it lacks. A new task starts with
            fresh gates and statistics (of TSBN: the first task's) and a fresh head. The tasks of the data are trained.
            With `norm`, or a `method` that is one, a model of hard sharing gets such norms, and its function stays;
            `model_args` may then say `gated` and `gate_init`.
        freeze_trunk: Train nothing but what single tasks have of their own: gates, statistics, heads. Tasks that are
            not trained keep their outputs bit for bit.
        epochs: Passes over the training data.
        batch_size: Samples a process and forward.
        eval_batch_size: The same, of validation and test; None: as in training. It changes no score: choose another one
            where the images are of several sizes (1), or the memory is full, and go on.
        gradient_accumulation_steps: Batches a process and optimizer step.
        optimizer: One of timm's optimizers, by its name.
        optimizer_args: Further keywords of it.
        lr: The trunk's learning rate at its highest.
        weight_decay: Of the trunk's and heads' weights.
        gate_lr_scale: How much faster gates learn; None: 100 times for BatchNorms, 10 times for other norms.
        gate_weight_decay: Of the gates.
        gate_noise: The standard deviation of the gate logits at the start, by task and channel; 0: all gates start at
            `gate_init`. With 1 they start at N(0, 1). Weights that are loaded then no longer keep their function.
        layer_decay: How much slower each layer learns than the next one, in (0, 1]; None: all alike.
        schedule: "cosine", "step" or "constant".
        warmup_epochs: Epochs of linear warm-up, before the schedule.
        decay_epochs: Of the step schedule: epochs between two decays.
        decay_rate: Of the step schedule: the factor of a decay, in (0, 1].
        max_grad_norm: Longer gradients are cut to this norm; None: none is.
        balancing: How the tasks become one step, by name. Weights of the losses: "equal", "uncertainty", "dwa", "rlw",
            "imtl-l"; a total of the losses: "gls", "stch"; of the gradients: "gradnorm", "pcgrad", "cagrad", "upgrad",
            "mgda"; or one of your own. docs/training.md has them in a table.
        balancing_args: Its options; of "equal", `weights: {task: weight}`.
        execution: How the tasks are run where a batch is for all of them. "batched": in one pass, in which what is
            before the first gated norm is computed once. "sequential": one after another. "auto": the faster one.
        backward: "all": one backward for all tasks, fast. "task": one a task, with the memory of one.
        tasks_per_step: How many tasks each step is for, drawn at random; None: all.
        ema_decay: Evaluate and keep an exponential moving average of the weights, with this decay, in (0, 1).
        sync_batch_norm: BatchNorms take the statistics of the joined batch of all processes.
        validation: The part of the training data that is held out to choose the best epoch, in (0, 1). Data with a
            validation split of their own (CelebA) take this one.
        mixed_precision: "no", "fp16" or "bf16"; None takes what `accelerate launch` was given.
        channels_last: Keep the weights of convolutions in the order (N, H, W, C), which some convolutional networks are
            faster by: on a CPU up to a quarter, and others not at all. A step stays the same but for rounding.
        workers: Processes that load data.
        chosen_by: By task, the metric that chooses the best epoch, as {price: mae}. Tasks that are not named do not
            count. Empty: the mean over all tasks of what their kinds say, such as accuracy.
        early_stopping: Stop when so many epochs in a row were no better than the best one; None: never. The
            schedule of the learning rate is that of all `epochs`.
        checkpoint_steps: Optimizer steps between two checkpoints; every epoch makes one, too.
        trackers: Where to follow the run: "tensorboard", "trackio", "wandb" or another of Accelerate's trackers.
        imports: Your own files ("path/to/kinds.py") and modules ("my_package.kinds"), which register kinds, heads, data
            sets, balancings and others. They are imported first.
        seed: Of the weights, the order of the data, its augmentation and the validation split.
        deterministic: Only algorithms that give the same bits every time; on CUDA they are slower.

    Raises:
        ValueError: if a value is out of its range, or values contradict each other.
    """

    model: str | None = None
    data: str | list[Any]
    output: str
    tasks: list[str] | None = None
    norm: Style | None = None
    method: str | None = None
    method_args: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, Any] = field(default_factory=dict)
    kind_args: dict[str, Any] = field(default_factory=dict)
    model_args: dict[str, Any] = field(default_factory=dict)
    data_args: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    checkpoint: str | None = None
    freeze_trunk: bool = False
    epochs: int = 10
    batch_size: int = 64
    eval_batch_size: int | None = None
    gradient_accumulation_steps: int = 1
    optimizer: str = "adamw"
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    lr: float = 1e-3
    weight_decay: float = 1e-4
    gate_lr_scale: float | None = None
    gate_weight_decay: float = 0.0
    gate_noise: float = 0.0
    layer_decay: float | None = None
    schedule: ScheduleName = "cosine"
    warmup_epochs: float = 1.0
    decay_epochs: float = 30.0
    decay_rate: float = 0.1
    max_grad_norm: float | None = None
    balancing: str = "equal"
    balancing_args: dict[str, Any] = field(default_factory=dict)
    execution: Execution = "auto"
    backward: Backward = "all"
    tasks_per_step: int | None = None
    ema_decay: float | None = None
    sync_batch_norm: bool = False
    validation: float = 0.1
    chosen_by: dict[str, Any] = field(default_factory=dict)
    early_stopping: int | None = None
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    channels_last: bool = False
    workers: int = 0
    checkpoint_steps: int = 1000
    trackers: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    seed: int = 0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            check_value(name, getattr(self, name), hint)
        for name in (
            "epochs", "batch_size", "eval_batch_size", "gradient_accumulation_steps", "lr", "decay_epochs",
            "max_grad_norm", "tasks_per_step", "checkpoint_steps", "early_stopping",
        ):  # fmt: skip
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive.")
        for name in (
            "weight_decay", "gate_lr_scale", "gate_weight_decay", "gate_noise", "warmup_epochs", "workers",
        ):  # fmt: skip
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative.")
        for name in ("layer_decay", "decay_rate"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in (0, 1].")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation={self.validation} must lie in (0, 1): the best epoch is chosen on it.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay} must lie in (0, 1).")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed} must lie in [0, 2**31).")
        if self.tasks is not None and not 0 < len(self.tasks) == len(set(self.tasks)):
            raise ValueError(
                f"tasks={self.tasks}: name one or more, each once; without it, all of the data are trained."
            )
        for task, head in self.heads.items():
            if not isinstance(head, str) and not (isinstance(head, dict) and isinstance(head.get("name"), str)):
                raise ValueError(f"heads={self.heads}: {task} has {head!r}; a head is a name, or a mapping with name.")
        for task, keywords in self.kind_args.items():
            if not isinstance(keywords, dict) or not all(isinstance(key, str) for key in keywords):
                raise ValueError(
                    f"kind_args={self.kind_args}: {task} has {keywords!r}; expected is a mapping, as {{loss: dice}}."
                )
        self.sources()
        self._check_method()
        self._check_start()

    def _check_method(self) -> None:
        of_method = methods[self.method].norm if self.method is not None and self.method in methods else None
        if self.method is not None and of_method is None and self.norm is not None:
            raise ValueError(f"method={self.method!r} has no task norms: leave out norm={self.norm!r}.")
        if of_method is not None and self.norm not in (None, of_method):
            raise ValueError(f"method={self.method!r} is norm={of_method!r}: leave out norm={self.norm!r}.")
        if self.method_args and self.method is None:
            raise ValueError(f"method_args={self.method_args} are of a method: name it.")
        if self.method_args and of_method is not None:
            raise ValueError(f"method_args={self.method_args}: method={self.method!r} has none.")
        if of_method is not None:
            object.__setattr__(self, "norm", of_method)
        elif self.norm is None and self.checkpoint is None and self.method is None:
            object.__setattr__(self, "norm", "sigmoid")

    @property
    def trunk(self) -> str | None:
        """The trunk that the method is; None: one of task norms."""
        return self.method if self.norm is None else None

    def _check_start(self) -> None:
        if self.checkpoint is None:
            if self.model is None:
                raise ValueError(
                    "model=None, checkpoint=None: give one, a model to train or a trained one of ours to go on from."
                )
            return
        given = [name for name in _OF_A_NEW_MODEL if getattr(self, name)]
        given += ["method"] if self.trunk is not None or self.method == SINGLE_TASK else []
        opens = self.norm not in (None, "shared")  # a model of hard sharing
        given += [f"model_args.{name}" for name in self.model_args if not opens or name not in _OF_NORMS]
        given += ["gate_noise"] if self.gate_noise and self.norm != "sigmoid" else []
        if given:
            raise ValueError(f"checkpoint={self.checkpoint!r} has {given} of its own: leave them out.")
        if Path(self.checkpoint).resolve() == Path(self.output).resolve():
            raise ValueError(f"checkpoint={self.checkpoint!r} is the output, too, and would be overwritten.")

    @classmethod
    def read(cls, path: str | Path, /, **overrides: Any) -> "TrainingConfig":
        """Read a YAML file, and replace what `overrides` has.

        Args:
            path: The file.
            overrides: By key. Dots lead into mappings, whose other keys stay: `{"data_args.size": 96}`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no YAML mapping, or lacks a key; if a key is unknown, there or in `overrides`, or dots
                lead into a value that is no mapping.
        """
        return cls.of(read_values(path), str(path), **overrides)

    @classmethod
    def of(cls, values: dict[str, Any], source: str, /, **overrides: Any) -> "TrainingConfig":
        """The config of values by key, in which what `overrides` has is replaced.

        Args:
            values: By key.
            source: Where they are from, for messages.
            overrides: As `read` takes them.

        Raises:
            ValueError: as from `read`.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        _check_keys(source, list(values), known)
        values = _with_new_names(dict(values))
        _check_keys(f"What is set beside {source}", [name.partition(".")[0] for name in overrides], known)
        for name, value in overrides.items():
            _override(values, name, value)
        needed = ("data", "output") if "checkpoint" in values else ("model", "data", "output")
        missing = [name for name in needed if name not in values]
        if missing:
            raise ValueError(f"{source} lacks {missing}.")
        return cls(**values)

    def sources(self) -> list[DataSource]:
        """The data sets that `data` names.

        Raises:
            ValueError: if it names none, or has rates for some alone.
        """
        if isinstance(self.data, str):
            return [DataSource(self.data, self.data_args)]
        if self.data_args:
            raise ValueError("data_args go with a single data set. Of several, each has its `args`.")
        sources = [DataSource.read(each) for each in self.data]
        if not sources or len({source.rate is None for source in sources}) > 1:
            raise ValueError(
                f"data={self.data}: name one or more data sets, and give a rate to all of them or to none."
            )
        return sources

    def own_code(self) -> list[str]:
        """The files and modules that the run needs: its `imports`, and the files that its data sets are in."""
        files = [file for source in self.sources() if (file := source.name.rpartition(":")[0])]
        return list(dict.fromkeys([*self.imports, *files]))

    def differences(self, other: dict[str, object]) -> list[str]:
        """What makes another run of it, as "name: theirs, here ours"; where it is stored does not."""
        ours = dataclasses.asdict(self)
        # A run from before there was a key had what is now its default.
        theirs = default_values() | _with_new_names(other)
        for values in (ours, theirs):  # a method is the norm's, whether it is named or not
            norm = values["norm"]
            if values["method"] is None and isinstance(norm, str) and (method := method_of(norm)) is not None:
                values["method"] = method.name
        return [
            f"{name}: {value!r}, here {ours.get(name)!r}"
            for name, value in theirs.items()
            if name not in _FREE_TO_CHANGE and value != ours.get(name)
        ]


def default_values() -> dict[str, object]:
    """By key, the value that it has where it is left out; MISSING of a key that must be given."""
    return {
        key.name: key.default if key.default_factory is dataclasses.MISSING else key.default_factory()
        for key in dataclasses.fields(TrainingConfig)
    }


def read_values(path: str | Path) -> dict[str, Any]:
    """The values of a YAML file by key, as `TrainingConfig.of` takes them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no YAML mapping.
    """
    path = Path(path)
    if not path.is_file():
        folder = path if path.is_dir() else path.parent
        near = sorted(map(str, folder.glob("*.yaml")))
        hint = f" There are {near}." if near else "" if folder.is_dir() else near_hint(folder)
        raise FileNotFoundError(f"There is no file {path}.{hint}")
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of the encoding
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must map names to values, as in `model: resnet10t_tsbn`.")
    return values


def _check_keys(source: str, keys: list[Any], known: list[str]) -> None:
    unknown = sorted(set(keys) - set(known), key=str)
    if unknown:
        near = "".join(did_you_mean(key, known) for key in unknown)
        raise ValueError(f"{source} has unknown keys {unknown}.{near} {_ALL_KEYS}")


def _with_new_names(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a file, in which what was renamed since has its new name."""
    balancing = values.get("balancing")
    return values | {"balancing": RENAMED[balancing]} if isinstance(balancing, str) and balancing in RENAMED else values


def _override(values: dict[str, Any], name: str, value: object) -> None:
    """Set a key, in a copy of the mappings that the dots of its name lead through."""
    *outer, last = name.split(".")
    for depth, key in enumerate(outer, 1):
        mapping = values.get(key, {})
        if not isinstance(mapping, dict):
            whole = ".".join(outer[:depth])
            raise ValueError(f"{name}={value!r}: {whole} is {mapping!r}, no mapping. Give {whole} as a whole.")
        values[key] = dict(mapping)
        values = values[key]
    values[last] = value
