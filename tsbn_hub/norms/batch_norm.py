"""BatchNorm with running statistics and gates per task, and BatchNorm that the tasks share."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from .execution import each_task
from .kernels import After, after_batch_norm
from .selection import Selection, TaskSelector
from .synchronization import should_synchronize, synchronized_batch_norm
from .task_norm import NormOptions, TaskNorm
from .task_parameters import StateDict, copy_members, device_of, pick, replicate_for_data_parallel

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class _BatchNormBase(nn.modules.batchnorm._BatchNorm):
    """What both have in common: one call of the native kernel, with one set of statistics.

    They are torch's `_BatchNorm`, so that code that looks for BatchNorms finds them: `update_bn`, loops that set them
    to evaluation. Code that would build another norm in their place asks for `affine`, or takes the statistics away,
    and is refused.

    Attributes:
        frozen: In training, too, normalise by the running statistics and leave them as they are.
        synchronized: In training, take the statistics of the joined batch of all processes of `process_group`.
    """

    plain_class: type[nn.Module]
    after: After | None
    frozen: bool
    synchronized: bool
    process_group: ProcessGroup | None

    def __init__(self) -> None:
        nn.Module.__init__(self)  # torch's own would make parameters; here the plain norm's move in

    @property
    def affine(self) -> bool:  # type: ignore[override]
        """Refused: what converts, splits or fuses a BatchNorm reads it, and would lose what belongs to the tasks."""
        raise self._refusal()

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name != "affine"]  # tracing asks for all that is listed

    def __setattr__(self, name: str, value: Any) -> None:
        if value is None and name in STATISTICS and self._buffers.get(name) is not None:
            raise self._refusal()
        super().__setattr__(name, value)

    def _refusal(self) -> RuntimeError:
        return RuntimeError(
            f"A {type(self).__name__} cannot be converted, split or fused as a {self.plain_class.__name__}: its gates, "
            "or the statistics of its tasks, would be lost. tsbn_hub.norms has convert_sync_batchnorm and "
            "freeze_batch_norm for it; for all else convert the plain model, model.fold(task)."
        )

    def _adopt(self, norm: nn.Module) -> None:
        vars(self).update(
            plain_class=type(norm),
            after=after_batch_norm(type(norm)),
            frozen=False,
            synchronized=isinstance(norm, nn.SyncBatchNorm),
            process_group=norm.process_group if isinstance(norm, nn.SyncBatchNorm) else None,
        )

    def _batch_norm(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, index: int | Tensor | None, update: bool = True
    ) -> Tensor:
        """Normalise by the statistics of a row (None: the only ones) and, in training, update them."""
        mean, var = self.running_mean, self.running_var
        if mean is not None and var is not None and index is not None:
            mean, var = pick(mean, index), pick(var, index)
        if mean is None or (self.training and not self.frozen):
            y = self._by_batch(x, mean, var, weight, bias, index, update)
        else:
            y = F.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)
        return y if self.after is None else self.after(self, y)

    def _by_batch(
        self,
        x: Tensor,
        mean: Tensor | None,
        var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        index: int | Tensor | None,
        update: bool,
    ) -> Tensor:
        """Normalise by the statistics of the batch, which these running ones of a row take in."""
        update = update and mean is not None and self.track_running_stats
        if update:
            self._warn_if_nothing_else_is_trained()
        else:
            mean = var = None
        momentum = self._count_batch(index) if update else 0.0
        if self.training and self.synchronized and should_synchronize(self.process_group):
            y = synchronized_batch_norm(x, mean, var, weight, bias, momentum, self.eps, self.process_group)
        else:
            y = F.batch_norm(x, mean, var, weight, bias, True, momentum, self.eps)
        if update and isinstance(index, Tensor):
            # Picked by a tensor, the row is a copy.
            for stacked, row in ((self.running_mean, mean), (self.running_var, var)):
                stacked.index_copy_(0, index.view(1), row[None])  # type: ignore[union-attr,index]
        return y

    def _batched(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, index: Tensor | None, selection: Selection
    ) -> Tensor:
        """The same in a batched pass that is compiled, by operations that vmap knows; `take_in` follows the pass."""
        mean, var = self.running_mean, self.running_var
        if mean is not None and var is not None and (not self.training or self.frozen):
            if index is not None:
                mean, var = pick(mean, index), pick(var, index)
            y = F.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)
        else:
            if self.synchronized and should_synchronize(self.process_group):
                raise RuntimeError(
                    "Statistics of the joined batch of all processes cannot be taken in a batched pass that is "
                    'compiled: set model.execution = "sequential".'
                )
            y = F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
            if mean is not None and self.track_running_stats:
                samples, dims = x.detach().to(mean.dtype), [0, *range(2, x.ndim)]
                selection.statistics.append((self, samples.mean(dims), samples.var(dims)))
        return y if self.after is None else self.after(self, y)

    def _warn_if_nothing_else_is_trained(self) -> None:
        """Say once that frozen parameters do not freeze the statistics. timm's own function does not see task norms."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        trained = [parameter.requires_grad for parameter in self._parameters.values() if parameter is not None]
        if trained and not any(trained):
            # Python shows a warning once for each text and place.
            warnings.warn(
                "The parameters of a BatchNorm are frozen, and its running statistics still move in training. To fix "
                "these, too, call tsbn_hub.norms.freeze_batch_norm(model): timm.utils.freeze does not see task norms.",
                stacklevel=1,
            )

    def _refuse_rows_of_samples(self) -> None:
        if self.training and not self.frozen:
            raise RuntimeError(
                "In training, a BatchNorm normalises each task's samples by themselves: a compiled graph cannot take "
                "these apart by a tensor of rows. Train with one task a call, or with one task a sample uncompiled."
            )

    def reset_running_stats(self) -> None:
        """Start the statistics anew, unless they are frozen."""
        if not self.frozen:
            super().reset_running_stats()

    def _count_batch(self, index: int | Tensor | None) -> float:
        """Count the batch, and return how much it weighs in the running statistics."""
        count = self.num_batches_tracked
        if count is not None:
            if index is None:
                count += 1
            elif isinstance(index, int):
                count[index] += 1
            else:
                count.index_add_(0, index.view(1), torch.ones_like(count[:1]))
        if self.momentum is not None:
            return self.momentum
        return 0.0 if count is None else 1.0 / float(count if index is None else pick(count, index))


class TaskBatchNorm(TaskNorm, _BatchNormBase):  # type: ignore[misc]
    r"""BatchNorm with running statistics and a gate per task.

    .. math:: y = \sigma(a_t) \odot \left(\gamma \odot \frac{x - \mu_t}{\sqrt{v_t + \epsilon}} + \beta\right)

    Like `TaskNorm`, and `running_mean` and `running_var` are (T, C), `num_batches_tracked` is (T,). A forward for one
    task reads and updates that task's row alone.

    Source: arXiv 2512.20420, section 3.
    """

    def __init__(
        self, norm: nn.Module, selector: TaskSelector, options: NormOptions, like: Tensor | None = None
    ) -> None:
        super().__init__(norm, selector, options, like)
        self._adopt(norm)
        tasks = len(selector.tasks)
        for name in STATISTICS:
            plain = self._buffers.get(name)
            if plain is not None:
                self._buffers[name] = plain.expand(tasks, *plain.shape).clone()

    def _find_kernel(self) -> None:
        self.after = after_batch_norm(self.plain_class)

    def _warn_if_nothing_else_is_trained(self) -> None:
        # Of style "statistics" these are all that a task has, and what `freeze_trunk` leaves to learn.
        if self.options.style != "statistics":
            super()._warn_if_nothing_else_is_trained()

    def reset_running_stats(self) -> None:
        """Start the statistics anew, unless they are frozen: those of the task that is selected, or of all tasks."""
        task = self.selector.task
        if task is None:
            super().reset_running_stats()
        elif self.track_running_stats and not self.frozen:
            rows, new = self.rows(self.selector.row(task)), self.new_rows()
            for name in STATISTICS:
                if name in new:
                    getattr(self, name)[rows] = new[name]

    def normalize(self, x: Tensor, index: int | Tensor) -> Tensor:
        """The norm of samples that are all for one task."""
        return self._batch_norm(x, *self.gated_affine(index), index)

    def normalize_by_sample(self, x: Tensor, selection: Selection) -> Tensor:
        """The norm of samples whose rows a tensor says."""
        self._refuse_rows_of_samples()
        return super().normalize_by_sample(x, selection)

    def normalize_batched(self, x: Tensor, selection: Selection) -> Tensor:
        """The norm of a task's samples in a batched pass that is compiled, by operations that vmap knows."""
        assert selection.batched_row is not None
        return self._batched(x, *self.gated_affine(selection.batched_row), selection.batched_row, selection)

    def take_in(self, means: Tensor, variances: Tensor, rows: list[int]) -> None:
        """Update the running statistics of the tasks of these rows by those of their samples, (rows, C)."""
        count, weight = self.num_batches_tracked, self.momentum
        part = slice(None) if len(rows) == len(self.selector.tasks) else rows
        if count is not None:
            count[part] += 1
        for running, new in ((self.running_mean, means), (self.running_var, variances)):
            assert running is not None
            if weight is None and count is not None:
                running[part] += (new - running[part]) / count[part, None]
            else:
                running[part] = running[part].lerp(new, weight or 0.0)

    def stacked_names(self) -> list[str]:
        """The parameters of all tasks, and the statistics."""
        return super().stacked_names() + [name for name in STATISTICS if getattr(self, name, None) is not None]

    def at_start(self, device: torch.device | None = None) -> dict[str, Tensor]:
        """As `TaskNorm` has it."""
        start = super().at_start(device)
        for name in STATISTICS:
            if getattr(self, name, None) is not None:
                value = 1 if name == "running_var" else 0
                start[name] = torch.full_like(getattr(self, name), value, device=device)
        return start

    def fold(self, row: int) -> nn.Module:
        """The plain norm that computes what this one does for one task."""
        plain = super().fold(row)
        for name in ("frozen", "synchronized"):
            vars(plain).pop(name, None)
        for name in STATISTICS:
            if getattr(self, name, None) is not None:
                plain.register_buffer(name, getattr(self, name)[row].clone())
        return plain

    @property
    def had_tensors(self) -> bool:
        """Whether the plain norm has entries in a state dict."""
        return super().had_tensors or self.running_mean is not None

    def is_plain(self, state_dict: Mapping[str, Tensor], prefix: str) -> bool:
        """Whether a state dict has the entries of a plain norm here."""
        mean = state_dict.get(prefix + "running_mean")
        return mean.ndim == 1 if mean is not None else super().is_plain(state_dict, prefix)

    def _adapt_plain(self, state_dict: StateDict, prefix: str, error_messages: list[str]) -> None:
        super()._adapt_plain(state_dict, prefix, error_messages)
        for name in STATISTICS:
            stacked = getattr(self, name, None)
            if stacked is None:
                continue
            plain = state_dict.get(prefix + name)
            if plain is None:
                if name == "num_batches_tracked":
                    state_dict[prefix + name] = _own_count(stacked, state_dict)
            elif plain.ndim == stacked.ndim - 1:
                state_dict[prefix + name] = plain.expand_as(stacked).clone()


class SharedBatchNorm(_BatchNormBase):
    """A BatchNorm without gates in a network whose other norms have them.

    After the fork, where the tasks' features differ, it normalises each task's samples by themselves, and updates its
    statistics once a task. Before the fork, the batch counts once a step, however many tasks pass it.
    """

    weight: Tensor | None  # type: ignore[assignment]
    bias: Tensor | None  # type: ignore[assignment]
    selector: TaskSelector
    _replicate_for_data_parallel = replicate_for_data_parallel

    def __init__(self, norm: nn.Module, selector: TaskSelector) -> None:
        super().__init__()
        copy_members(norm, self)
        self.selector = selector
        self._adopt(norm)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        selection = self.selector.current()
        if selection.differs_by_sample:
            self._refuse_rows_of_samples()
        if selection.forked and selection.batched_row is not None:
            if torch.compiler.is_dynamo_compiling():
                return self._batched(x, weight, bias, None, selection)
            return each_task(x, selection, lambda part, _: self._batch_norm(part, weight, bias, None))
        if self.training and selection.forked and selection.chunks:
            return torch.cat([self._batch_norm(part, weight, bias, None) for _, part in selection.split(x)])
        counted = selection.repeated and not selection.forked
        return self._batch_norm(x, weight, bias, None, update=not counted)

    def take_in(self, means: Tensor, variances: Tensor, rows: list[int]) -> None:
        """Update the running statistics by those of each task's samples, (rows, C), one after another."""
        for mean, variance in zip(means, variances, strict=True):
            weight = self._count_batch(None)
            self.running_mean.lerp_(mean, weight)  # type: ignore[union-attr]
            self.running_var.lerp_(variance, weight)  # type: ignore[union-attr]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start anew, as the plain norm does."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight.fill_(1)
        if self.bias is not None:
            self.bias.zero_()

    def fold(self, row: int = 0) -> nn.Module:
        """The plain norm that it replaced, whatever the task."""
        plain = self.plain_class.__new__(self.plain_class)
        copy_members(self, plain)
        for name in ("selector", "plain_class", "after", "frozen", "synchronized"):
            vars(plain).pop(name, None)
        return plain

    def __prepare_scriptable__(self) -> nn.Module:
        return self.fold()

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in super().__getstate__().items() if key != "after"}

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        self.after = after_batch_norm(self.plain_class)

    def _load_from_state_dict(self, state_dict: StateDict, prefix: str, *args: Any) -> None:
        if self.num_batches_tracked is not None:
            count = _own_count(self.num_batches_tracked, state_dict)
            state_dict.setdefault(prefix + "num_batches_tracked", count)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{self.plain_class.__name__}({getattr(self, 'num_features', '')})"


def _own_count(count: Tensor, state_dict: StateDict) -> Tensor:
    """The batches that a checkpoint without a count leaves a norm with. torch's own norms accept it, too."""
    return torch.zeros_like(count, device=device_of(state_dict)) if count.is_meta else count.clone()
