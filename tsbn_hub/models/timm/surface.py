"""A model of timm, as the rest of the package sees it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config
from timm.data.model_config import resolve_input_data_config
from timm.models._hub import load_model_config_from_path, save_config_for_hf
from timm.models._input import update_model_args
from torch import Tensor, nn
from torchvision.transforms import Compose

from ...files.atomic import write_atomically
from ...files.checkpoints import CheckpointError, Shapes, note_tasks_of_weights, remove_older_weights
from ...files.names import CONFIG, WEIGHTS
from ...files.repositories import split_revision, with_revision
from ...norms.convert import open_norms
from ...tasks import Classification, Kind, Task, make_kind
from ..own_code import imports_of_checkpoint, own_code_of
from ..preprocessing import Preprocessing, check_channels, check_mean, normalization
from ..sketching import built, check_size
from ..surface import ImageShape, NewModel, NormStyle, Surface
from .building import eps_args, without_loading
from .classifiers import TaskClassifier, named_classifiers
from .model import OF_TASKS, Recipe, TimmTaskModel, labels_of
from .names import SUFFIX
from .usage import usage

DEFAULT_TASK = "default"
# What timm's pretrained configs say of the weights that timm has of an architecture.
_OF_PUBLISHED_WEIGHTS = ("url", "hf_hub_id", "tag", "license", "origin_url", "paper_name", "paper_ids", "notes")


class TimmSurface(Surface):
    """A model of timm. Its tasks are classifications, by classifiers at the place of the plain one."""

    library = "timm"
    model: TimmTaskModel  # or a plain model of timm, where there are no tasks

    # --- tasks and heads ---

    @property
    def has_heads(self) -> bool:
        return bool(getattr(self.model, "num_classes", 0))

    def kinds(self) -> dict[str, Kind]:
        if not self.has_heads:
            raise ValueError(f"This {type(self.model).__name__} has no classifier: reset_classifier(…) gives it one.")
        if not self.tasks:
            return {DEFAULT_TASK: Classification(self.model.num_classes, labels_of(self.model))}
        return {task: make_kind(self.described(task)) for task in self.tasks}

    def described(self, task: str) -> Task:
        row = self.model.task_selector.row(task)
        return Task(task, num_classes=self.model.task_classes[row], labels=self.model.task_labels[row])

    def describe_anew(self, task: Task) -> None:
        self.model.task_selector.row(task.name)  # raises; how a classification is trained timm's models do not say

    def objection_to(self, task: Task) -> str | None:
        kept = set(task.kind_args) - {*Classification.only_for_training}
        if task.kind != "classification" or task.head is not None or task.head_args or kept:
            return f"the task is {task.kind} with a head of its own, and timm's models have classifiers alone"
        if not isinstance(task.num_classes, int) or task.num_classes < 0:
            return f"num_classes={task.num_classes!r} is no number of classes"
        return None

    def add_task(self, task: Task, like: str | None = None) -> None:
        self.model.add_task(task.name, like=like, num_classes=task.num_classes, labels=task.labels)

    def head_state(self, task: str) -> dict[str, Tensor]:
        # A model of one task has plain classifiers.
        row = self.model.task_selector.row(task) if self.tasks else 0
        return {
            f"{name}.{entry}": tensor.detach()[
                classifier.rows(row) if isinstance(classifier, TaskClassifier) else slice(None)
            ]
            for name, classifier in named_classifiers(self.model).items()
            for entry, tensor in classifier.named_parameters()
        }

    def new_head_state(self, task: Task) -> dict[str, Tensor]:
        return {
            f"{name}.{entry}": torch.empty(task.num_classes or 0, *tensor.shape[1:], dtype=tensor.dtype)
            for name, classifier in named_classifiers(self.model).items()
            for entry, tensor in classifier.named_parameters()
        }

    def head_parameters(self, task: str) -> list[Tensor]:
        return list(self.head_state(task).values())

    def output_of_row(self) -> nn.Module:
        return OutputOfRow(self.model)

    def keeps_head(self, fold: nn.Module) -> bool:
        return True

    # --- the trunk ---

    def names_outside_fingerprint(self) -> set[str]:
        classifiers = named_classifiers(self.model).items()
        return {f"{name}.{entry}" for name, classifier in classifiers for entry in classifier.state_dict()}

    def make_norms_task_specific(self, style: NormStyle) -> None:
        recipe: Recipe = self.model.recipe
        recipe.names = open_norms(self.model, self.model, style.options, style.gated)
        recipe.options, recipe.gated = style.options, style.gated
        update_model_args(self.model, **recipe.model_args())

    # --- images ---

    @property
    def image_shape(self) -> ImageShape:
        channels, *size = self.model.pretrained_cfg["input_size"]
        arguments = self._model_args
        size, channels = arguments.get("img_size", size), arguments.get("in_chans", channels)
        height, width = (size, size) if isinstance(size, int) else size
        return channels, height, width

    def preprocessing(self) -> Preprocessing:
        channels, *_ = self.image_shape
        check_channels(channels)
        config = resolve_data_config(pretrained_cfg=self.model.pretrained_cfg) | {"input_size": self.image_shape}
        check_mean(config["mean"], channels, "save_pretrained(model, folder, data_config={'mean': …, 'std': …})")
        unchanged = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
        prepare: Compose = create_transform(**config)
        resizing = [repr(step) for step in prepare.transforms if hasattr(step, "size")]
        return Preprocessing(channels, prepare, create_transform(**config | unchanged), ", ".join(resizing))

    def normalization(self) -> nn.Module:
        config = resolve_input_data_config(self.model)
        return normalization(config["mean"], config["std"])

    # --- where it is from, and how it is built again ---

    @property
    def architecture(self) -> str:
        return str(self.model.pretrained_cfg["architecture"])

    @property
    def plain_architecture(self) -> str:
        return self.model.recipe.architecture if self.tasks else self.architecture

    def norm_style(self) -> NormStyle:
        options = self.model.recipe.options
        return NormStyle(options.style, options.keep_affine, options.gate_init, self.model.recipe.gated)

    @property
    def _model_args(self) -> Mapping[str, Any]:
        return getattr(self.model, "_model_args", {})

    def build_args(self) -> dict[str, Any]:
        of_tasks = {*self.model.recipe.model_args(), *OF_TASKS}
        return {name: value for name, value in self._model_args.items() if name not in of_tasks}

    def own_code(self, task: str | None = None) -> list[str]:
        return own_code_of(self.model, self.plain_architecture) if task is None else []

    def origin(self) -> tuple[str | None, str | None]:
        source = self.model.pretrained_cfg.get("source")
        if source == "hf-hub":
            return split_revision(self.model.pretrained_cfg["hf_hub_id"])
        return (str(self.model.pretrained_cfg["file"]) if source == "local-dir" else None), None

    def note_origin(self, repo: str, commit: str | None) -> None:
        config = {key: value for key, value in self.model.pretrained_cfg.items() if key != "file"}
        self.model.pretrained_cfg = config | {"source": "hf-hub", "hf_hub_id": with_revision(repo, commit)}

    def save(self, folder: Path, data_config: Mapping[str, object] | None, max_shard_size: int | str) -> None:
        """As `Surface.save` says. The weights are in one file whatever the size, for timm reads no other."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors, seen = {}, set()
        for name, tensor in self.model.state_dict().items():
            # safetensors refuses memory that two names share.
            shared = tensor.untyped_storage().data_ptr() in seen and tensor.numel()
            seen.add(tensor.untyped_storage().data_ptr())
            tensors[name] = tensor.detach().contiguous().clone() if shared else tensor.detach().contiguous()
        write_atomically(
            {
                folder / CONFIG: lambda path: self._save_config(path, data_config),
                folder / WEIGHTS: lambda path: self._save_weights(path, tensors),
            }
        )
        remove_older_weights(folder, {WEIGHTS})

    def _save_weights(self, path: Path, tensors: dict[str, Tensor]) -> None:
        save_file(tensors, path, metadata={"format": "pt"})
        note_tasks_of_weights(path, self.tasks)

    def _save_config(self, path: Path, data_config: Mapping[str, object] | None) -> None:
        model_args = self.model.recipe.model_args() if self.tasks else self._args_of_a_fold()
        labels = (
            labels_of(self.model) if not self.tasks else self.model.task_labels[0] if len(self.tasks) == 1 else None
        )
        save_config_for_hf(
            self.model,
            str(path),
            model_config={"label_names": labels},
            model_args=model_args,
            data_config=None if data_config is None else dict(data_config),
        )
        config = json.loads(path.read_text(encoding="utf-8"))
        # timm takes the number of classes from the config itself; transformers' TimmWrapper passes it, and would pass
        # it twice. How a model was run is no part of it.
        for name in ("num_classes", "execution"):
            config.get("model_args", {}).pop(name, None)
        if imports := imports_of_checkpoint(self.own_code()):
            config["imports"] = imports
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def _args_of_a_fold(self) -> dict[str, Any]:
        """What a folded model needs beside its keywords, to be built as it is where timm loads weights."""
        if "folded_task" not in vars(self.model):
            return {}

        def build(**kwargs: Any) -> nn.Module:
            with without_loading(self.architecture):
                return timm.create_model(self.architecture, pretrained=True, **{**self._model_args, **kwargs})

        return eps_args(self.model, build)

    def usage(self, name: str, revision: str | None) -> str:
        return usage(self, with_revision(name, revision))

    @staticmethod
    def usage_for_task(images: str, task: str) -> str:
        return f"model({images}, task={task})"

    # --- models that are not there yet ---

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether this is meant as a name of timm's, with task norms or "hf-hub:" or "local-dir:"."""
        return name.partition(".")[0].endswith(SUFFIX) or ":" in name

    @classmethod
    def build(cls, new: NewModel) -> nn.Module:
        check_name(new.name)
        channels = new.image_shape[0]
        model: nn.Module = timm.create_model(
            new.name,
            pretrained=new.pretrained,
            num_classes={task.name: task.num_classes for task in new.tasks},
            task_labels=[task.labels for task in new.tasks],
            norm=new.norm,
            **{"in_chans": channels, **new.model_args},
        )
        # The images of the data are what the checkpoint is for: as large as they are, normalised as it begins.
        statistics: dict[str, object] = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
        if new.pretrained:
            config = resolve_input_data_config(model)
            statistics = {key: config[key] for key in statistics}
        if new.image_fit is not None:
            statistics["crop_mode"] = {"stretch": "squash", "crop": "center"}[new.image_fit]
            statistics["interpolation"] = "bicubic"
        of_others = () if new.pretrained else _OF_PUBLISHED_WEIGHTS
        kept = {
            key: value
            for key, value in dict(model.pretrained_cfg).items()  # type: ignore[arg-type]
            if not key.startswith("test_") and key not in of_others
        }
        model.pretrained_cfg = {**kept, "input_size": new.image_shape, "crop_pct": 1.0, **statistics}  # type: ignore[assignment]
        return model

    @classmethod
    def load(cls, folder: Path, config: dict[str, Any], shapes: Shapes, **kwargs: Any) -> nn.Module:
        architecture = config.get("architecture")
        if not isinstance(architecture, str) or not timm.is_model(architecture):
            base = str(architecture).removesuffix(SUFFIX)
            way_out = f" Call tsbn_hub.register({base!r}) first." if timm.is_model(base) else ""
            raise CheckpointError(
                f"{folder / CONFIG} names the architecture {architecture!r}, which timm does not know.{way_out}"
            )
        if not (folder / WEIGHTS).is_file():
            raise CheckpointError(
                f"{folder} has no {WEIGHTS}, and timm reads no other safetensors. Save it in one file."
            )
        name = f"local-dir:{folder}"
        sketch: Any = check_size(folder, shapes, lambda: timm.create_model(name, pretrained=False, **kwargs))
        said = sketch.pretrained_cfg.get("num_classes")
        if getattr(sketch, "num_classes", said) != said and not kwargs.keys() & {"num_classes", "task_classes"}:
            raise CheckpointError(
                f"{folder / CONFIG} says num_classes={said}, and its model_args make a model of {sketch.num_classes}: "
                "timm would leave out the classifiers' weights."
            )
        return built(folder, lambda: timm.create_model(name, pretrained=True, **kwargs))

    @classmethod
    def is_of_this_package(cls, config: Mapping[str, object]) -> bool:
        return str(config.get("architecture")).endswith(SUFFIX)

    @classmethod
    def load_plain(
        cls, folder: Path, shapes: Shapes, task: str, style: NormStyle, model_args: Mapping[str, object]
    ) -> nn.Module:
        def build(pretrained: bool) -> nn.Module:
            pretrained_cfg, architecture, own_args = load_model_config_from_path(folder)
            args = {**own_args, **model_args}
            model: nn.Module = timm.models.model_entrypoint(architecture + SUFFIX)(
                pretrained=pretrained,
                pretrained_cfg=pretrained_cfg,
                pretrained_cfg_overlay=None,
                tasks=[task],
                num_classes=1,
                **asdict(style),
                **args,
            )
            update_model_args(
                model, **args
            )  # timm.create_model does this; it would read a file of checkpoint_path, too
            return model

        check_size(folder, shapes, lambda: build(pretrained=False))
        return built(folder, lambda: build(pretrained=True))


class OutputOfRow(nn.Module):
    """See `Surface.output_of_row`."""

    def __init__(self, model: TimmTaskModel) -> None:
        super().__init__()
        if len(set(model.task_classes)) > 1:
            sizes = dict(zip(model.tasks, model.task_classes, strict=True))
            raise ValueError(f"The tasks have different numbers of classes, {sizes}.")
        self.model = model

    def forward(self, images: Tensor, row: Tensor) -> Tensor:
        output: Tensor = self.model(images, task=row)
        return output


def check_name(model: str) -> None:
    """Refuse a name, in a run's config, that is none of ours in timm.

    Raises:
        ValueError: if it is none; it names those that are near.
    """
    name = model.partition(".")[0]  # without the tag of the pretrained weights
    if ":" not in name and not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(f"*{SUFFIX}"))
        raise ValueError(f"model={model!r} is none of timm's names with {SUFFIX}.{f' Near: {near}.' if near else ''}")
