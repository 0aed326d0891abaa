"""What one training run is: read from YAML, overridden from the command line."""

import dataclasses
import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from torch.utils.data import Dataset

from ..norms.task_norm import Style


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    Args:
        model: A timm name, with `_tsbn`.
        data: A data set of `tsbn_hub.data` by its name, or your own as `path/to/file.py:Class`. It is called with
            `split="train"` and `split="test"`.
        output: The folder of the run: checkpoint, log, card, picture.
        tasks: The tasks to train; None for all of the data set. One gives single-task training.
        norm: "sigmoid" (TSσBN), "affine" (TSBN), "shared" (hard sharing).
        model_args: Further keywords of `timm.create_model`.
        data_args: Further keywords of the data set.
        pretrained: Start from timm's pretrained weights.
        epochs: Passes over the training data.
        batch_size: Samples a step and process.
        lr: The trunk's learning rate at its highest.
        weight_decay: Of the trunk's and heads' weights.
        gate_lr_scale: How much faster gates learn; None: 100 times for BatchNorms, 10 times for other norms.
        warmup_epochs: Epochs of linear warm-up, before the cosine.
        validation: The part of the training data that is held out to choose the best epoch, in (0, 1).
        mixed_precision: "no", "fp16" or "bf16"; None takes what `accelerate launch` was given.
        workers: Processes that load data.
        seed: Of the weights, the order of the data and the validation split.

    Raises:
        ValueError: if a value is out of its range.
    """

    model: str
    data: str
    output: str
    tasks: list[str] | None = None
    norm: Style = "sigmoid"
    model_args: dict[str, Any] = field(default_factory=dict)
    data_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    epochs: int = 10
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-4
    gate_lr_scale: float | None = None
    warmup_epochs: float = 1.0
    validation: float = 0.1
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive.")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation={self.validation} must lie in (0, 1): the best epoch is chosen on it.")
        if self.norm not in ("sigmoid", "affine", "shared"):
            raise ValueError(f"norm={self.norm!r} is unknown. Known: sigmoid, affine, shared.")
        if self.mixed_precision not in (None, "no", "fp16", "bf16"):
            raise ValueError(f"mixed_precision={self.mixed_precision!r} is unknown. Known: no, fp16, bf16.")

    @classmethod
    def read(cls, path: str | Path, **overrides: Any) -> "TrainingConfig":
        """Read a YAML file, and replace what `overrides` has that is not None.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no YAML mapping, or has a key that is unknown, or lacks one.
        """
        path = Path(path)
        if not path.is_file():
            near = sorted(str(each) for each in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
            raise FileNotFoundError(f"There is no file {path}.{f' There are {near}.' if near else ''}")
        try:
            values = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} must map names to values, as in `model: resnet10t_tsbn`.")
        values |= {name: value for name, value in overrides.items() if value is not None}
        fields = dataclasses.fields(cls)
        unknown = sorted(set(values) - {each.name for each in fields})
        if unknown:
            raise ValueError(f"{path} has unknown keys {unknown}. Known: {[each.name for each in fields]}.")
        missing = [name for name in ("model", "data", "output") if name not in values]
        if missing:
            raise ValueError(f"{path} lacks {missing}.")
        return cls(**values)

    def dataset(self, split: Literal["train", "test"]) -> Dataset[Any]:
        """The data set of a split.

        Raises:
            ValueError: if there is no such data set.
        """
        return _dataset_class(self.data)(split=split, **self.data_args)


def _dataset_class(name: str) -> Any:
    from .. import data

    file, colon, class_name = name.rpartition(":")
    if not colon:
        known = [each for each in data.__all__ if hasattr(getattr(data, each), "num_classes")]
        if name not in known:
            raise ValueError(f"data={name!r} is unknown. Known: {known}; your own: path/to/file.py:Class.")
        return getattr(data, name)
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"data={name!r}: there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # worker processes find it by its name
    spec.loader.exec_module(module)
    if not hasattr(module, class_name):
        raise ValueError(f"data={name!r}: {path} has no {class_name}.")
    return getattr(module, class_name)
