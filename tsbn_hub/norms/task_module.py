"""What a converted network can do, whatever it is: know its tasks, run one or all, fold one out."""

import copy
import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from .checkpoints import check_part, check_task_entries, complete_plain
from .execution import Execution, check_execution
from .execution.batched import run_batched
from .execution.choice import runs_batched
from .folding import folded
from .selection import Selection, TaskSelector
from .selection.running import refuse_generators
from .task_names import check_noted_tasks, check_task_names, note_tasks
from .task_norm import TaskNorm
from .task_parameters import StateDict, TaskModules, TaskParameters, replicate_for_data_parallel

Tasks = str | Sequence[str] | Tensor

Outputs = Any
"""What the forward of a network gives: tensors, in any structure."""

Forward = Callable[..., Outputs]

_WHOLE = "whole"
"""In a state dict's metadata: it is to have every entry."""


class TaskModule(nn.Module):
    """A network with task norms. `convert` adds this to the network's own class.

    Its forward takes a further keyword, `task`: a name, for that task's output; one name a sample, for one output a
    sample; an integer tensor of a row, or (B,) of a row a sample, for compiled and exported graphs. Without it, and
    with no task set, a network of several tasks returns a dict with every task's output.
    """

    task_selector: TaskSelector
    members_of_task_modules: ClassVar[tuple[str, ...]] = ("task_selector",)
    plain_class: type[nn.Module]

    # --- the tasks ---

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks, in the order of the gates' rows."""
        return list(self.task_selector.tasks)

    @property
    def task(self) -> str | None:
        """The task that is set, `using_task`'s within its block, or the only one; else None."""
        return self.task_selector.task

    def set_task(self, task: str | None) -> None:
        """Run this task in every further forward that names none; None: all tasks.

        Raises:
            ValueError: if there is no such task.
            RuntimeError: if another thread, or asyncio task, has set another one.
        """
        self.task_selector.set(task, self._device())

    @property
    def execution(self) -> Execution:
        """How a forward for all tasks runs them.

        "batched": in one pass, in which what is before the fork is computed once. "sequential": one after another.
        "auto": batched where that is as exact and, by a measured rule, faster. It may be set. It is no part of the
        model: nothing of it is saved.
        """
        return check_execution(self.task_selector.execution)

    @execution.setter
    def execution(self, execution: Execution) -> None:
        self.task_selector.execution = check_execution(execution)

    @contextmanager
    def using_task(self, task: str) -> Iterator[None]:
        """Within the block, and this thread and asyncio task, the network is that of one task.

        Raises:
            ValueError: if there is no such task.
            RuntimeError: if the block would be a generator's.

        Example:
            >>> import torch, timm, tsbn_hub
            >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
            >>> with model.using_task("left"):
            ...     model.forward_features(torch.rand(1, 3, 64, 64)).shape[:2]
            torch.Size([1, 96])
        """
        row = self.task_selector.row(task)
        if not torch.compiler.is_dynamo_compiling():
            refuse_generators(sys._getframe())
        with self.task_selector.run(Selection(row), self._device()):
            yield

    def _device(self) -> torch.device | None:
        return next((tensor.device for tensor in self.parameters()), None)

    def add_task(self, task: str, like: str | None = None) -> None:
        """Add a task at the end, in place. The parameters that it has a part of are new objects: rebuild the optimizer.

        Args:
            task: Its name.
            like: An existing task to start from; None starts with fresh gates and statistics.

        Raises:
            ValueError: if the name is taken or not allowed, or there is no task `like`.
        """
        like_row = None if like is None else self.task_selector.row(like)
        rows = list(range(len(self.tasks)))
        parts = {module: [*rows, self._rows_of_new_task(module, like_row)] for module in self._task_parameters()}
        self._replace_tasks([*self.tasks, task], parts)

    def _rows_of_new_task(self, module: TaskParameters, like_row: int | None) -> dict[str, Tensor]:
        if like_row is None:
            return module.new_rows()
        return {name: getattr(module, name).detach()[module.rows(like_row)].clone() for name in module.stacked_names()}

    def _replace_tasks(self, tasks: list[str], parts: Mapping[TaskParameters, list[Any]]) -> None:
        """Change the tasks, and all rows as `TaskParameters.stack_rows` says, or nothing if something fails."""
        check_task_names(tasks)
        stacked = {module: module.stack_rows(of_module) for module, of_module in parts.items()}
        self.task_selector.reset(tasks)
        for module, new in stacked.items():
            module.put_rows(new, parts[module])

    def remove_task(self, task: str) -> None:
        """Remove a task, in place. The parameters that it had a part of are new objects: rebuild the optimizer.

        Raises:
            ValueError: if there is no such task, or no other one.
        """
        selector = self.task_selector
        removed = selector.row(task)
        if len(selector.tasks) == 1:
            raise ValueError(f"{task!r} is the model's only task, and cannot be removed.")
        rows = [row for row in range(len(selector.tasks)) if row != removed]
        self._replace_tasks([selector.tasks[row] for row in rows], dict.fromkeys(self._task_parameters(), rows))

    @property
    def trunk(self) -> nn.Module:
        """The part that gives the features, with the task norms in it: here all of the network."""
        return self

    def modules_of(self, task: str) -> list[nn.Module]:
        """The modules that no other task runs through, such as the task's head."""
        return [module.of(task) for module in self.modules() if isinstance(module, TaskModules)]

    def parameters_of_single_tasks(self) -> list[nn.Parameter]:
        """The parameters that the tasks do not share: of task norms, classifiers, heads."""
        stacked = [parameter for module in self._task_parameters() for parameter in module.stacked_parameters()]
        return stacked + [
            parameter for task in self.tasks for part in self.modules_of(task) for parameter in part.parameters()
        ]

    def _task_parameters(self) -> list[TaskParameters]:
        return [module for module in self.modules() if isinstance(module, TaskParameters)]

    # --- the forward ---

    def _forward(self, plain_forward: Forward, *args: Any, task: Tasks | None = None, **kwargs: Any) -> Outputs:
        selector = self.task_selector
        if task is not None:
            return self._forward_selected(plain_forward, task, *args, **kwargs)
        selection = None if len(selector.tasks) == 1 else selector.running()
        if len(selector.tasks) == 1 or (selection is not None and not selection.rows):
            return plain_forward(self, *args, **kwargs)
        if selection is None and selector.is_set:
            with selector.run(selector.selected()):
                return plain_forward(self, *args, **kwargs)
        if any(isinstance(value, fx.Proxy) for value in args):
            raise RuntimeError(
                f"A graph of modules holds one task, and this model has {selector.tasks}: model.set_task(...) first."
            )
        chosen = selection or Selection(rows=tuple(range(len(selector.tasks))))
        return self._forward_all(plain_forward, chosen, *args, **kwargs)

    def _forward_all(self, plain_forward: Forward, chosen: Selection, *args: Any, **kwargs: Any) -> dict[str, Outputs]:
        """The output of each chosen task; where nothing in the network differs by task, one pass gives that of all."""
        selector, tasks, rows = self.task_selector, self.tasks, chosen.rows
        if selector.shares_trunk:
            with selector.run(Selection(repeated=chosen.repeated)):
                return self._split_by_task(plain_forward(self, *args, **kwargs))
        forward = functools.partial(plain_forward, self, **kwargs)
        if runs_batched(self, selector, forward, args):
            together = run_batched(selector, lambda: forward(*args), len(args[0]), rows, chosen.repeated)
            return {tasks[row]: self._output_of_row(each, row) for row, each in zip(rows, together, strict=True)}
        outputs: dict[str, Outputs] = {}
        for row, selection in zip(rows, chosen.passes(), strict=True):
            with selector.run(selection, _device_of(args)):
                outputs[tasks[row]] = forward(*args)
        return outputs

    def _forward_selected(self, plain_forward: Forward, task: Tasks, *args: Any, **kwargs: Any) -> Outputs:
        selector = self.task_selector
        if not isinstance(task, (str, Tensor, list, tuple)):  # torch 2.9 does not compile a union here
            raise TypeError(
                f"task={task!r} is no task: give a name, a list with one name a sample, or a tensor of rows. The tasks "
                f"of this model are {self.tasks}."
            )
        if isinstance(task, str):
            with selector.run(Selection(selector.row(task)), _device_of(args)):
                return plain_forward(self, *args, **kwargs)
        if not args:
            raise TypeError(
                "With a task for each sample, or a tensor, give the images as the first positional argument."
            )
        x, *others = args
        # A graph cannot sort by the values of a tensor.
        if isinstance(task, Tensor) and (task.ndim == 0 or _is_traced()):
            with selector.run(Selection(tensor=task.to(x.device))):
                return plain_forward(self, *args, **kwargs)
        rows = self._rows(task, x)
        # Sorted by task, every norm sees each task's samples as one slice.
        order = sorted(range(len(rows)), key=rows.__getitem__)
        chunks = tuple((row, rows.count(row)) for row in sorted(set(rows)))
        back = [0] * len(order)
        for position, sample in enumerate(order):
            back[sample] = position
        with selector.run(Selection(chunks=chunks)):
            outputs = plain_forward(self, x[order], *others, **kwargs)
        outputs = pytree.tree_map_only(Tensor, lambda output: output[back], outputs)
        return self._output_of_rows(outputs, rows)

    def _rows(self, task: Sequence[str] | Tensor, x: object) -> list[int]:
        """The row of every sample."""
        if not isinstance(x, Tensor):
            raise TypeError(f"One task a sample needs the batch as a tensor, not {type(x).__name__}.")
        if len(task) != len(x):
            raise ValueError(f"{len(task)} tasks for a batch of {len(x)} samples: give one name a sample.")
        if not isinstance(task, Tensor):
            return [self.task_selector.row(name) for name in task]
        rows: list[int] = task.tolist()
        if any(not 0 <= row < len(self.task_selector.tasks) for row in rows):
            raise ValueError(f"Rows {sorted(set(rows))} for the {len(self.task_selector.tasks)} tasks {self.tasks}.")
        return rows

    def _split_by_task(self, outputs: Outputs) -> dict[str, Outputs]:
        """The outputs of one pass for all tasks, by task."""
        return dict.fromkeys(self.task_selector.tasks, outputs)

    def _output_of_row(self, outputs: Outputs, row: int) -> Outputs:
        """The outputs of one task in a batched pass, as they are returned."""
        return outputs

    def _output_of_rows(self, outputs: Outputs, rows: list[int]) -> Outputs:
        """The outputs of samples of several tasks, as they are returned."""
        return outputs

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters not to decay: those of single tasks, and what the plain class says."""
        plain = getattr(super(), "no_weight_decay", set)
        norms = [(name, norm) for name, norm in self.named_modules() if isinstance(norm, TaskNorm)]
        return set(plain()) | {
            f"{name}.{stacked}"
            for name, norm in norms
            for stacked in norm.stacked_names()
            if stacked in norm._parameters
        }

    # --- the plain network ---

    def fold(self, task: str | None = None) -> nn.Module:
        """The plain network that computes what this one does for a task: its own class, its own state-dict keys.

        Args:
            task: The task; it may be left out where there is one, or one is set.

        Returns:
            A copy, with memory of its own. It needs nothing of this package.

        Raises:
            ValueError: if there is no such task.
            RuntimeError: if it is not said which task.

        Example:
            >>> import torch, timm, tsbn_hub
            >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"], num_classes=10).eval()
            >>> plain, x = model.fold("right"), torch.rand(1, 3, 64, 64)
            >>> type(plain).__name__, torch.equal(plain(x), model(x, task="right"))
            ('ResNet', True)
        """
        row = self._row_to_fold(task)
        plain = self._fold(row)
        vars(plain)["folded_task"] = self.tasks[row]
        return plain

    def _row_to_fold(self, task: str | None) -> int:
        selected = self.task if task is None else task
        if selected is None:
            raise RuntimeError(
                f"This model has the tasks {self.tasks}: say which one to fold, as in fold({self.tasks[0]!r})."
            )
        return self.task_selector.row(selected)

    def _fold(self, row: int) -> nn.Module:
        plain = folded(self, row)
        for module in list(plain.modules()):
            if isinstance(module, TaskModule):
                _become_plain(module)
        return plain

    def __prepare_scriptable__(self) -> nn.Module:
        # TorchScript knows one task: its plain network, which costs nothing.
        if self.task is None:
            raise RuntimeError(
                f"TorchScript takes one task, and this model has {self.tasks}: model.set_task(...) first."
            )
        return self.fold()

    # --- saving, loading, copying ---

    _replicate_for_data_parallel = replicate_for_data_parallel

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        selector = self.task_selector
        if id(selector) not in memo:  # of a model around this one
            memo[id(selector)] = selector.for_copy()
        plain = getattr(super(), "__deepcopy__", None)
        if plain is not None:
            copied = plain(memo)
        else:
            copied = memo[id(self)] = type(self).__new__(type(self))
            copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        for part in copied.modules():
            if getattr(part, "selector", None) is selector:  # it was copied before, as something else's
                part.selector = memo[id(selector)]
        return copied

    def _stacked_entries(self) -> list[str]:
        """The names of the state dict's entries that have rows of all tasks."""
        modules = [(name, module) for name, module in self.named_modules() if isinstance(module, TaskParameters)]
        return [f"{name}.{stacked}" for name, module in modules for stacked in module.stacked_names()]

    def _save_to_state_dict(self, destination: StateDict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._stacked_entries():
            note_tasks(destination, prefix, (), self.tasks)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch has it. A plain network's is turned into one that keeps its function for every task.

        With `strict=False` it may be a part, and what it does not name stays as it is.

        Raises:
            RuntimeError: if it does not fit, or is of other tasks, or if it cannot be told whether it is a plain
                network's.
            TypeError: if it is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"A state dict maps names to tensors; this is {type(state_dict).__name__}.")
        given = OrderedDict(state_dict)
        metadata = dict(getattr(state_dict, "_metadata", None) or {})
        metadata[""] = {**metadata.get("", {}), _WHOLE: strict}  # torch tells modules nothing of it
        given._metadata = metadata  # type: ignore[attr-defined]
        return super().load_state_dict(given, strict=strict, assign=assign)

    def _load_from_state_dict(
        self, state_dict: StateDict, prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        check_noted_tasks(state_dict, prefix, self._stacked_entries(), local_metadata, self.tasks)
        self._check_task_entries(state_dict, prefix)
        if local_metadata.get(_WHOLE):
            complete_plain(self, state_dict, prefix)
        else:
            check_part(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _check_task_entries(self, state_dict: StateDict, prefix: str) -> None:
        """Refuse, before anything is changed, a state dict that is of another model, or of other tasks."""
        check_task_entries(self, self.tasks, state_dict, prefix)

    @classmethod
    def members_for(cls, plain_class: type[nn.Module]) -> dict[str, object]:
        """Further members of the class made for `plain_class`: wrappers of methods that not every class has."""
        return {}


def _become_plain(module: TaskModule) -> None:
    """Take away, in place, what `task_class.as_task_module` gave a network."""
    for name in module.members_of_task_modules:
        vars(module).pop(name, None)
    module.__class__ = module.plain_class  # type: ignore[assignment]


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _device_of(args: Sequence[object]) -> torch.device | None:
    return args[0].device if args and isinstance(args[0], Tensor) else None
