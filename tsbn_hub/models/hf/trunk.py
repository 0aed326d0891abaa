"""What heads stand on, and the trunks by their names."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from ...files.registry import Registry, check_keywords
from ...norms import TaskModule
from ...norms.task_module import Tasks
from ..heads import Features
from .config import TsbnConfig
from .features import FeatureLayout, feature_layout


class Trunk(TaskModule, ABC):
    """A network that gives each of its tasks features, for heads to stand on.

    A new one is a subclass with `@register_trunk("its name")`, made of a `TsbnConfig` and the keywords of
    `trunk_args`: configs and runs can name it once the file is imported, and `TsbnForMultiTask` trains, saves and loads
    it with heads, losses and labels.

    Its constructor sets `layout` to `feature_layout_of(config)`, and `task_selector` to a `TaskSelector` of the
    config's tasks. `_features` asks `self.task_selector.current()` which task it runs for. A module of it that is to
    learn faster than the rest has an attribute `lr_scale`: see `param_groups`.

    Attributes:
        layout: The sizes of the features.
        folds: Whether a task's plain backbone can be taken out: then `_fold` gives it.
        changes_tasks: Whether tasks can be added and removed.
    """

    layout: FeatureLayout
    folds: ClassVar[bool] = False
    changes_tasks: ClassVar[bool] = False

    @abstractmethod
    def _features(self, pixel_values: Tensor, maps: bool, **kwargs: object) -> Features:
        """The features of a batch, for the tasks that are selected.

        Args:
            pixel_values: (B, C, H, W).
            maps: False: the pooled vector alone is asked for.
            **kwargs: Of the native backbone.
        """

    @abstractmethod
    def backbones(self) -> list[PreTrainedModel]:
        """The native networks in it: at least one."""

    @abstractmethod
    def load_plain(self, plain: PreTrainedModel, keep_affine: bool | None) -> None:
        """Take over the weights of a plain backbone, for every task.

        Args:
            plain: Of the config's architecture.
            keep_affine: What the user asked for; None: nothing.

        Raises:
            ValueError: if it does not fit the config.
        """

    def features(
        self, pixel_values: Tensor, task: Tasks | None = None, maps: bool = True, **kwargs: object
    ) -> Features | dict[str, Features]:
        """What heads get: feature maps, from fine to coarse, and the pooled vector.

        Args:
            pixel_values: (B, C, H, W).
            task: As `TaskModule` says.
            maps: False: the pooled vector alone, for heads that take no map.
            **kwargs: Of the backbone.

        Returns:
            `Features`, or, with several tasks and none set, a dict of them by task.
        """
        features: Features | dict[str, Features] = self._forward(
            type(self)._features, pixel_values, task=task, maps=maps, **kwargs
        )
        return features

    def _fold(self, row: int) -> PreTrainedModel:
        raise RuntimeError(f"{type(self).__name__} has no plain backbone of a single task that could be folded out.")

    def objection_to_tasks(self) -> str | None:
        """Why no task can be added or removed, in words; None: it can."""
        if self.changes_tasks:
            return None
        return f"a {type(self).__name__} is built for its tasks, {self.tasks}. Build a new model with those you want"

    def idle_parameters(self) -> list[nn.Parameter]:
        """Those that no head is reached by."""
        return []


def feature_layout_of(config: TsbnConfig) -> FeatureLayout:
    """The layout of a config's backbone. A config that does not have it notes it."""
    if config.feature_layout is None:
        config.feature_layout = asdict(feature_layout(config.backbone_config))
    return FeatureLayout(**config.feature_layout)


trunks: Registry[type[Trunk]] = Registry("trunk", filled_by="tsbn_hub.baselines")
register_trunk = trunks.register
"""A decorator of subclasses of `Trunk`: configs can name the trunk from then on."""


def make_trunk(config: TsbnConfig) -> Trunk:
    """The trunk that a config names, freshly initialised.

    Raises:
        UnknownNameError: if there is no such trunk.
        ValueError: if it does not take the config's `trunk_args`.
    """
    trunk_class = trunks[config.trunk]
    try:
        check_keywords(trunk_class, config.trunk_args, own=[config])
    except TypeError as error:
        raise ValueError(f"The trunk {config.trunk!r} cannot take trunk_args={config.trunk_args}: {error}.") from error
    return trunk_class(config, **config.trunk_args)
