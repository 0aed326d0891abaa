"""What a timm model with task norms can do beyond a plain one."""

import functools
from collections.abc import Mapping, Sequence, Set
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from timm.models._input import update_model_args
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ...norms import NormOptions, TaskModule, TaskSelector
from ...norms.convert import convert_norms
from ...norms.folding import block_what_loses_gates
from ...norms.gating import Patterns, gated_norms, patterns_of
from ...norms.kernels import is_batch_norm, is_norm
from ...norms.task_class import as_task_module
from ...norms.task_module import Forward, Outputs
from ...norms.task_names import check_task_names, has_note
from ...norms.task_parameters import StateDict, TaskParameters
from ...tasks import Task
from .classifiers import TaskClassifier, check_sizes, named_classifiers

Classes = int | Mapping[str, int]


@dataclass
class Recipe:
    """How a timm model was converted: enough to convert a newly built plain one the same way.

    Args:
        architecture: The plain architecture's name in timm.
        tasks: The tasks, in the order of the gates' rows.
        task_classes: The number of classes of each; None where the architecture decides.
        options: What a norm keeps per task.
        gated: Which norms are gated, as the user said it.
        names: The names of the gated norms.
        as_pretrained: Whether timm built the plain model as for its own weights.
        labels: The names of the classes, of those tasks that have any.
    """

    architecture: str
    tasks: list[str]
    task_classes: list[int] | None
    options: NormOptions
    gated: Patterns = None
    names: list[str] = field(default_factory=list)
    as_pretrained: bool = False
    labels: dict[str, list[str]] = field(default_factory=dict)

    def model_args(self) -> dict[str, object]:
        """The keyword arguments of `timm.create_model` that say the same, for config.json."""
        args: dict[str, object] = {
            "tasks": list(self.tasks),
            "norm": self.options.style,
            "keep_affine": self.options.keep_affine,
            "gate_init": self.options.gate_init,
            "as_pretrained": self.as_pretrained,
        }
        if self.task_classes is not None:
            args["task_classes"] = list(self.task_classes)
        if self.labels:
            args["task_labels"] = [self.labels.get(task) for task in self.tasks]
        if self.gated is not None:
            args["gated"] = self.gated if isinstance(self.gated, str) else list(self.gated)
        return args


OF_CLASSES = ("label_names", "label_descriptions", "label_offset")
"""What a pretrained config says of the classes of a plain model."""
OF_TASKS = ("num_classes", "task_classes", "task_labels", "gated", "execution")
"""Keywords of a model with tasks, beside those that its recipe has always."""
_OF_ONE_TASK = ("forward_features", "forward_head", "forward_intermediates", "get_classifier")


class TimmTaskModel(TaskModule):
    """A timm model with task norms and one classifier a task. It stays an instance of timm's class.

    Whole-model calls give every task's output (see `TaskModule`). The parts, `forward_features`, `forward_head`,
    `forward_intermediates` and `get_classifier`, are those of one task: the one that is set, or `using_task`'s. (What
    `get_classifier` returns computes that task's logits; its parameters are those of all tasks.)
    """

    members_of_task_modules: ClassVar[tuple[str, ...]] = ("task_selector", "recipe")
    recipe: Recipe
    num_classes: int
    pretrained_cfg: dict[str, Any]

    @classmethod
    def members_for(cls, plain_class: type[nn.Module]) -> dict[str, object]:
        """Wrappers of the methods of timm's class that speak of one task, or change the classifier."""
        members: dict[str, object] = {
            name: _of_one_task(getattr(plain_class, name)) for name in _OF_ONE_TASK if hasattr(plain_class, name)
        }
        if hasattr(plain_class, "reset_classifier"):
            members["reset_classifier"] = _resetting_classifiers(plain_class.reset_classifier)
        if hasattr(plain_class, "load_pretrained"):
            members["load_pretrained"] = _refuse_foreign_weights
        return members

    @property
    def task_classes(self) -> list[int]:
        """The number of classes of each task."""
        classifiers = self._classifiers()
        return list(classifiers[0].sizes) if classifiers else [getattr(self, "num_classes", 0)] * len(self.tasks)

    @property
    def task_labels(self) -> list[list[str] | None]:
        """The names of each task's classes, or None."""
        return [self.recipe.labels.get(task) for task in self.tasks]

    def add_task(
        self,
        task: str,
        like: str | None = None,
        num_classes: int | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Add a task at the end, in place. The parameters that it has a part of are new objects: rebuild the optimizer.

        Args:
            task: Its name.
            like: An existing task whose gates, statistics and, if the size fits, classifier it starts from; None
                starts fresh.
            num_classes: Its classes; None for as many as `like`, or the largest task, has.
            labels: The names of its classes.

        Raises:
            ValueError: if the name is taken or not allowed, there is no task `like`, this is no number of classes, or
                the labels are not as many as the classes, or repeated. Nothing is changed.
        """
        like_row = None if like is None else self.task_selector.row(like)
        sizes = self.task_classes
        size = num_classes if num_classes is not None else max(sizes) if like_row is None else sizes[like_row]
        if max(sizes) == 0 and size:
            raise ValueError("This model has no classifier: reset_classifier(…) gives it one.")
        names = check_task_names([*self.tasks, task])  # before anything changes
        *_, size = check_sizes([*sizes, size], names)
        described = Task(task, num_classes=size, labels=labels)  # raises
        split_classifiers(self, sizes)
        fits = like_row is not None and size == sizes[like_row]
        rows = list(range(len(sizes)))
        parts: dict[TaskParameters, list[Any]] = {}
        for module in self._task_parameters():
            if isinstance(module, TaskClassifier) and not fits:
                parts[module] = [*rows, module.new_rows(size)]
            else:
                parts[module] = [*rows, self._rows_of_new_task(module, like_row)]
        self._replace_tasks(names, parts)
        if described.labels is not None:
            self.recipe.labels[task] = list(described.labels)
        self._record_tasks()

    def remove_task(self, task: str) -> None:
        """Remove a task, in place. The parameters that it had a part of are new objects: rebuild the optimizer.

        Raises:
            ValueError: if there is no such task, or no other one.
        """
        super().remove_task(task)
        self._record_tasks()

    def _record_tasks(self) -> None:
        self.recipe.tasks = self.tasks
        self.recipe.task_classes = self.task_classes
        sizes = dict(zip(self.tasks, self.task_classes, strict=True))
        self.recipe.labels = {
            task: labels for task, labels in self.recipe.labels.items() if sizes.get(task) == len(labels)
        }
        if hasattr(self, "num_classes"):
            self.num_classes = max(self.task_classes)
        update_model_args(self, **self.recipe.model_args())

    def _rebuilt_norms(self) -> list[str]:
        """Names of the plain norms that are to be gated, as if they had been there from the start."""
        gated = self.recipe.gated
        return [
            name
            for name, norm in self.named_modules()
            if is_norm(type(norm))
            and (
                name in self.recipe.names
                or (gated is None and is_batch_norm(type(norm)))
                or any(fnmatchcase(name, pattern) for pattern in patterns_of(gated))
            )
        ]

    def _check_task_entries(self, state_dict: StateDict, prefix: str) -> None:
        super()._check_task_entries(state_dict, prefix)
        gates = [name for name in self.state_dict() if name.endswith(".gate_logits")]
        if not gates or prefix + gates[0] in state_dict or len(self.tasks) == 1:
            return
        for name, module in self.named_modules():
            key = f"{prefix}{name}.weight"
            entry = state_dict.get(key, ())
            of_plain = isinstance(module, TaskClassifier) and len(entry) == sum(module.sizes) and not has_note(entry)
            if of_plain:
                raise RuntimeError(
                    f"The plain checkpoint's {key} is for {len(entry)} classes, the tasks of this model have "
                    f"{module.sizes}. Leave it out of the state dict, or build a task with as many classes. (A "
                    "model of hard sharing: load it by tsbn_hub.from_pretrained, and take its state_dict().)"
                )

    def parameters_of_single_tasks(self) -> list[nn.Parameter]:
        """As `TaskModule` has it. A model of one task has plain classifiers."""
        plain = named_classifiers(self).values() if len(self.tasks) == 1 else ()
        return super().parameters_of_single_tasks() + [each for classifier in plain for each in classifier.parameters()]

    def _classifiers(self) -> list[TaskClassifier]:
        return [module for module in self.modules() if isinstance(module, TaskClassifier)]

    def _fold(self, row: int) -> nn.Module:
        classes, labels = self.task_classes[row], self.task_labels[row]
        plain: Any = super()._fold(row)
        if hasattr(plain, "num_classes"):
            plain.num_classes = classes
        plain._model_args = {
            key: value
            for key, value in getattr(plain, "_model_args", {}).items()
            if key not in (*self.recipe.model_args(), *OF_TASKS)
        }
        kept = {key: value for key, value in deepcopy(self.pretrained_cfg).items() if key not in OF_CLASSES}
        named = {} if labels is None else {"label_names": list(labels)}
        plain.pretrained_cfg = {**kept, **named, "num_classes": classes, "architecture": self.recipe.architecture}
        plain.default_cfg = plain.pretrained_cfg
        return plain

    def _split_by_task(self, outputs: Outputs) -> dict[str, Outputs]:
        classifiers = self._classifiers()
        if not classifiers:
            return super()._split_by_task(outputs)
        total = sum(classifiers[0].sizes)
        parts: dict[str, Outputs] = {}
        for row, task in enumerate(self.tasks):
            part = functools.partial(_task_part, classifier=classifiers[0], row=row, total=total)
            parts[task] = pytree.tree_map_only(Tensor, part, outputs)
        return parts

    def _output_of_row(self, outputs: Outputs, row: int) -> Outputs:
        sizes = self.task_classes
        if len(set(sizes)) == 1:
            return outputs

        def of_task(output: Tensor) -> Tensor:
            return output.narrow(_dim_of_classes(output, max(sizes)), 0, sizes[row])

        return pytree.tree_map_only(Tensor, of_task, outputs)

    def _output_of_rows(self, outputs: Outputs, rows: list[int]) -> Outputs:
        sizes = self.task_classes
        if not isinstance(outputs, Tensor) or len(set(sizes)) == 1:
            return outputs
        return [output[: sizes[row]] for row, output in zip(rows, outputs, strict=True)]


def labels_of(model: Any) -> list[str] | None:
    """The names of the classes of a timm model of one task, where its pretrained config says them, one for each."""
    labels = model.pretrained_cfg.get("label_names")
    known = isinstance(labels, Sequence) and len(set(labels)) == len(labels) == getattr(model, "num_classes", None)
    return list(labels) if known else None


def _task_part(output: Tensor, classifier: TaskClassifier, row: int, total: int) -> Tensor:
    return classifier.split(output, _dim_of_classes(output, total))[row]


def _dim_of_classes(output: Tensor, classes: int) -> int:
    return 1 if output.shape[1] == classes else -1


def as_timm_task_model(model: nn.Module, selector: TaskSelector, recipe: Recipe) -> TimmTaskModel:
    """Let a timm model whose norms are converted do what `TimmTaskModel` says, in place."""
    task_model = as_task_module(model, selector, TimmTaskModel)
    assert isinstance(task_model, TimmTaskModel)
    task_model.recipe = recipe
    update_model_args(model, **recipe.model_args())
    return task_model


def convert_timm_model(model: nn.Module, selector: TaskSelector, recipe: Recipe, split: bool = True) -> TimmTaskModel:
    """Give a plain timm model task norms and, with `split`, one classifier a task, in place."""
    recipe.names = gated_norms(model, recipe.gated, recipe.options.style)
    convert_norms(model, selector, recipe.options, recipe.names)
    task_model = as_timm_task_model(model, selector, recipe)
    if split:
        if recipe.task_classes is None:
            recipe.task_classes = [getattr(model, "num_classes", 0)] * len(recipe.tasks)
        if len(recipe.tasks) == 1 and not recipe.labels and (labels := labels_of(model)):
            recipe.labels[recipe.tasks[0]] = labels
        if len(recipe.tasks) > 1:
            split_classifiers(task_model, recipe.task_classes)
        update_model_args(model, **recipe.model_args())
    return task_model


def split_classifiers(model: TimmTaskModel, sizes: Sequence[int]) -> None:
    """Replace the plain classifiers that the pretrained config names by ones with rows for every task."""
    for name, plain in named_classifiers(model).items():
        if not isinstance(plain, TaskClassifier):
            parent, _, child = name.rpartition(".")
            model.get_submodule(parent)._modules[child] = TaskClassifier(plain, model.task_selector, sizes)
    block_what_loses_gates(model)


def _of_one_task(method: Forward) -> Forward:
    name = method.__name__

    @functools.wraps(method)
    def of_one_task(self: TimmTaskModel, *args: Any, **kwargs: Any) -> Outputs:
        selector = self.task_selector
        if not selector.is_selected():
            raise RuntimeError(
                f"{name} speaks of one task, and this model has {self.tasks}. Say which: "
                f"`with model.using_task({self.tasks[0]!r}): model.{name}(…)`, or model.set_task({self.tasks[0]!r})."
            )
        if len(selector.tasks) == 1 or selector.running() is not None:
            return method(self, *args, **kwargs)
        with selector.run(selector.selected()):
            return method(self, *args, **kwargs)

    return of_one_task


def _resetting_classifiers(method: Forward) -> Forward:
    @functools.wraps(method)
    def reset_classifier(self: TimmTaskModel, num_classes: Classes, *args: Any, **kwargs: Any) -> None:
        """Timm's reset_classifier, for all tasks: one number for each, or a dict by task for some."""
        sizes = self.task_classes
        if isinstance(num_classes, Mapping):
            for task, size in num_classes.items():
                sizes[self.task_selector.row(task)] = size
        else:
            sizes = [num_classes] * len(self.tasks)
        sizes = check_sizes(sizes, self.tasks)
        before = self.num_classes
        try:
            method(self, max(sizes), *args, **kwargs)
        except BaseException:
            self.num_classes = before  # which timm changes before it builds the classifier
            raise
        reset = list(num_classes) if isinstance(num_classes, Mapping) else self.tasks
        self.recipe.labels = {task: labels for task, labels in self.recipe.labels.items() if task not in reset}
        # Some architectures build norms anew with their head.
        convert_norms(self, self.task_selector, self.recipe.options, self._rebuilt_norms())
        if len(sizes) > 1:
            split_classifiers(self, sizes)
        block_what_loses_gates(self)
        self._record_tasks()

    return reset_classifier


def _refuse_foreign_weights(self: TimmTaskModel, *args: Any, **kwargs: Any) -> None:
    raise RuntimeError(
        "Weights in a foreign format (.npz) are written into norms one by one, past their gates. Load them into the "
        f"plain model, timm.create_model({self.recipe.architecture!r}, checkpoint_path=…), save it as safetensors, and "
        "load that."
    )


def task_classes_of(
    tasks: Sequence[str] | None, num_classes: Classes | None, task_classes: Sequence[int] | None
) -> tuple[list[str], list[int] | None]:
    """The tasks and their numbers of classes, from what `timm.create_model` was given.

    Args:
        tasks: Names, or None for those of `num_classes`, or a single task.
        num_classes: One number for all, or a dict by task.
        task_classes: A saved model's numbers, in the order of its tasks.

    Raises:
        ValueError: if they contradict each other, or are no numbers of classes.
    """
    if isinstance(tasks, str | Set):
        check_task_names(tasks)  # raises
    if isinstance(num_classes, Mapping):
        names = list(num_classes) if tasks is None else list(tasks)
        unknown, missing = sorted(set(num_classes) - set(names)), sorted(set(names) - set(num_classes))
        if unknown or missing:
            raise ValueError(
                f"num_classes names the tasks {list(num_classes)}, tasks names {names}: "
                + "; ".join(
                    f"{what} {which}" for what, which in (("unknown are", unknown), ("missing are", missing)) if which
                )
                + "."
            )
        return names, check_sizes([num_classes[name] for name in names], names)
    names = ["default"] if tasks is None else list(tasks)
    if task_classes is not None:
        if len(task_classes) != len(names):
            raise ValueError(
                f"{len(task_classes)} task_classes, {list(task_classes)}, for the {len(names)} tasks {names}."
            )
        task_classes = check_sizes(task_classes, names)
        if num_classes is None or num_classes == max(task_classes):
            return names, task_classes
    return names, None if num_classes is None else check_sizes([num_classes] * len(names), names)
