"""Which task a forward is for.

A model and its task norms share one `TaskSelector`. It answers one question, asked by every task norm in every
forward: which task are these samples for? The answer is a `Selection`: of the innermost block that is open here, else
of the task that is set, else there is none, and that is an error. Compiled code asks the same selector.
"""

import asyncio
import copy
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..task_names import check_task_names
from .running import Innermost, innermost_block, knows_set_task, now, open_block
from .selection import Selection


@dataclass(eq=False)
class _Setter:
    """Who has set a task: a thread and, in it, an asyncio task."""

    thread: int
    asyncio_task: "weakref.ref[asyncio.Task[object]] | None"

    @classmethod
    def here(cls) -> "_Setter":
        running = _asyncio_task()
        return cls(threading.get_ident(), None if running is None else weakref.ref(running))

    def other(self) -> str | None:
        """In words, what it is, if it lives and is not where this is called."""
        if all(thread.ident != self.thread for thread in threading.enumerate()):
            return None
        if self.asyncio_task is None:
            return "thread" if self.thread != threading.get_ident() else None
        task = self.asyncio_task()
        return None if task is None or task.done() or task is _asyncio_task() else "asyncio task"


def _asyncio_task() -> "asyncio.Task[object] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


_setting = threading.Lock()
_GRAPHS_READ_CONTEXT = torch.__version__ >= "2.14"


class TaskSelector:
    """The ordered tasks of a model, and the one that is set.

    Args:
        tasks: Names of the tasks, in the order of the rows of every per-task parameter.

    Raises:
        ValueError: if there is no task, or a name is empty, repeated or has a dot.
        TypeError: if a name is not a string.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        # True, where no norm is gated: then one pass serves all tasks.
        self.shares_trunk = False
        self.execution: Any = "auto"
        # Of batched passes, by what the images are like: see `runs_batched`.
        self.shared_parts: dict[tuple[object, ...], float] = {}
        self.differences: dict[tuple[object, ...], str] = {}
        self._innermost: Innermost = ContextVar("tsbn_hub_block")
        self._set: Selection | None = None
        self._setter, self._set_at = _Setter.here(), now()
        self._of_block: Selection | None = None  # in the copy for a thread of DataParallel
        self._traced: Selection | None = None
        self._of_thread, self._open_blocks, self._is_open = threading.local(), 0, False
        self.reset(tasks)

    @property
    def task(self) -> str | None:
        """The task that is selected here, set, or the only one; else None."""
        if len(self.tasks) == 1:
            return self.tasks[0]
        selection = self.running()
        if selection is None and self.is_set:
            selection = self.selected()
        return None if selection is None or selection.row is None else self.tasks[selection.row]

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
            RuntimeError: if another living thread, or asyncio task, has set another task.
        """
        with _setting:
            row = 0 if task is None else self.row(task)
            other = None
            if self._set is not None and (task is None or row != self._set.row):
                other = self._setter.other()
            if other is not None:
                raise RuntimeError(
                    f"Another {other} has set this model's task to {self._name()!r}, and would get the outputs of "
                    f"{task!r}. With several, name the task in the call, model(x, task=…), or use using_task."
                )
            self._set = None if task is None else Selection(row, self._tensor_of(row, device))
            self._setter, self._set_at = _Setter.here(), now()

    def reset(self, tasks: Sequence[str]) -> None:
        """Replace the tasks; none is set then."""
        self.tasks = check_task_names(tasks)
        # Rows as tensors, which nothing changes in place: outside of inference mode, they would be refused there.
        with torch.inference_mode(False):
            self._tensors = [torch.tensor(row, device="cpu") for row in range(len(self.tasks))]
        self._set = None
        self._setter, self._set_at = _Setter.here(), now()

    @property
    def is_set(self) -> bool:
        """Whether one task is set, for every forward that names none."""
        return self._set is not None

    def _name(self) -> str | None:
        return None if self._set is None or self._set.row is None else self.tasks[self._set.row]

    def _tensor_of(self, row: int, device: torch.device | None) -> Tensor:
        """A row as a tensor, on the device where it was last asked for."""
        if device is not None and device.type != "meta" and device != self._tensors[0].device:
            if torch.compiler.is_compiling():  # what is made there is no tensor
                return self._tensors[row]
            with torch.inference_mode(False):
                self._tensors = [tensor.to(device) for tensor in self._tensors]
        return self._tensors[row]

    def running(self) -> Selection | None:
        """The selection of the block that is open here, if any.

        Raises:
            RuntimeError: if this is a recomputation, and it is not known what its forward was for.
        """
        if torch.compiler.is_dynamo_compiling():
            return self._traced if self._traced is not None else self._around_graph()
        here = innermost_block(self._innermost)
        if here is not None:
            if here.tasks is not self.tasks and here.tasks != self.tasks[: len(here.tasks)]:
                raise RuntimeError(
                    f"A task was selected when the model had the tasks {here.tasks}. It has {self.tasks} now."
                )
            selection: Selection = here.selection
            return selection
        if self._of_block is None and not knows_set_task(self._set_at):
            raise RuntimeError(
                f"This is computed in a backward pass, again, and it is not known for which of the tasks {self.tasks} "
                "it was the first time. Checkpoint with torch.utils.checkpoint or model.set_grad_checkpointing(); let "
                "another function remember it, tsbn_hub.norms.remembering_task(function); or name the task in the "
                f"call, model(x, task={self.tasks[0]!r})."
            )
        return self._of_block

    def _around_graph(self) -> Selection | None:
        """In compiled code: the selection of the block that is open around it."""
        if not _GRAPHS_READ_CONTEXT:
            selection: Selection | None = getattr(self._of_thread, "selection", None)
            if selection is None and self._is_open:
                raise RuntimeError(
                    "Compiled code of torch before 2.14 does not see a block of using_task that is open in another "
                    "thread, context or asyncio task. Name the task in the call, model(x, task=…)."
                )
            return self._of_block if selection is None else selection
        around = self._innermost.get(None)
        return self._of_block if around is None else around.selection

    def is_selected(self) -> bool:
        """Whether it is clear which task a forward of a part of the model would be for."""
        return len(self.tasks) == 1 or self.is_set or self.running() is not None

    def current(self) -> Selection:
        """The selection for a norm that runs now.

        Raises:
            RuntimeError: if there are several tasks and none is selected.
        """
        if len(self.tasks) == 1:
            return Selection(0, forked=True)
        selection = self.running()
        if selection is not None and not selection.rows:
            return selection
        if selection is None and self.is_set:
            return self.selected()
        raise RuntimeError(
            f"This model has the tasks {self.tasks}, and none is selected. Call the whole model, or select one: "
            f"model(x, task={self.tasks[0]!r}), `with model.using_task({self.tasks[0]!r}):`, or "
            f"model.set_task({self.tasks[0]!r})."
        )

    def current_row(self) -> int:
        """The row of the one task that a part of the model is for now.

        Raises:
            RuntimeError: if there are several tasks and none is selected, or one for each sample.
        """
        row = self.current().row
        if row is None:
            raise RuntimeError(
                f"One of the tasks {self.tasks} is needed here, and a tensor, or each sample, selects it."
            )
        return row

    def selected(self) -> Selection:
        """The selection of the task that is set.

        Raises:
            RuntimeError: if another asyncio task has set it.
        """
        if not torch.compiler.is_dynamo_compiling() and self._setter.asyncio_task is not None:
            other = self._setter.other() if _asyncio_task() is not None else None
            if other is not None:
                raise RuntimeError(
                    f"Another {other} has set this model's task to {self._name()!r}, and may set another one. "
                    "With several, name the task in the call, model(x, task=…), or use using_task."
                )
        assert self._set is not None
        return self._set

    @contextmanager
    def run(self, selection: Selection, device: torch.device | None = None) -> Iterator[None]:
        """Run the block, a forward of the model or of a part, under this selection.

        Args:
            selection: A new one: a pass notes in it how far it is.
            device: Of the model, where it is known.
        """
        if torch.compiler.is_dynamo_compiling():
            outer, self._traced = self._traced, selection
            try:
                yield
            finally:
                self._traced = outer
            return
        if selection.row is not None and selection.tensor is None:
            selection.tensor = self._tensor_of(selection.row, device)
        with open_block(self._innermost, selection, self.tasks), self._shown_to_graphs(selection):
            yield

    @contextmanager
    def _shown_to_graphs(self, selection: Selection) -> Iterator[None]:
        """For torch before 2.14, whose compiled code reads no context variables: blocks of a thread, but asyncio's."""
        if _GRAPHS_READ_CONTEXT:
            yield
            return
        outer = getattr(self._of_thread, "selection", None)
        shown = outer if _asyncio_task() is not None else selection
        with _setting:
            self._open_blocks += 1
            self._is_open = True
        self._of_thread.selection = shown
        try:
            yield
        finally:
            self._of_thread.selection = outer
            with _setting:
                self._open_blocks -= 1
                self._is_open = self._open_blocks > 0

    def for_replica(self) -> "TaskSelector":
        """The same, for a replica in another thread, where the blocks that are open here are not."""
        selection = self.running()
        if selection is not None and selection.chunks:
            raise RuntimeError(
                "A batch with one task a sample cannot be divided among replicas. Run the tasks one after another."
            )
        replica = copy.copy(self)
        replica._of_block = selection if selection is None else replace(selection)
        return replica

    def __copy__(self) -> "TaskSelector":
        other = TaskSelector.__new__(TaskSelector)
        vars(other).update(vars(self))
        return other

    def __deepcopy__(self, memo: dict[int, object]) -> "TaskSelector":
        # A copied part may go into the model again. A model that is copied sees to its own: `for_copy`.
        return self

    def for_copy(self) -> "TaskSelector":
        """One with the same tasks, and the same task set, for a copy of the model."""
        other = TaskSelector.__new__(TaskSelector)
        other.__setstate__(self.__getstate__())
        return other

    def __getstate__(self) -> dict[str, object]:
        return {
            "tasks": self.tasks,
            "task": self._name(),
            "shares_trunk": self.shares_trunk,
            "execution": self.execution,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        TaskSelector.__init__(self, state["tasks"])
        self.shares_trunk, self.execution = state["shares_trunk"], state["execution"]
        if state["task"] is not None:
            self.set(state["task"])
