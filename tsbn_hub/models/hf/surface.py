"""A model of transformers, as the rest of the package sees it."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import timm
import transformers
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    BaseImageProcessor,
    BitImageProcessor,
    PreTrainedModel,
    TimmWrapperPreTrainedModel,
)
from transformers.utils import logging

from ...files.atomic import move_all, new_file_mode
from ...files.checkpoints import CheckpointError, Shapes, note_tasks_of_weights, remove_older_weights
from ...files.names import CONFIG, WEIGHTS
from ...files.own_code import origins_of
from ...norms.convert import open_norms
from ...tasks import Kind, Task, make_kind
from ..heads.stacked import StackedHeads
from ..own_code import own_code_of
from ..preprocessing import Preprocessing, check_channels, check_mean, normalization
from ..sketching import built, check_size
from ..surface import ImageShape, NewModel, NormStyle, Surface
from ..timm.names import SUFFIX
from ..timm.surface import TimmSurface, check_name
from .architectures import classification_class_of
from .config import TASK_NORMS, TsbnConfig
from .features import image_shape_of
from .model import TsbnPreTrainedModel
from .multi_task import TsbnForMultiTask
from .usage import usage
from .with_heads import ModelWithHeads


class TransformersSurface(Surface):
    """A model of transformers: with heads, a backbone alone, or a plain one."""

    library = "transformers"
    model: PreTrainedModel

    # --- tasks and heads ---

    @property
    def has_heads(self) -> bool:
        return isinstance(self.model, ModelWithHeads)

    def kinds(self) -> dict[str, Kind]:
        if not self.has_heads:
            raise ValueError(
                f"{type(self.model).__name__} has no heads for tasks. Known are timm's models and TsbnForMultiTask."
            )
        return dict(self.model.kinds)

    def described(self, task: str) -> Task:
        described: Task = self.model.config.tasks[self.model.task_selector.row(task)]
        return described

    def describe_anew(self, task: Task) -> None:
        row, kind = self.model.task_selector.row(task.name), make_kind(task)
        self.model.config.tasks[row], self.model.kinds[task.name] = task, kind

    def objection_to(self, task: Task) -> str | None:
        objection: str | None = self.model.trunk.objection_to_tasks()
        return objection

    def add_task(self, task: Task, like: str | None = None) -> None:
        self.model.add_task(task, like=like)

    def head_state(self, task: str) -> dict[str, Tensor]:
        return dict(self.model.head(task).state_dict())

    def new_head_state(self, task: Task) -> dict[str, Tensor]:
        head = self.model.new_head(task, make_kind(task)).to(dtype=next(self.model.parameters()).dtype)
        return dict(head.state_dict())

    def head_parameters(self, task: str) -> list[Tensor]:
        return list(self.model.head(task).parameters())

    def output_of_row(self) -> nn.Module:
        return OutputOfRow(self.model)

    def keeps_head(self, fold: nn.Module) -> bool:
        return isinstance(fold, PreTrainedModel) and type(fold) is classification_class_of(fold.config)

    # --- the trunk ---

    @property
    def can_part_with_tasks(self) -> bool:
        return bool(self.tasks) and self.has_heads and self.method is None

    def names_outside_fingerprint(self) -> set[str]:
        # A checkpoint may lack what no head is reached by, and then it is another one each time.
        idle = {id(parameter) for parameter in self.model.trunk.idle_parameters()}
        return {name for name, parameter in self.trunk.named_parameters() if id(parameter) in idle}

    def make_norms_task_specific(self, style: NormStyle) -> None:
        open_norms(self.model, self.trunk.get_submodule("backbone"), style.options, style.gated)
        config = self.model.config
        config.norm, config.keep_affine = style.norm, style.keep_affine
        config.gate_init, config.gated = style.gate_init, style.gated

    # --- images ---

    @property
    def _image_processor(self) -> Any:
        return getattr(self.model, "image_processor", None)

    @property
    def image_shape(self) -> ImageShape:
        """As `Surface` says. Where the model came without an image processor, the backbone's configuration tells."""
        channels, height, width = image_shape_of(self._backbone_config)
        if self._image_processor is None or channels not in (1, 3):
            return channels, height, width
        side = 2 * max(height, width)
        image = Image.new("RGB" if channels == 3 else "L", (side, side))
        _, height, width = self.preprocessing().prepare(image).shape
        return channels, height, width

    def preprocessing(self) -> Preprocessing:
        channels, *_ = image_shape_of(self._backbone_config)
        check_channels(channels)
        processor = self._image_processor
        if processor is None:
            raise ValueError(
                "The checkpoint does not say how its images are prepared: it has no preprocessor_config.json. Set "
                "model.image_processor to the image processor that the model was trained with, and save it anew."
            )
        if processor.do_normalize:
            check_mean(processor.image_mean, channels, "an image processor whose image_mean and image_std fit")

        prepare = partial(_prepared, processor)  # a partial of a module's function reaches other processes
        show = partial(prepare, do_rescale=True, do_normalize=False)
        return Preprocessing(channels, prepare, show, _resizing(processor))

    def normalization(self) -> nn.Module:
        processor = self._image_processor
        if processor is None or not processor.do_normalize:
            return nn.Identity()
        return normalization(processor.image_mean, processor.image_std)

    # --- where it is from, and how it is built again ---

    @property
    def _backbone_config(self) -> Any:
        """The native configuration."""
        return getattr(self.model.config, "backbone_config", None) or self.model.config

    @property
    def architecture(self) -> str:
        return str(getattr(self._backbone_config, "architecture", self._backbone_config.model_type))

    @property
    def plain_architecture(self) -> str:
        config = self._backbone_config
        return f"timm/{config.architecture}" if config.model_type == "timm_wrapper" else str(config.model_type)

    @property
    def method(self) -> str | None:
        trunk = getattr(self.model.config, "trunk", TASK_NORMS)
        return None if trunk == TASK_NORMS else trunk

    def norm_style(self) -> NormStyle:
        config = self.model.config
        return NormStyle(config.norm, config.keep_affine, config.gate_init, config.gated)

    def build_args(self) -> dict[str, Any]:
        return {}  # the configuration has all

    def own_code(self, task: str | None = None) -> list[str]:
        if task is not None:
            return origins_of(self.model.registered_parts_of(task))
        return own_code_of(self.model, self.architecture, self.model.registered_parts() if self.tasks else [])

    def origin(self) -> tuple[str | None, str | None]:
        config = self.model.config if self.model.config.name_or_path else self._backbone_config
        if not config.name_or_path:
            return None, None
        return config.name_or_path, getattr(config, "_commit_hash", None)

    def note_origin(self, repo: str, commit: str | None) -> None:
        self.model.config.name_or_path = repo
        self.model.config._commit_hash = commit

    def save(self, folder: Path, data_config: Mapping[str, object] | None, max_shard_size: int | str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{WEIGHTS}.") as unfinished, without_progress_bars():
            try:
                self.model.save_pretrained(unfinished, max_shard_size=max_shard_size, **self._names_of_timm())
                if self._image_processor is not None and not isinstance(self.model, TsbnPreTrainedModel):
                    self._image_processor.save_pretrained(unfinished)  # a plain model does not save it by itself
            except SafetensorError as error:  # what it makes of a full disk
                raise OSError(f"{folder} could not be written, what was there is kept: {error}") from error
            for path in Path(unfinished).glob("*.safetensors"):
                note_tasks_of_weights(path, self.tasks)
            written = {folder / path.name: path for path in Path(unfinished).iterdir()}
            for path in written.values():
                path.chmod(new_file_mode())  # safetensors makes the weights the owner's alone
            move_all(written)
            remove_older_weights(folder, {path.name for path in written})

    def _names_of_timm(self) -> dict[str, object]:
        """For a plain model of timm's: its weights under the names that both libraries load."""
        if self.tasks or not isinstance(self.model, TimmWrapperPreTrainedModel):
            return {}
        prefix = f"{self.model.base_model_prefix}."
        return {"state_dict": {name.removeprefix(prefix): tensor for name, tensor in self.model.state_dict().items()}}

    def usage(self, name: str, revision: str | None) -> str:
        return usage(self, self.model, name, revision)

    @staticmethod
    def usage_for_task(images: str, task: str) -> str:
        return f"model({images}, task={task}).logits[{task}]"

    # --- models that are not there yet ---

    @classmethod
    def build(cls, new: NewModel) -> nn.Module:
        name, model_args = new.name, dict(new.model_args)
        if TimmSurface.is_name(name):
            check_name(name)
        else:
            _check_name(name)
        architecture, dot, tag = name.partition(".")
        if architecture.endswith(SUFFIX):
            name = f"timm/{architecture.removesuffix(SUFFIX)}{dot}{tag}"
        channels, height, width = new.image_shape
        if not new.pretrained:
            model_args.setdefault("in_chans" if name.startswith("timm/") else "num_channels", channels)
        model = TsbnForMultiTask.from_backbone(
            name,
            new.tasks,
            pretrained=new.pretrained,
            norm=new.norm,
            trunk=new.trunk or TASK_NORMS,
            trunk_args=new.trunk_args,
            **model_args,
        )
        processor = model.image_processor
        if new.pretrained and processor is not None and processor.do_normalize:
            normalized = {"do_normalize": True, "image_mean": processor.image_mean, "image_std": processor.image_std}
        else:
            normalized = {"do_normalize": False}
        size, crops = {"height": height, "width": width}, new.image_fit == "crop"
        model.image_processor = BitImageProcessor(
            size={"shortest_edge": min(height, width)} if crops else size,
            do_center_crop=crops,
            crop_size=size,
            **normalized,
        )
        return model

    @classmethod
    def load(cls, folder: Path, config: dict[str, Any], shapes: Shapes, **kwargs: Any) -> nn.Module:
        """One of our models, or a folded one: the class that the config names."""
        if cls.is_of_this_package(config) and not config.get("feature_layout"):
            # Without it, a model runs when it is built, on images of whatever size the config names.
            raise CheckpointError(f"{folder / CONFIG} has no feature_layout, and every model that was saved has one.")
        model_class = _class_named_by(config.get("architectures"), folder)
        with without_progress_bars():
            check_size(folder, shapes, lambda: model_class(model_class.config_class.from_pretrained(folder)))
            return built(folder, lambda: model_class.from_pretrained(folder, **{**kwargs, "use_safetensors": True}))

    @classmethod
    def is_of_this_package(cls, config: Mapping[str, object]) -> bool:
        return config["model_type"] == TsbnConfig.model_type

    @classmethod
    def load_plain(
        cls, folder: Path, shapes: Shapes, task: str, style: NormStyle, model_args: Mapping[str, object]
    ) -> nn.Module:
        def on_backbone(pretrained: bool) -> nn.Module:
            tasks = [Task(task, num_classes=1)]
            return TsbnForMultiTask.from_backbone(
                folder, tasks, pretrained=pretrained, trust_remote_code=False, **asdict(style)
            )

        with without_progress_bars():
            check_size(folder, shapes, lambda: on_backbone(pretrained=False))
            return built(folder, lambda: on_backbone(pretrained=True))


class OutputOfRow(nn.Module):
    """See `Surface.output_of_row`."""

    def __init__(self, model: ModelWithHeads) -> None:
        super().__init__()
        if (objection := model.trunk.objection_to_tasks()) is not None:
            raise ValueError(f"No task can be chosen by a number: {objection}.")
        self.trunk, self.heads = model.trunk, StackedHeads({task: model.head(task) for task in model.tasks})
        self.maps = any(kind.dense for kind in model.kinds.values())

    def forward(self, images: Tensor, row: Tensor) -> Tensor:
        features = self.trunk.features(images, task=row, maps=self.maps)
        output: Tensor = self.heads(row, features, (images.shape[-2], images.shape[-1]))
        return output


def _prepared(processor: Callable[..., Mapping[str, Tensor]], image: Image.Image, **options: bool) -> Tensor:
    return processor(image, return_tensors="pt", do_convert_rgb=False, **options)["pixel_values"][0]


def _resizing(processor: BaseImageProcessor) -> str:
    said = processor.to_dict()
    steps = {
        "do_resize": ("size", "resample"),
        "do_center_crop": ("crop_size",),
        "do_pad": ("pad_size", "size_divisor"),
    }
    names = [name for switch, keys in steps.items() if said.get(switch) for name in keys]
    return ", ".join(f"{name}={said[name]}" for name in names if said.get(name) is not None)


def _class_named_by(names: object, folder: Path) -> type[PreTrainedModel]:
    from .. import hf

    known = [
        getattr(home, name)
        for name in (names if isinstance(names, list) else [])
        for home in (hf, transformers)
        if isinstance(name, str) and hasattr(home, name)
    ]
    classes = [known_class for known_class in known if isinstance(known_class, type)]
    models = [known_class for known_class in classes if issubclass(known_class, PreTrainedModel)]
    if not models:
        raise CheckpointError(
            f"{folder / CONFIG} names the architectures {names}, which transformers does not know as models."
        )
    return models[0]


def _check_name(model: str) -> None:
    if "/" not in model and model not in CONFIG_MAPPING and not Path(model).is_dir():
        near = get_close_matches(model + SUFFIX, timm.list_models(f"*{SUFFIX}"))
        raise ValueError(
            f"model={model!r} is none of timm's names with {SUFFIX}, no model type of transformers, no repo (org/name) "
            f"and no folder.{f' Near: {near}.' if near else ''}"
        )


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Within the block, transformers shows no bar for each file."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
