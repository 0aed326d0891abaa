"""What a model is to the rest of the package, whichever library it is of."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from ..files.checkpoints import Shapes
from ..norms import TaskModule, TaskNorm
from ..norms.gating import Patterns
from ..norms.task_norm import NormOptions, Style
from ..tasks import Kind, Task
from .preprocessing import Preprocessing

ImageShape = tuple[int, int, int]
"""Channels, height and width."""


@dataclass(frozen=True)
class NormStyle:
    """How the norms of a model are task-specific.

    Args:
        norm: "sigmoid" (TSσBN), "affine" (TSBN), "statistics" (of BatchNorms) or "shared" (hard sharing).
        keep_affine: Whether the shared weight and bias stay beside the gates.
        gate_init: A gate's value at the start, from 0.001 to 0.999.
        gated: Which norms, as the user said it; None: the default.
    """

    norm: str
    keep_affine: bool
    gate_init: float
    gated: Patterns

    @property
    def options(self) -> NormOptions:
        """What a task norm of this style keeps.

        Raises:
            ValueError: if the style is unknown, or gates cannot start there.
        """
        return NormOptions(cast(Style, self.norm), self.keep_affine, self.gate_init)


@dataclass(frozen=True)
class NewModel:
    """What a model is to be built of.

    Args:
        name: As a run's config has it: a name of timm with `_tsbn`; or `timm/…`, a repo, a folder or a model type.
        tasks: The tasks, in order.
        image_shape: Of the images of the data.
        pretrained: Start from pretrained weights, whose normalisation of images is kept.
        norm: The style of the norms.
        model_args: Further keywords of the backbone.
        trunk: The name of a trunk; None: one of task norms.
        trunk_args: Further keywords of the trunk.
        image_fit: How images of other sizes become those of the data: "stretch", "crop" (their middle), or None: as the
            library does it.
    """

    name: str
    tasks: Sequence[Task]
    image_shape: ImageShape
    pretrained: bool
    norm: Style
    model_args: Mapping[str, Any]
    trunk: str | None = None
    trunk_args: Mapping[str, object] | None = None
    image_fit: str | None = None


class Surface(ABC):
    """One model, as everything that is not of its library sees it. `surface_of` gives it.

    There is a subclass for timm and one for transformers. Plain models, as `fold` gives them, have surfaces, too: they
    have no tasks, and at most one head.

    Args:
        model: The model. It is not copied: what changes it changes this.

    Attributes:
        library: "timm" or "transformers".
    """

    library: ClassVar[str]

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    # --- tasks and heads ---

    @property
    def tasks(self) -> list[str]:
        """The names of its tasks, in order; none of a plain model."""
        return self.model.tasks if isinstance(self.model, TaskModule) else []

    @property
    @abstractmethod
    def has_heads(self) -> bool:
        """Whether it gives what tasks ask for, and not only features."""

    @abstractmethod
    def kinds(self) -> dict[str, Kind]:
        """The kind of each task, in order. A plain model with a classifier has one task, "default".

        Raises:
            ValueError: if the model has no heads.
        """

    @abstractmethod
    def described(self, task: str) -> Task:
        """What a task is.

        Raises:
            ValueError: if there is no such task.
        """

    @abstractmethod
    def describe_anew(self, task: Task) -> None:
        """Let a task be described by other keywords of its kind, in place: how it is trained, or decided.

        Args:
            task: Of this name, and else as before.

        Raises:
            ValueError: if there is no such task, or its kind does not take the keywords.
        """

    @abstractmethod
    def objection_to(self, task: Task) -> str | None:
        """Why a task cannot be added, whatever its name, in words; None: it can."""

    @abstractmethod
    def add_task(self, task: Task, like: str | None = None) -> None:
        """Add a task at the end, in place. See `TaskModule.add_task`.

        Args:
            task: To which there is no objection.
            like: An existing task whose gates and statistics it starts from; None starts fresh.

        Raises:
            ValueError: if the name is taken.
        """

    @abstractmethod
    def head_state(self, task: str) -> dict[str, Tensor]:
        """The tensors of a task's head, under names that do not hold the task's. They share the model's memory."""

    @abstractmethod
    def new_head_state(self, task: Task) -> dict[str, Tensor]:
        """The tensors that the head of a task would have here, freshly initialised.

        Raises:
            ValueError: if there is no such kind or head, or it does not take what the task says.
        """

    @abstractmethod
    def head_parameters(self, task: str) -> list[Tensor]:
        """Those of the head's tensors that are trained."""

    @abstractmethod
    def output_of_row(self) -> nn.Module:
        """A module that takes images (B, C, H, W) and the row of a task, and gives that task's output.

        The row is a tensor, int64 without dimensions: one graph is for all tasks. The module shares memory with the
        model.

        Raises:
            ValueError: if what the tasks ask for differs in shape, or the model cannot run so.
        """

    @abstractmethod
    def keeps_head(self, fold: nn.Module) -> bool:
        """Whether what `fold` gave for a task gives that task's output, and not only features."""

    # --- the trunk ---

    @property
    def trunk(self) -> nn.Module:
        """The part that the tasks share, but for what their norms keep for each."""
        return self.model.trunk if isinstance(self.model, TaskModule) else self.model

    def task_norms(self) -> dict[str, TaskNorm]:
        """The task norms, by their names in the trunk."""
        return {name: module for name, module in self.trunk.named_modules() if isinstance(module, TaskNorm)}

    @abstractmethod
    def make_norms_task_specific(self, style: NormStyle) -> None:
        """Give the norms of a model whose tasks share all something for each task, in place. Its function stays.

        Args:
            style: With the affine kept, for the function would change without.

        Raises:
            ValueError: if it has task norms already, or a pattern of `gated` matches nothing.
        """

    @property
    def can_part_with_tasks(self) -> bool:
        """Whether a task can be taken out as an adapter, and added to another model: gates, statistics and head."""
        return bool(self.tasks)

    @abstractmethod
    def names_outside_fingerprint(self) -> set[str]:
        """Names in the trunk's state dict, besides those of task norms, whose values no task's output hangs on."""

    # --- images ---

    @property
    @abstractmethod
    def image_shape(self) -> ImageShape:
        """Channels, height and width of the images that it is for: as its preprocessing gives them, of square ones."""

    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that its checkpoint has.

        Raises:
            ValueError: if the checkpoint says none, or one that does not fit the model, or its images are neither grey
                nor RGB.
        """

    @abstractmethod
    def normalization(self) -> nn.Module:
        """How its checkpoint shifts and scales images (…, C, H, W) whose values are from 0 to 1."""

    # --- where it is from, and how it is built again ---

    @property
    @abstractmethod
    def architecture(self) -> str:
        """What its library builds it as: "resnet50_tsbn", "swin"."""

    @property
    @abstractmethod
    def plain_architecture(self) -> str:
        """The name of its plain backbone: "resnet50", "swin", "timm/resnet50" in a model of transformers."""

    @property
    def method(self) -> str | None:
        """The registered trunk by which its tasks share the network; None: by task norms."""
        return None

    @abstractmethod
    def norm_style(self) -> NormStyle:
        """How the norms of a model with tasks are task-specific."""

    @abstractmethod
    def build_args(self) -> dict[str, Any]:
        """The further keywords that a plain backbone must be built with by its name, for it to be this one's."""

    @abstractmethod
    def own_code(self, task: str | None = None) -> list[str]:
        """The files and modules outside this package that must be imported before it can be built again.

        Args:
            task: Those of a task's kind and head alone.
        """

    @abstractmethod
    def origin(self) -> tuple[str | None, str | None]:
        """The repo, or the folder, that it was loaded from, and the revision, as its library notes it."""

    @abstractmethod
    def note_origin(self, repo: str, commit: str | None) -> None:
        """Write down where the model is from, as its library does. That saw a folder of the cache."""

    @abstractmethod
    def save(self, folder: Path, data_config: Mapping[str, object] | None, max_shard_size: int | str) -> None:
        """Save it as config.json and weights, whole or not at all. See `tsbn_hub.save_pretrained`."""

    @abstractmethod
    def usage(self, name: str, revision: str | None) -> str:
        """Python that loads and calls the model, and runs as it stands.

        Args:
            name: A repo, "org/name", or a folder beside which the code runs.
            revision: The branch of the repo; None: the main one.
        """

    @staticmethod
    @abstractmethod
    def usage_for_task(images: str, task: str) -> str:
        """The Python expression of a model's output for a task.

        Args:
            images: An expression.
            task: An expression.
        """

    # --- models of the library that are not there yet ---

    @classmethod
    @abstractmethod
    def build(cls, new: NewModel) -> nn.Module:
        """A new model, and images as the data have them are what it is for.

        Raises:
            ValueError: if the name is unknown, or the library cannot build such a model.
            TypeError: if it does not take a keyword.
            OSError: if there is no such repo or folder.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, config: dict[str, Any], shapes: Shapes, **kwargs: Any) -> nn.Module:
        """The model of a folder that may come from anybody. See `tsbn_hub.from_pretrained`.

        Args:
            folder: The folder.
            config: What its config.json says.
            shapes: Of its weights.
            **kwargs: Further keywords of the library.

        Raises:
            CheckpointError: if it cannot be loaded.
        """

    @classmethod
    @abstractmethod
    def is_of_this_package(cls, config: Mapping[str, object]) -> bool:
        """Whether a config.json is of a model with task norms."""

    @classmethod
    @abstractmethod
    def load_plain(
        cls, folder: Path, shapes: Shapes, task: str, style: NormStyle, model_args: Mapping[str, object]
    ) -> nn.Module:
        """The plain model of a folder, with task norms, for one task.

        Args:
            folder: The folder.
            shapes: Of its weights.
            task: The name of the task.
            style: Of the norms.
            model_args: Further keywords of the backbone.

        Raises:
            CheckpointError: if it cannot be loaded.
        """
