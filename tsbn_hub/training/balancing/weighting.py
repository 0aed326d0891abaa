"""Loss weighting: how much each task's loss counts in a step."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...files.registry import Registry
from ...norms.task_names import check_noted_tasks, note_tasks


class LossWeighting(nn.Module):
    """How much each task's loss counts in a step. This base class weighs all 1.

    A step calls `weights` before its backward pass and `after_step` after it, an epoch ends with `after_epoch`. All
    that a resumed run needs is in the `state_dict`. Processes that are told the same losses have the same weights.

    A new weighting is a subclass with `@register_loss_weighting("its name")`: configs can name it once the file is
    imported. A keyword `seed` of its constructor gets the run's.

    Args:
        tasks: The tasks, by names of any kind.

    Raises:
        ValueError: if there is no task, or one is given twice; from every method, if a task is unknown.

    Example:
        >>> from tsbn_hub.training.balancing import LossWeighting
        >>> LossWeighting(["seg", "depth"]).weights(["depth"])
        tensor([1.])
    """

    fixed: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) < len(tasks):
            raise ValueError(f"tasks={list(tasks)}: a loss weighting needs at least one task, and each of them once.")
        self.tasks = list(tasks)
        self.register_buffer("fixed", torch.ones(len(tasks)), persistent=False)

    def weights(self, active: Sequence[str]) -> Tensor:
        """The weights of a step's tasks: (len(active),), float32, without gradient, on the module's device."""
        return self.fixed[self._rows(active)]

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Learn from a step. A learned weighting sets its parameters' `.grad`, for an optimizer to step.

        Args:
            losses: For each of the step's tasks its mean loss before weighting: a detached scalar, the same on all
                processes.
        """

    def after_epoch(self, losses: Mapping[str, float]) -> None:
        """Learn from an epoch.

        Args:
            losses: For each of the epoch's tasks its mean loss before weighting.
        """

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        note_tasks(destination, prefix, self._buffers, self.tasks)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, metadata: Any, *args: Any) -> None:
        check_noted_tasks(state_dict, prefix, self._buffers, metadata, self.tasks)
        super()._load_from_state_dict(state_dict, prefix, metadata, *args)

    def _rows(self, tasks: Iterable[str]) -> list[int]:
        unknown = [task for task in tasks if task not in self.tasks]
        if unknown:
            raise ValueError(f"Unknown tasks {unknown}. The tasks of this loss weighting are {self.tasks}.")
        return [self.tasks.index(task) for task in tasks]


loss_weightings: Registry[type[LossWeighting]] = Registry("loss weighting")
register_loss_weighting = loss_weightings.register
"""A decorator of subclasses of `LossWeighting`: configs can name the weighting from then on."""


def loss_weighting(name: str, tasks: Sequence[str], seed: int = 0, **options: Any) -> LossWeighting:
    """A loss weighting by its name.

    Args:
        name: "fixed" (without options: equal weights), "uncertainty", "dynamic", "random", or another that is
            registered.
        tasks: The tasks.
        seed: Of what is drawn at random.
        **options: `weights` of "fixed", `temperature` of "dynamic".

    Raises:
        ValueError: if the name or an option is unknown, or an option's value is not possible.

    Example:
        >>> from tsbn_hub.training.balancing import loss_weighting
        >>> loss_weighting("fixed", ["seg", "depth"], weights={"seg": 2}).weights(["seg", "depth"])
        tensor([2., 1.])
    """
    weighting_class = loss_weightings[name]
    keywords = inspect.signature(weighting_class).parameters
    known = [keyword for keyword in keywords if keyword not in ("tasks", "seed")]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"The loss weighting {name!r} has no options {unknown}. It has {known}.")
    return weighting_class(tasks, **options, **({"seed": seed} if "seed" in keywords else {}))
