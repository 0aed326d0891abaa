"""A head for each task, with losses and labels, on any trunk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from ...norms import TaskModules
from ...norms.merging import merged_copy
from ...norms.task_module import Tasks
from ...norms.task_names import check_task_names
from ...tasks import Kind, Task, make_kind
from ..heads import Features, Head, make_head
from ..outputs import pass_for, zero_of_parameters
from .config import TsbnConfig
from .model import TsbnPreTrainedModel
from .trunk import Trunk


@dataclass
class MultiTaskOutput(ModelOutput):
    """What `TsbnForMultiTask` returns.

    Attributes:
        loss: The sum of the losses, a scalar, float32; None without labels.
        losses: By task that has labels: the mean over its valid labels, a scalar, float32.
        logits: By task that was run: what its head gives, (B, outputs) or (B, outputs, H, W) in the size of the images.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    logits: dict[str, Tensor] | None = None


class ModelWithHeads(TsbnPreTrainedModel):
    """Heads on a trunk, one for each task, and their losses.

    A subclass builds its trunk under the name of `base_model_prefix`, and calls `_build_heads` then.

    Args:
        config: Of backbone, tasks and trunk.

    Attributes:
        heads: The heads, by task; see `head`.
        kinds: What the targets of each task are, by task.

    Raises:
        ValueError: if a task's kind or head is unknown, or a head does not fit the trunk.
    """

    heads: TaskModules
    kinds: dict[str, Kind]

    @property
    def trunk(self) -> Trunk:
        """What the heads stand on."""
        trunk = self.base_model
        assert isinstance(trunk, Trunk)
        return trunk

    def _build_heads(self, config: TsbnConfig) -> None:
        self.kinds = {task.name: make_kind(task) for task in config.tasks}
        self.task_selector = self.trunk.task_selector
        self.heads = TaskModules(
            {task.name: self.new_head(task, self.kinds[task.name]) for task in config.tasks}, suffix="_head"
        )
        for parameter in self.trunk.idle_parameters():
            parameter.requires_grad = False

    def new_head(self, task: Task, kind: Kind) -> Head:
        """A head for a task on this trunk, freshly initialised.

        Raises:
            ValueError: if there is no such head, or it does not fit the trunk.
        """
        return make_head(task.head or kind.head, kind.outputs, kind.dense, self.trunk.layout.info, **task.head_args)

    def head(self, task: str) -> Head:
        """The head of a task.

        Raises:
            ValueError: if there is no such task.
        """
        self.task_selector.row(task)  # raises
        return cast(Head, self.heads.of(task))  # or what PEFT has put around it

    def registered_parts_of(self, task: str) -> list[type]:
        """The classes of a task's kind and head."""
        return [type(self.kinds[task]), type(self.head(task))]

    def forward(
        self,
        pixel_values: Tensor,
        labels: Mapping[str, Tensor] | Tensor | None = None,
        task: Tasks | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: object,
    ) -> MultiTaskOutput | tuple[object, ...]:
        """The outputs, and with labels the losses, of all tasks, or of those asked for.

        In training, a forward with labels is for the tasks that have any in this batch: the others are not run, so that
        their statistics stay. If there is none, the loss is 0, and so are its gradients.

        Args:
            pixel_values: (B, C, H, W).
            labels: By task, as its kind says; tasks without labels have no loss. Of a forward for one task: a tensor,
                too.
            task: A name, for that task alone; or one a sample: then each task's outputs, and its labels, are those of
                its samples, in their order. None: the task that is set, else all.
            return_dict: False: a tuple of what is not None.
            output_hidden_states: Only False; `tsbn` gives them.
            output_attentions: Only False; `tsbn` gives them.
            **kwargs: Of the backbone.

        Raises:
            ValueError: if there is no such task, or labels are not what the task's kind says, or hidden states or
                attentions are asked for.
            TypeError: if the labels are not by task, and the forward is for several.
        """
        if output_hidden_states or output_attentions:
            raise ValueError(
                f"{type(self).__name__} returns neither hidden states nor attentions: model.tsbn(pixel_values, "
                "output_hidden_states=True) does."
            )
        size = (pixel_values.shape[-2], pixel_values.shape[-1])
        maps = any(kind.dense for kind in self.kinds.values())
        labels = None if labels is None else self._by_task(labels, task)
        if labels is not None and self.training and task is None and (self.task is None or len(self.tasks) == 1):
            self._check(labels, self.tasks, size)
            labels = self._labelled(labels)
            by_task = self._features_of(list(labels), pixel_values, maps=maps, **kwargs)
        else:
            features = self.trunk.features(pixel_values, task=task, maps=maps, **kwargs)
            by_task = self._features_by_task(features, task)
            if labels is not None:
                self._check(labels, by_task, size)
        logits = {name: self.head(name)(each, size) for name, each in by_task.items()}
        losses = loss = None
        if labels is not None:
            losses = {name: self.kinds[name].loss(logits[name], labels[name]) for name in logits if name in labels}
            loss = torch.stack(list(losses.values())).sum() if losses else None if logits else zero_of_parameters(self)
        output = MultiTaskOutput(loss, losses, logits)
        return output.to_tuple() if return_dict is False else output

    def _features_of(self, tasks: Sequence[str], pixel_values: Tensor, **kwargs: Any) -> dict[str, Features]:
        """What the heads of some tasks get, in as few passes as they need; nothing else is run."""
        if not tasks:
            return {}
        with pass_for(self, tasks):
            features = self.trunk.features(pixel_values, **kwargs)
        return {name: features[name] if isinstance(features, dict) else features for name in tasks}

    def _features_by_task(self, features: Features | dict[str, Features], task: Tasks | None) -> dict[str, Features]:
        if isinstance(features, dict):
            return features
        if task is None or isinstance(task, str):
            return {task or str(self.task): features}
        if isinstance(task, Tensor) and (task.ndim == 0 or torch.compiler.is_compiling()):
            raise ValueError("A head cannot be chosen by a tensor: name the task in the call, or set it.")
        names = [self.tasks[row] for row in task.tolist()] if isinstance(task, Tensor) else list(task)
        return {
            name: _of_samples(features, [at for at, each in enumerate(names) if each == name])
            for name in self.tasks
            if name in names
        }

    def _by_task(self, labels: Mapping[str, Tensor] | Tensor, task: Tasks | None) -> Mapping[str, Tensor]:
        if isinstance(labels, Mapping):
            return labels
        only = task if isinstance(task, str) else self.task if task is None else None
        if not isinstance(labels, Tensor) or only is None:
            raise TypeError(
                f"The labels are a {type(labels).__name__}, and the tasks are {self.tasks}: give a dict of tensors by "
                f"task, labels={{{self.tasks[0]!r}: …}}."
            )
        return {only: labels}

    def _check(self, labels: Mapping[str, Tensor], tasks: Iterable[str], size: tuple[int, int]) -> None:
        unknown = sorted(set(labels) - set(tasks))
        if unknown:
            raise ValueError(f"labels are given for {unknown}, and this forward is for the tasks {list(tasks)}.")
        for name, target in labels.items() if not torch.compiler.is_compiling() else ():
            try:
                self.kinds[name].check(target, size)
            except ValueError as error:
                raise ValueError(f"The labels of task {name!r}: {error}") from error

    def _labelled(self, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The labels of the tasks that have any in this batch, in the model's order. A compiled graph has all given."""
        given = {name: labels[name] for name in self.tasks if name in labels}
        if torch.compiler.is_compiling():
            return given
        return {name: target for name, target in given.items() if self.kinds[name].count(target)}

    # --- the tasks ---

    def add_task(self, task: Task, like: str | None = None) -> None:  # type: ignore[override]
        """Add a task at the end, in place. The stacked parameters are new objects: rebuild the optimizer.

        Args:
            task: Its name, kind and head.
            like: An existing task whose gates and statistics it starts from; None starts fresh. Its head is new.

        Raises:
            ValueError: if the name is taken, or the kind or head unknown, or there is no task `like`.
            TypeError: if the task is a name alone.
            RuntimeError: if the trunk is built for its tasks, as rivals are.
        """
        if not isinstance(task, Task):
            raise TypeError(
                f"add_task got {task!r}: give a Task, which says of what kind it is: Task('smile', 'depth')."
            )
        check_task_names([*self.tasks, task.name])  # before anything changes
        if (objection := self.trunk.objection_to_tasks()) is not None:
            raise RuntimeError(f"The task {task.name!r} cannot be added: {objection}.")
        parameter, kind = next(self.parameters()), make_kind(task)
        head = self.new_head(task, kind).to(parameter.device, parameter.dtype)
        self.task_selector.row(self.tasks[0] if like is None else like)  # raises
        TsbnPreTrainedModel.add_task(self, task.name, like)
        self.heads.put(task.name, head.train(self.training))
        self.kinds[task.name] = kind
        self._record_tasks([*self.config.tasks, task])

    def remove_task(self, task: str) -> None:
        """Remove a task and its head, in place. The stacked parameters are new objects: rebuild the optimizer.

        Raises:
            ValueError: if there is no such task, or no other one.
            RuntimeError: if the trunk is built for its tasks, as rivals are.
        """
        if (objection := self.trunk.objection_to_tasks()) is not None:
            raise RuntimeError(f"The task {task!r} cannot be removed: {objection}.")
        super().remove_task(task)
        self.heads.remove(task)
        del self.kinds[task]
        self._record_tasks(each for each in self.config.tasks if each.name != task)

    def fold_head(self, task: str | None = None) -> nn.Module:
        """A copy of a task's head. It takes the `Features` of the folded backbone, and the size of the images.

        What PEFT has put into it is merged. What the head of a regression gives is in the units of the data.

        Raises:
            ValueError: if there is no such task.
            RuntimeError: if it is not said which task, or something in it cannot be merged.
        """
        name = self.tasks[self._row_to_fold(task)]
        return self.kinds[name].fold_into(merged_copy(self.head(name)))


def _of_samples(features: Features, samples: list[int]) -> Features:
    return Features([part[samples] for part in features.maps], features.pooled[samples])
