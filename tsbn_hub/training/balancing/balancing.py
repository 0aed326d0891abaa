"""What every balancing is, whatever it needs; all of them by name."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from ...files.registry import Registry
from ...norms.task_names import check_noted_tasks, note_tasks

WeightsOfLosses = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
StepWeights = Mapping[str, Tensor] | WeightsOfLosses
"""The weight of each task of a step, or what gives them of the step's losses."""

RENAMED = {"fixed": "equal", "dynamic": "dwa", "random": "rlw"}
"""What a balancing was called before, and is called now."""


class Balancing(nn.Module):
    """How the losses, or the gradients, of several tasks become one step.

    There are three sorts, which differ in what they need; a new balancing is a subclass of one of them:

    - `LossWeighting`: weights that are known before a step's losses.
    - `LossScalarization`: one total of all losses of a step.
    - `GradientAggregation`: one gradient of the tasks' gradients, for the parameters that they share.

    A step takes `step_weights` and `step_aggregator` to its backward pass and calls `after_step` after it; an epoch
    ends with `after_epoch`. All that a resumed run needs is in the `state_dict`. Processes that are told the same
    losses and gradients have the same results.

    Args:
        tasks: The tasks, by names of any kind.

    Raises:
        ValueError: if there is no task, or one is given twice; from every method, if a task is unknown.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) < len(tasks):
            raise ValueError(f"tasks={list(tasks)}: a balancing needs at least one task, and each of them once.")
        self.tasks = list(tasks)

    def step_weights(self, active: Sequence[str]) -> StepWeights:
        """The weight of each task of a step, a scalar, or a function that gives them of the losses by task."""
        raise NotImplementedError

    def step_aggregator(self, active: Sequence[str]) -> Callable[[Tensor], Tensor] | None:
        """What makes one gradient, (P,), of those of a step's tasks, (len(active), P); None: their sum."""
        return None

    def conflict(self, *, backward: str, micro_batches: int, trunk_learns: bool) -> str | None:
        """Why it cannot be part of such a run, as the end of a sentence that begins with its name; None: it can.

        Args:
            backward: "all" or "task", as of a config.
            micro_batches: How many forwards a step has.
            trunk_learns: Whether there are parameters to learn that tasks share.
        """
        return None

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Learn from a step. What is learned sets its parameters' `.grad`, for an optimizer to step.

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
            raise ValueError(f"Unknown tasks {unknown}. The tasks of this balancing are {self.tasks}.")
        return [self.tasks.index(task) for task in tasks]


balancings: Registry[type[Balancing]] = Registry("balancing")

B = TypeVar("B", bound=type[Balancing])


def register_balancing(name: str) -> Callable[[B], B]:
    """A decorator of subclasses of `Balancing`: configs can name the balancing once the file is imported.

    A keyword `seed` of its constructor gets the run's; all others are options, `balancing_args` of a config.

    Args:
        name: Not empty.

    Raises:
        ValueError: if another one has the name, or had it before it was renamed.
    """
    if name in RENAMED:
        raise ValueError(f"{name!r} was the name of the balancing {RENAMED[name]!r}: choose another.")
    return balancings.register(name)


def make_balancing(name: str, tasks: Sequence[str], seed: int = 0, **options: Any) -> Balancing:
    """A balancing by its name.

    Args:
        name: "equal", "uncertainty", "dwa", "rlw", "imtl-l", "gls", "stch", "gradnorm", "pcgrad", "cagrad", "upgrad",
            "mgda", or another that is registered.
        tasks: The tasks.
        seed: Of what is drawn at random.
        **options: `weights` of "equal", `temperature` of "dwa", `floor` of "gls", `mu` of "stch", `alpha` of
            "gradnorm", `c` of "cagrad".

    Raises:
        ValueError: if the name or an option is unknown, or an option's value is not possible.
        ImportError: if it is computed by TorchJD, which is not installed.

    Example:
        >>> from tsbn_hub.training.balancing import make_balancing
        >>> make_balancing("equal", ["seg", "depth"], weights={"seg": 2}).weights(["seg", "depth"])
        tensor([2., 1.])
    """
    if name in RENAMED:
        raise ValueError(f"The balancing {name!r} is now called {RENAMED[name]!r}.")
    balancing_class = balancings[name]
    keywords = inspect.signature(balancing_class).parameters
    known = [keyword for keyword in keywords if keyword not in ("tasks", "seed")]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"The balancing {name!r} has no options {unknown}. It has {known}.")
    return balancing_class(tasks, **options, **({"seed": seed} if "seed" in keywords else {}))
