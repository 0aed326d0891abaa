"""One optimizer step, and all that it moves."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, send_to_device
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from ...data.sample import Batch
from ...models.heads import Head
from ...norms import convert_sync_batchnorm
from ...tasks import Kind
from ..balancing import Balancing
from ..not_finite import NotFiniteError
from ..optimization import create_optimizer, create_schedule
from ..recipe.config import TrainingConfig
from ..state.run_state import State
from ..state.signals import StopSignals
from .aggregating import check_aggregator, drawing_alike
from .gradients import Aggregator, TasksForward, fill_gradients, gradient_norm, label_counts
from .idle_tasks import idle_tasks_at_rest


@dataclass(frozen=True)
class StepOutcome:
    """What happened in a step, the same on every process.

    Attributes:
        losses: The loss of each task that the step was for, before weighting.
        labelled: The tasks that a sample of the step had a target for. The step was for all of these, or some.
        stop: Whether a process was asked to stop.
    """

    losses: dict[str, float]
    labelled: list[str]
    stop: bool


class Learner:
    """A model that learns, with its optimizer, learning rates and balancing, and the average of its weights.

    Args:
        model: The model, which is moved to the device.
        kinds: The kind of each task that is trained.
        balancing: How the tasks become one step.
        config: Of the run.
        steps_per_epoch: Steps of an epoch.
        accelerator: Of this process.
        signals: Whether this process is asked to stop.
        aggregator: Makes one gradient of those of the tasks: see `train`.

    Attributes:
        network: The model as the accelerator has prepared it, a `TasksForward`.
        ema: The average of the weights, where the config asks for it.

    Raises:
        ValueError: if the config does not fit the model or the aggregator.
    """

    def __init__(
        self,
        model: nn.Module,
        kinds: Mapping[str, Kind],
        balancing: Balancing,
        config: TrainingConfig,
        steps_per_epoch: int,
        accelerator: Accelerator,
        signals: StopSignals,
        aggregator: Aggregator | None = None,
    ) -> None:
        if aggregator is not None:
            check_aggregator(aggregator, config, balancing)
        self.kinds, self.config, self.steps_per_epoch = kinds, config, steps_per_epoch
        self.accelerator, self.signals, self.aggregator = accelerator, signals, aggregator
        if config.sync_batch_norm:
            convert_sync_batchnorm(model)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        self.model, self.balancing = model.to(accelerator.device), balancing.to(accelerator.device)
        optimizer = self._new_optimizer()
        self.schedule = create_schedule(
            optimizer,
            config.schedule,
            config.epochs,
            steps_per_epoch,
            min(config.warmup_epochs, config.epochs),
            config.decay_epochs,
            config.decay_rate,
        )
        # A head is reached by its own task's pass alone. (timm's classifiers are rows of one parameter.)
        has_heads = any(isinstance(module, Head) for module in model.modules())
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=has_heads)  # type: ignore[assignment]
        self.network, self.optimizer = accelerator.prepare(TasksForward(model), optimizer)
        # Statistics steer no training step: one broadcast before an evaluation is enough.
        self.network.broadcast_buffers = False
        self.ema = None if config.ema_decay is None else ModelEmaV3(model, config.ema_decay, use_warmup=True)

    def _new_optimizer(self) -> Optimizer:
        config = self.config
        optimizer = create_optimizer(
            self.model,
            config.optimizer,
            config.lr,
            config.weight_decay,
            config.gate_lr_scale,
            config.layer_decay,
            config.gate_weight_decay,
            config.optimizer_args,
        )
        if learned := list(self.balancing.parameters()):
            optimizer.add_param_group({"name": "loss weighting", "params": learned, "lr": config.lr, "weight_decay": 0})
        return optimizer

    def take_step(self, batches: list[Batch], number: int) -> StepOutcome:
        """One optimizer step, for the tasks that it has targets of, or some of them drawn at random.

        Args:
            batches: The micro-batches of this process.
            number: Which step of the run it is, from 0.

        Raises:
            NotFiniteError: if a loss or gradient is not finite; it names step and tasks.
        """
        accelerator = self.accelerator
        counts = label_counts(batches, self.kinds, accelerator).T.tolist()
        labelled = {name: column for name, column in zip(self.kinds, counts, strict=True) if any(column)}
        active = self._drawn(labelled, number)

        self.schedule.set_lr(number)
        self.optimizer.zero_grad()
        weights, aggregator = self.balancing.step_weights(list(active)), self._aggregator(list(active), number)
        batches = send_to_device(batches, accelerator.device, non_blocking=True)
        shares = fill_gradients(
            self.network, batches, self.kinds, active, weights, accelerator, self.config.backward, aggregator
        )
        asked = self.signals.asked(accelerator.device)
        joined = accelerator.reduce(torch.stack([*(shares[name].float() for name in active), asked]))
        norm = self._clipped_norm() if active else asked
        *values, stop, norm_value = torch.cat([joined, norm[None]]).tolist()  # the one wait for the device in a step
        losses = dict(zip(active, values, strict=True))
        if active:
            # With fp16, the scaler skips a step whose gradients have overflown.
            if not math.isfinite(sum(values)) or (accelerator.scaler is None and not math.isfinite(norm_value)):
                raise self._not_finite(number, self._guilty_tasks(batches, active, losses))
            self.balancing.after_step(dict(zip(active, joined, strict=False)))
            with idle_tasks_at_rest(self.model, self.optimizer.optimizer, active):
                self.optimizer.step()
            if self.ema is not None:
                self.ema.update(self.model, step=number)
        return StepOutcome(losses, list(labelled), bool(stop))

    def _drawn(self, labelled: dict[str, list[int]], number: int) -> dict[str, list[int]]:
        """The tasks of a step: all that are labelled, or as many as the config says, drawn by seed and step alone."""
        wanted = self.config.tasks_per_step
        if wanted is None or wanted >= len(labelled):
            return labelled
        drawn = random.Random(f"{self.config.seed} {number}").sample(list(labelled), wanted)
        return {name: column for name, column in labelled.items() if name in drawn}

    def _aggregator(self, active: Sequence[str], number: int) -> Aggregator | None:
        """What joins the gradients of a step's tasks, with draws of its own."""
        aggregator = self.aggregator or self.balancing.step_aggregator(active)
        return aggregator and drawing_alike(aggregator, self.config.seed, number, self.accelerator.device)

    def _clipped_norm(self) -> Tensor:
        """The norm of the gradients before they are clipped."""
        self.accelerator.unscale_gradients()
        norm = gradient_norm(self.network)
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.network.parameters(), self.config.max_grad_norm, norm)
        return norm

    def _guilty_tasks(self, batches: list[Batch], counts: Mapping[str, list[int]], losses: Mapping[str, float]) -> str:
        """Whose loss or gradient is not finite, in words: one backward for each task finds out. Gradients are lost."""
        guilty = [f"the loss of {name!r} is {loss}" for name, loss in losses.items() if not math.isfinite(loss)]
        if guilty:
            return ", ".join(guilty)
        for name, column in counts.items():
            self.network.zero_grad()
            weights = {name: torch.ones((), device=self.accelerator.device)}
            fill_gradients(self.network, batches, self.kinds, {name: column}, weights, self.accelerator)
            if not gradient_norm(self.network).isfinite():
                guilty.append(f"the gradient of {name!r} is not finite")
        return ", ".join(guilty) or (
            f"the gradient of all tasks together, with balancing={self.config.balancing!r}, is not finite"
        )

    def _not_finite(self, number: int, what: str) -> NotFiniteError:
        epoch, step = divmod(number, self.steps_per_epoch)
        return NotFiniteError(
            f"In epoch {epoch + 1}, step {step + 1} (step {number + 1} of the run), {what}. "
            f"{Path(self.config.output)} keeps the last good state, if there was one. "
            "Try a smaller lr, max_grad_norm, or mixed_precision: 'no'."
        )

    def trained_model(self) -> nn.Module:
        """The model to evaluate and to keep: the average, where there is one."""
        return self.model if self.ema is None else self.ema.module

    def state_dict(self) -> State:
        """All that the steps have moved."""
        scaler = self.accelerator.scaler
        return {
            "model": dict(self.model.state_dict()),
            "weighting": dict(self.balancing.state_dict()),
            "optimizer": self.optimizer.optimizer.state_dict(),
            "ema": None if self.ema is None else dict(self.ema.module.state_dict()),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Go back to where `state_dict` was called."""
        self.model.load_state_dict(state["model"])
        self.balancing.load_state_dict(state["weighting"])
        self.optimizer.optimizer.load_state_dict(state["optimizer"])
        _in_format_of_parameters(self.optimizer.optimizer)
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def _in_format_of_parameters(optimizer: Optimizer) -> None:
    """Lay out what the optimizer has been given as its parameters are, as it was when it began: to the same bits."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
