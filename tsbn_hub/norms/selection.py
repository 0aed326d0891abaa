"""Which task a forward is for.

A model and its task norms share one `TaskSelector`. It answers one question, asked by every task norm in every
forward: which task are these samples for? The answer is a `Selection`. It travels in a context variable, so that two
threads can run one model for two tasks at once; inside `torch.compile` and `torch.export`, where context variables
would bake the task into the graph, it travels as an attribute that they trace.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from .task_names import check_task_names


@dataclass(eq=False)
class Selection:
    """The tasks of one pass through the network: one for all samples, one a chunk of consecutive samples, or all.

    Args:
        index: Row of the task, as an int or as an integer tensor without dimensions; in compiled graphs also (B,), the
            row of each sample. None, in a network without gated norms: the one pass is for all tasks.
        chunks: (row, number of samples) of consecutive samples, in place of `index`.
        repeated: This batch has already passed in this step, for another task: a norm before the fork has already
            taken it into its running statistics.
        forked: A gated norm has run in this pass: from here on the tasks differ.
    """

    index: int | Tensor | None = 0
    chunks: tuple[tuple[int, int], ...] = ()
    repeated: bool = False
    forked: bool = False

    @property
    def differs_by_sample(self) -> bool:
        """Whether a tensor says the row of each sample."""
        return isinstance(self.index, Tensor) and self.index.ndim == 1

    def choose(self, by_row: list[Tensor]) -> Tensor:
        """Of the outputs of every row for the whole batch, those of each sample's own row. For compiled graphs."""
        assert isinstance(self.index, Tensor)
        chosen = by_row[0]
        rows = self.index.repeat_interleave(len(chosen) // len(self.index))
        for row, output in enumerate(by_row[1:], start=1):
            chosen = torch.where((rows == row).view(-1, *[1] * (output.ndim - 1)), output, chosen)
        return chosen

    def split(self, x: Tensor) -> list[tuple[int, Tensor]]:
        """The chunks of a tensor whose first dimension is the batch, or the batch times something."""
        batch = sum(samples for _, samples in self.chunks)
        repeats, rest = divmod(len(x), batch)
        if rest:
            raise ValueError(
                f"A norm was given {len(x)} rows for a batch of {batch} samples with one task each: its first "
                "dimension is not the batch, or a multiple of it. Run the tasks one after another instead."
            )
        sizes = [samples * repeats for _, samples in self.chunks]
        return [(row, part) for (row, _), part in zip(self.chunks, x.split(sizes), strict=True)]


_setting = threading.Lock()
_running: ContextVar[dict["TaskSelector", Selection]] = ContextVar("tsbn_hub_running")


def running_selections() -> dict["TaskSelector", Selection]:
    """The selections of the forwards that this thread is in, outermost first."""
    return _running.get({})


@contextmanager
def run_under(selections: dict["TaskSelector", Selection]) -> Iterator[None]:
    """Run the block under exactly these selections."""
    token = _running.set(selections)
    try:
        yield
    finally:
        _running.reset(token)


class TaskSelector:
    """The ordered tasks of a model, and the one that is set.

    Args:
        tasks: Names of the tasks, in the order of the rows of every per-task parameter.

    Raises:
        ValueError: if there is no task, or a name is empty, repeated or has a dot.
        TypeError: if a name is not a string.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = check_task_names(tasks)
        # Compiled graphs take the set task from a tensor, so that one graph serves all tasks.
        self.index = torch.zeros((), dtype=torch.long, device="cpu")
        # False, where the tasks' outputs differ in shape: then a compiled graph holds one task.
        self.selects_by_tensor = True
        # True, where no norm is gated: then one pass serves all tasks.
        self.shares_trunk = False
        self.is_set = False
        self._row = 0
        self._setter: int | None = None
        self._traced: Selection | None = None

    @property
    def task(self) -> str | None:
        """The task that is selected here, set, or the only one; else None."""
        running = self.running()
        if running is not None and isinstance(running.index, int) and not running.chunks:
            return self.tasks[running.index]
        return self.tasks[self._row] if self.is_set or len(self.tasks) == 1 else None

    def row(self, task: str) -> int:
        """The row of a task.

        Raises:
            ValueError: if there is no such task.
        """
        if task not in self.tasks:
            raise ValueError(f"Unknown task {task!r}. The tasks of this model are {self.tasks}.")
        return self.tasks.index(task)

    def set(self, task: str | None, device: torch.device | None = None) -> None:
        """Set the task of every further forward that names none; None for all tasks.

        Raises:
            ValueError: if there is no such task.
            RuntimeError: if another living thread has set another task.
        """
        with _setting:
            self._set(task, device)

    def _set(self, task: str | None, device: torch.device | None) -> None:
        row = 0 if task is None else self.row(task)
        thread = threading.get_ident()
        if self.is_set and self._setter != thread and (task is None or row != self._row) and _is_alive(self._setter):
            raise RuntimeError(
                f"Another thread has set this model's task to {self.task!r}, and would get the outputs of {task!r}. "
                "With several threads, name the task in the call, model(x, task=…), or use using_task."
            )
        if device is not None and self.index.device != device:
            self.index = self.index.to(device)
        self.index.fill_(row)
        self.is_set, self._row, self._setter = task is not None, row, thread

    def reset(self, tasks: Sequence[str]) -> None:
        """Replace the tasks; none is set then."""
        self.tasks = check_task_names(tasks)
        self.is_set, self._row = False, 0

    def running(self) -> Selection | None:
        """The selection of the forward that we are in, if any."""
        if torch.compiler.is_compiling():
            return self._traced
        return running_selections().get(self)

    def is_selected(self) -> bool:
        """Whether it is clear which task a forward of a part of the model would be for."""
        return len(self.tasks) == 1 or self.is_set or self.running() is not None

    def current(self) -> Selection:
        """The selection for a norm that runs now.

        Raises:
            RuntimeError: if there are several tasks and none is selected.
        """
        if len(self.tasks) == 1:
            return Selection(forked=True)
        selection = self.running()
        if selection is not None:
            return selection
        if self.is_set:
            return self.selected()
        raise RuntimeError(
            f"This model has the tasks {self.tasks}, and none is selected. Call the whole model, or select one: "
            f"model(x, task={self.tasks[0]!r}), `with model.using_task({self.tasks[0]!r}):`, or "
            f"model.set_task({self.tasks[0]!r})."
        )

    def selected(self) -> Selection:
        """The selection of the task that is set."""
        by_tensor = torch.compiler.is_compiling() and self.selects_by_tensor
        return Selection(self.index if by_tensor else self._row)

    @contextmanager
    def run(self, selection: Selection) -> Iterator[None]:
        """Run the block, a forward of the model or of a part, under this selection."""
        if torch.compiler.is_compiling():
            outer, self._traced = self._traced, selection
            try:
                yield
            finally:
                self._traced = outer
        else:
            with run_under({**running_selections(), self: selection}):
                yield


def _is_alive(thread: int | None) -> bool:
    return any(other.ident == thread for other in threading.enumerate())
