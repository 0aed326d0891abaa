"""Multi-task training as one of timm's training tasks: timm's own loops train our models."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from timm.task import TrainingTask
from timm.utils import unwrap_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from ...data import Collate, Sample
from ...data.images import as_input
from ...models.outputs import outputs_by_task, zero_of_parameters
from ...norms.wrappers import unwrapped_to_change
from ...tasks import Classification, Kind
from ..balancing import LossWeighting
from ..step.gradients import zero_of
from ..step.idle_tasks import rest_idle_tasks_in_steps
from .evaluator import MultiTaskEvaluator

_logger = logging.getLogger(__name__)


class Targets(dict[str, Tensor]):
    """Targets by task, which timm's loops can move to a device as they move a tensor."""

    def to(self, *args: Any, **kwargs: Any) -> "Targets":
        """Every target, moved as `Tensor.to` moves one."""
        return Targets({task: target.to(*args, **kwargs) for task, target in self.items()})


class TimmCollate:
    """Stack samples to the pairs that timm's loops take: images, and targets by task.

    Args:
        missing: As of `tsbn_hub.data.Collate`.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.timm.task import TimmCollate
        >>> samples = [{"image": torch.rand(1, 8, 8), "targets": targets} for targets in ({"a": 3}, {"b": 1})]
        >>> images, targets = TimmCollate({"a": -100, "b": -100})(samples)
        >>> images.shape, targets.to("cpu")
        (torch.Size([2, 1, 8, 8]), {'a': tensor([   3, -100]), 'b': tensor([-100,    1])})
    """

    def __init__(self, missing: Mapping[str, float]) -> None:
        self._collate = Collate(missing)

    def __call__(self, samples: Sequence[Sample]) -> tuple[Tensor, Targets]:
        """The images, (B, …), and the targets of the tasks that at least one sample has a target for."""
        batch = self._collate(samples)
        return batch["image"], Targets(batch["targets"])


class MultiTaskTraining(TrainingTask):
    """All tasks of a model in each step, of those that a sample of the step has a target for.

    A forward takes images (B, C, H, W) and a dict of targets by task; a task may be absent, or all of its targets be
    missing: then it is not run, and `guard` keeps the optimizer from moving it. The loss is the weighted sum of the
    tasks' losses. Over several processes, a task's loss is the mean over all their targets, as if they were one batch;
    over accumulated forwards it is timm's mean of their means.

    Args:
        model: A model with tasks.
        kinds: The kind of each task to train; None: every task of the model is a classification.
        weighting: How much each task's loss counts; None: all 1.
        device: Of the model.
        dtype: Of the model.
        verbose: Log what is trained.

    Raises:
        TypeError: if the model has no tasks, or `weighting` is another sort of balancing; from the forward, if the
            targets are no dict.
        ValueError: if `kinds` or `weighting` has tasks that the model has not, or lacks some that are trained, or the
            model is in DistributedDataParallel; from the forward, if there are targets of other tasks.
        RuntimeError: from a forward with gradients, if no optimizer is guarded.

    Example:
        >>> import timm, torch, tsbn_hub
        >>> from timm.optim import create_optimizer_v2
        >>> from tsbn_hub.training.timm.task import MultiTaskTraining
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"left": 10, "right": 4})
        >>> optimizer = create_optimizer_v2(model, "adamw", param_group_fn=tsbn_hub.param_groups)
        >>> training = MultiTaskTraining(model)
        >>> training.guard(optimizer)
        >>> result = training(torch.rand(8, 3, 64, 64), {"left": torch.arange(8)})
        >>> list(result), list(result["output"])
        (['loss', 'output', 'left_loss'], ['left'])
        >>> result["loss"].backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        model: nn.Module,
        kinds: Mapping[str, Kind] | None = None,
        weighting: LossWeighting | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(device=device, dtype=dtype, verbose=verbose)
        unwrapped_to_change(model, type(self).__name__)
        if not hasattr(model, "tasks"):
            raise TypeError(
                f"{type(model).__name__} has no tasks: create it by a name with _tsbn, or tsbn_hub.convert(model, "
                "tasks=[…]). For a plain model there is timm.task.ClassificationTask."
            )
        known: list[str] = list(model.tasks)  # type: ignore[arg-type]
        self.trainable_module = model
        self.kinds: dict[str, Kind] = dict.fromkeys(known, Classification()) if kinds is None else dict(kinds)
        if weighting is not None and not isinstance(weighting, LossWeighting):
            raise TypeError(f"{type(weighting).__name__} is no LossWeighting: timm's loops take weights alone.")
        self.weighting = (LossWeighting(list(self.kinds)) if weighting is None else weighting).to(self.device)
        unknown = [name for name in self.kinds if name not in known]
        if unknown or not self.kinds:
            raise ValueError(f"kinds={list(self.kinds)}: the model has no {unknown}. Its tasks are {known}.")
        if set(self.weighting.tasks) != set(self.kinds):
            raise ValueError(f"The weighting has the tasks {self.weighting.tasks}, the training {list(self.kinds)}.")
        self._step, self._epoch = _Means(), _Means()
        self._hooks: list[RemovableHandle] = []
        if self.verbose:
            _logger.info("%s: %s", type(self).__name__, {name: list(kind.metrics) for name, kind in self.kinds.items()})

    def forward(self, input: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor | dict[str, Tensor]]:  # type: ignore[override]
        """One forward and its loss.

        Returns:
            `loss`, a scalar; `output`, by task; and `<task>_loss` of each, before weighting and without gradient: its
            mean over processes is the mean over all targets. Of the tasks that have a target in this step.
        """
        shares, active = self._shares(input, target)
        if torch.is_grad_enabled():
            self._begin_step()
        if not active:
            return {"loss": self._network()(input, []), "output": {}}
        outputs: dict[str, Tensor] = self._network()(input, active)
        losses = {
            name: kind.loss(outputs[name], target[name]) * share if name in target else zero_of(outputs[name])
            for (name, kind), share in zip(self.kinds.items(), shares, strict=True)
            if name in active
        }
        detached = {name: loss.detach() for name, loss in losses.items()}
        if torch.is_grad_enabled():
            self._step.add(detached)
            self._epoch.add(detached)
        total = (self.weighting.weights(active) * torch.stack(list(losses.values()))).sum()
        return {"loss": total, "output": outputs, **{f"{name}_loss": loss for name, loss in detached.items()}}

    def guard(self, optimizer: Optimizer) -> None:
        """Let the optimizer's steps leave idle tasks as they are, and teach the loss weighting. Once, before training.

        A step is for the tasks of the forwards since the last one. If there is none, it moves nothing at all.

        Raises:
            ValueError: if the optimizer lacks a trainable parameter of the model or the weighting, or is a wrapper that
                moves parameters outside of the steps of the optimizer within.
        """
        model = unwrap_model(self.trainable_module)
        resting = rest_idle_tasks_in_steps(model, optimizer, lambda: self._step.tasks, self.weighting)
        for hook in self._hooks:
            hook.remove()
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            *resting,
            optimizer.register_step_post_hook(self._after_step),
        ]

    def after_epoch(self) -> dict[str, float]:
        """Each task's mean loss since the last call, over all processes; the loss weighting learns from it.

        To be called after each epoch, by all processes. timm's loops log the total alone.
        """
        losses = {name: loss.item() for name, loss in self._epoch.means(self._process_group()).items()}
        self.weighting.after_epoch(losses)
        self._epoch = _Means()
        return losses

    def create_evaluator(self, **kwargs: Any) -> MultiTaskEvaluator:
        """An evaluator of the tasks' metrics, for timm's validation."""
        return MultiTaskEvaluator(self.kinds, device=self.device, **kwargs)

    # --- what timm's loops prepare ---

    def prepare_distributed(self, device_ids: list[int] | None = None, **ddp_kwargs: Any) -> "MultiTaskTraining":
        """Wrap the model in DistributedDataParallel. After `compile` and `setup_ema`.

        Raises:
            ValueError: if the processes have other tasks, or in another order, as from a set.
        """
        orders: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(orders, [list(unwrap_model(self.trainable_module).tasks), list(self.kinds)])
        if any(order != orders[0] for order in orders):
            raise ValueError(f"The processes have the tasks, of model and training, in these orders: {orders}.")
        self.trainable_module = DistributedDataParallel(
            _TasksForward(self.trainable_module), device_ids=device_ids, **ddp_kwargs
        )
        return self

    def compile(  # type: ignore[override]
        self, backend: str = "inductor", mode: str | None = None, **compile_kwargs: Any
    ) -> nn.Module:
        """Compile the model. Steps for all tasks have one graph; where some are idle, each other task has its own."""
        self.trainable_module = torch.compile(self.trainable_module, backend=backend, mode=mode, **compile_kwargs)  # type: ignore[assignment]
        self.eval_model = self.trainable_module
        return self.eval_model

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Tensor]:
        """The state of the loss weighting."""
        return {} if ema else self.weighting.state_dict()

    def load_task_state(
        self,
        state: dict[str, Tensor] | None,
        strict: bool = True,
        module: nn.Module | None = None,
        ema: bool = False,
    ) -> None:
        """Load the state of the loss weighting."""
        if not ema:
            self.weighting.load_state_dict(state or {}, strict=strict)

    # --- one step ---

    def _shares(self, images: Tensor, target: Mapping[str, Tensor]) -> tuple[Tensor, list[str]]:
        """How much this process's mean counts in that of all, for each task; and which tasks any of them has."""
        if not isinstance(target, Mapping):
            raise TypeError(f"The targets are a {type(target).__name__}, not a dict by task, as of TimmCollate.")
        unknown = [name for name in target if name not in self.kinds]
        if unknown:
            raise ValueError(f"There are targets of {unknown}. The tasks of this training are {list(self.kinds)}.")
        none = torch.zeros((), dtype=torch.int64, device=images.device)
        here = torch.stack([kind.count(target[name]) if name in target else none for name, kind in self.kinds.items()])
        joined, processes, group = here.clone(), 1, self._process_group()
        if group is not None:
            dist.all_reduce(joined, group=group)
            processes = dist.get_world_size(group)
        active = [name for name, count in zip(self.kinds, joined.tolist(), strict=True) if count]
        # DistributedDataParallel takes the mean over processes where the loss is a sum.
        return here * processes / joined.clamp(min=1), active

    def _network(self) -> nn.Module:
        """The model, called with images and tasks: see `_TasksForward`."""
        module = self.trainable_module
        return module if isinstance(module, DistributedDataParallel) else _TasksForward(module)

    def _process_group(self) -> dist.ProcessGroup | None:
        module = self.trainable_module
        return module.process_group if isinstance(module, DistributedDataParallel) else None

    def _begin_step(self) -> None:
        if not self._hooks:
            raise RuntimeError("No optimizer is guarded: call guard(optimizer) once, so that idle tasks stay at rest.")
        # A gradient scaler may have skipped the last step.
        if all(parameter.grad is None for parameter in self.trainable_module.parameters()):
            self._step = _Means()

    def _before_step(self, *args: object) -> None:
        if self._step.tasks:
            self.weighting.after_step(self._step.means(self._process_group()))

    def _after_step(self, *args: object) -> None:
        self._step = _Means()


class _TasksForward(nn.Module):
    """One forward for some tasks: DistributedDataParallel must see a single one before a backward.

    timm finds the model within by the name `module`.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor, tasks: list[str] | None = None) -> Tensor | dict[str, Tensor]:
        """The outputs by task. For no task, a zero that gives every parameter a gradient, as gradient scalers want."""
        if tasks is None:
            outputs: Tensor | dict[str, Tensor] = self.module(images)
            return outputs
        if not tasks:
            return zero_of_parameters(self.module)
        return _run_tasks(self.module, as_input(images, self.module), tasks)


def _run_tasks(model: nn.Module, images: Tensor, tasks: list[str]) -> dict[str, Tensor]:
    if hasattr(model, "_orig_mod") and len(tasks) < len(model.tasks):  # type: ignore[arg-type]
        # A compiled forward learns its task from the call alone.
        return {task: model(images, task=task) for task in tasks}
    return outputs_by_task(model, images, tasks)


class _Means:
    """Mean losses, kept on the device: reading them waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()

    @property
    def tasks(self) -> list[str]:
        """Those that have had a loss."""
        return list(self._sums)

    def add(self, losses: Mapping[str, Tensor]) -> None:
        self._counts.update(losses.keys())
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss

    def means(self, group: dist.ProcessGroup | None) -> dict[str, Tensor]:
        """The mean of each task, over the processes of a group; None: of this one."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        if group is None or not means:
            return means
        joined = torch.stack([means[name] for name in sorted(means)])
        dist.all_reduce(joined, group=group)
        return dict(zip(sorted(means), joined / dist.get_world_size(group), strict=True))
