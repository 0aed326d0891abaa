"""The configuration of a multi-task model of transformers."""

from collections.abc import Mapping, Sequence, Set
from copy import deepcopy
from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, TimmWrapperConfig, ViTConfig
from transformers.backbone_utils import BackboneConfigMixin

from ...files.checkpoints import check_values
from ...norms.gating import Patterns
from ...norms.task_names import check_same_tasks, check_task_names
from ...norms.task_norm import NormOptions, Style, check_same_affine
from ...tasks import Task
from ..timm.names import SUFFIX

TASK_NORMS = "tsbn"
"""The trunk of task norms."""


class TsbnConfig(BackboneConfigMixin, PreTrainedConfig):
    """What a multi-task model is made of: a backbone's own configuration, the tasks in order, and what is gated.

    Args:
        backbone_config: The native configuration of the backbone, or its dict; None: a ViT's.
        tasks: The tasks, or their names, or their dicts, in the order of the gates' rows; None: one, "default".
        norm: "sigmoid" (TSσBN), "affine" (TSBN), "statistics" (of BatchNorms) or "shared" (hard sharing).
        gated: Which norms are task-specific, as fnmatch patterns; None: every BatchNorm, and of the other norms those
            of the blocks; "last 25%": of these the last quarter.
        keep_affine: Keep the backbone's own weight and bias beside the gates.
        gate_init: A gate's value at the start, from 0.001 to 0.999.
        feature_layout: Which feature maps the backbone gives (see `FeatureLayout`); None: the model finds out.
        out_features: Which of these `TsbnBackbone` returns: "stage1", "stage2", …; None: the last.
        out_indices: The same, as indices.
        trunk: How the tasks share the network: "tsbn", by task norms; or another trunk that is registered.
        trunk_args: Further keywords of the trunk.
        imports: The files and modules that have registered the kinds, heads and others of the saved model, outside
            this package; None: there are none.

    Raises:
        ValueError: if a value is not allowed.
        TypeError: if the tasks are one string.

    Example:
        >>> from tsbn_hub import Task, TsbnConfig
        >>> from transformers import SwinConfig
        >>> tasks = [Task("seg", "segmentation", labels=["floor", "wall"]), Task("depth", "depth")]
        >>> TsbnConfig(SwinConfig(), tasks).task_names
        ['seg', 'depth']
    """

    model_type = "tsbn"
    keys_to_ignore_at_inference: ClassVar = ["losses"]  # transformers' Trainer gathers outputs, but for these
    sub_configs: ClassVar = {"backbone_config": AutoConfig}

    def __init__(
        self,
        backbone_config: PreTrainedConfig | Mapping[str, object] | None = None,
        tasks: Sequence[Task | Mapping[str, object] | str] | None = None,
        norm: Style = "sigmoid",
        gated: Patterns = None,
        keep_affine: bool = True,
        gate_init: float = 0.5,
        feature_layout: Mapping[str, Any] | None = None,
        out_features: list[str] | None = None,
        out_indices: list[int] | None = None,
        trunk: str = TASK_NORMS,
        trunk_args: Mapping[str, object] | None = None,
        imports: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone_config = native_config(backbone_config)
        if isinstance(tasks, str | Set):
            check_task_names(tasks)  # raises
        self.tasks = [_task(each) for each in (("default",) if tasks is None else tasks)]
        check_task_names(self.task_names)
        NormOptions(norm, keep_affine, gate_init)  # raises
        self.norm, self.keep_affine, self.gate_init = norm, keep_affine, gate_init
        self.gated = gated if gated is None or isinstance(gated, str) else list(gated)
        self.feature_layout = None if feature_layout is None else dict(feature_layout)
        self.trunk, self.trunk_args = trunk, dict(trunk_args or {})
        self.imports = list(imports or [])
        self.stage_names: list[str] | None = None  # the model finds out
        self._out_features, self._out_indices = out_features, out_indices
        # transformers sets the implementation of sub-configurations, too: None would undo the backbone's own.
        kwargs.setdefault("attn_implementation", self.backbone_config._attn_implementation)
        super().__init__(**kwargs)

    @property
    def task_names(self) -> list[str]:
        """The names of the tasks, in order."""
        return [task.name for task in self.tasks]

    def set_output_features_output_indices(self, out_features: list[str] | None, out_indices: list[int] | None) -> None:
        """As transformers has it; what is set before there is a model, the model checks."""
        if self.stage_names is None:
            self._out_features, self._out_indices = out_features, out_indices
        else:
            super().set_output_features_output_indices(out_features, out_indices)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers has it, but of another model's configuration no default one is made.

        Raises:
            ValueError: if it is another model's, asks for something beside the checkpoint, or `tasks` has other names
                or another order than it.
        """
        if config_dict.get("model_type") != cls.model_type:
            raise ValueError(_whose(config_dict))
        check_values(config_dict, "The configuration")
        refuse_labels_of_a_model(kwargs)
        check_same_affine(kwargs.get("keep_affine"), config_dict.get("keep_affine", True))
        if (tasks := kwargs.pop("tasks", None)) is not None:
            config_dict = {**config_dict, "tasks": _own_tasks(tasks, config_dict.get("tasks"))}
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, object]:
        """The configuration as plain values; class names as `id2label`. The tasks are a list: JSON sorts mappings."""
        values = super().to_dict()
        values["tasks"] = [_plain(task) for task in self.tasks]
        if self.trunk == TASK_NORMS and not self.trunk_args:
            del values["trunk"], values["trunk_args"]
        if not values["imports"]:
            del values["imports"]
        return values


def refuse_labels_of_a_model(kwargs: Mapping[str, object]) -> None:
    """Refuse keywords by which transformers' own models learn their classes: here the tasks have them.

    Raises:
        ValueError: if there is one.
    """
    given = [name for name in ("num_labels", "id2label", "label2id", "problem_type") if kwargs.get(name) is not None]
    if given:
        raise ValueError(
            f"{given[0]}={kwargs[given[0]]!r}: a model with tasks has the classes of each of its tasks, and reads no "
            f"{given[0]}. Say it by the tasks, as in tasks=[Task('a', num_classes=7)]; with ignore_mismatched_sizes="
            "True a head of another size than the checkpoint's starts fresh."
        )


def native_config(config: PreTrainedConfig | Mapping[str, object] | None) -> PreTrainedConfig:
    """A backbone's own configuration, of itself or its dict; None: a ViT's.

    Raises:
        ValueError: if it has task norms already, or transformers does not know its type.
    """
    if config is None:
        return ViTConfig()
    model_type, architecture = (
        getattr(config, name, None) if isinstance(config, PreTrainedConfig) else config.get(name)
        for name in ("model_type", "architecture")
    )
    if model_type == TsbnConfig.model_type or _is_timm_with_tasks(model_type, architecture):
        raise ValueError(
            "This backbone has task norms already: fold a task first, or load the model by tsbn_hub.from_pretrained "
            "and use add_task."
        )
    if isinstance(config, PreTrainedConfig):
        return deepcopy(config)
    check_values(config, "backbone_config")
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"backbone_config has model_type={model_type!r}, which transformers does not know.")
    return CONFIG_MAPPING[model_type].from_dict(dict(config))


def _whose(config: Mapping[str, object]) -> str:
    """What to say of a configuration that is not ours."""
    model_type, architecture = config.get("model_type"), config.get("architecture")
    if _is_timm_with_tasks(model_type, architecture):
        return (
            f"This is the configuration of timm's {architecture}: load it by tsbn_hub.from_pretrained, or by "
            'timm.create_model("hf-hub:org/name", pretrained=True).'
        )
    return (
        f"This is the configuration of a model with model_type={model_type!r}, not of one with tasks "
        f"({TsbnConfig.model_type!r}). Of a plain model make one by TsbnForMultiTask.from_backbone."
    )


def _is_timm_with_tasks(model_type: object, architecture: object) -> bool:
    return model_type == TimmWrapperConfig.model_type and str(architecture).endswith(SUFFIX)


def _task(task: Task | Mapping[str, Any] | str) -> Task:
    if isinstance(task, Task):
        return task
    if isinstance(task, str):
        return Task(task)
    values = dict(task)
    labels = values.pop("id2label", None)
    if labels is not None:
        values["labels"] = [label for _, label in sorted(labels.items(), key=lambda item: int(item[0]))]
    return Task.from_dict(values)


def _own_tasks(given: Any, own: Any) -> list[Task]:
    """A checkpoint's tasks, by name or described anew. Rows of gates go by their order."""
    if isinstance(given, str):
        check_task_names(given)  # raises
    known = [_task(each) for each in own or ("default",)]
    names, known_names = [_task(each).name for each in given], [task.name for task in known]
    check_same_tasks(names, known_names)
    return [task if isinstance(each, str) else _task(each) for each, task in zip(given, known, strict=True)]


def _plain(task: Task) -> dict[str, object]:
    values = task.to_dict()
    labels = values.pop("labels", None)
    if labels is not None:
        del values["num_classes"]
        values["id2label"] = {str(number): label for number, label in enumerate(labels)}
    return values
