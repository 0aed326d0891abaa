"""The training loop."""

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast, gather_object, send_to_device, set_seed
from rich.progress import Progress
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader

from ..files.atomic import remove_leftovers, write_atomically
from ..files.names import LOG, RECIPE, STATE
from ..files.own_code import import_all
from ..files.permission import leave_mark
from ..models import from_pretrained, save_pretrained
from ..models.heads import Head
from ..models.saving import MODEL_FILES
from ..models.surface import normalization_of
from ..norms import convert_sync_batchnorm
from .acceleration import make_accelerator
from .evaluation import Scores, evaluate, mean_score
from .loaders import TrainingSteps, evaluation_batches, first_sample
from .optimization import create_optimizer, create_schedule
from .recipe.building import build_data, build_kinds, build_model, build_tasks, build_weighting
from .recipe.config import TrainingConfig
from .recipe.own_code import with_own_code
from .report import console_of, epoch_line, losses_line, progress_bar, score_table, size_line
from .state.record import Record
from .state.run_state import random_state, read_state, set_random_state, write_state
from .state.signals import Stopped, StopSignals
from .step.finite import NotFiniteError, gradient_norm, guilty_tasks
from .step.gradients import Aggregator, TasksForward, fill_gradients, label_counts
from .step.idle_tasks import idle_tasks_at_rest

_STATE_VERSION = 1
_STEPS_BETWEEN_TRACKED_LOSSES = 50


def train(config: TrainingConfig, restart: bool = False, aggregator: Aggregator | None = None) -> Scores:
    """Train one model on all tasks, keep the epoch that is best on held-out training data, and score it on the test.

    The folder `config.output` gets the best model (config.json, model.safetensors), the last state of the run
    (state.safetensors), `log.jsonl`, a line an epoch and one for the test, and the config (training.yaml).

    Where the folder holds a run of the same config, this goes on from its last state. On the same machine, weights and
    log end up as if it had never been interrupted, bit for bit (on CUDA with `deterministic`).

    Args:
        config: The run.
        restart: Start anew, whatever the folder holds.
        aggregator: Makes one gradient of those of the tasks, for the parameters that they share:
            (tasks, parameters) → (parameters,), as TorchJD's aggregators do. It is no part of the config: give the same
            again to go on.

    Returns:
        By task, its metrics on the test set.

    Raises:
        ValueError: if the config does not fit the data, the folder holds another run, or a task has no target in a
            whole epoch.
        NotFiniteError: if a loss or gradient is not finite; it names step and task. The last state is kept.
        Stopped: after Ctrl-C or SIGTERM; the state was saved.
        OSError: if a file cannot be written; the last state is kept.
    """
    with StopSignals() as signals:
        training = Training(config, make_accelerator(config), signals, aggregator)
        training.go_on_or_start(restart)
        scores = training.run()
    training.accelerator.end_training()
    return scores


class Training:
    """A run in this process: its parts, its steps, and where it stands. Building it writes nothing."""

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        signals: StopSignals,
        aggregator: Aggregator | None = None,
    ) -> None:
        config = replace(config, mixed_precision=accelerator.mixed_precision)  # what accelerate launch was given
        self.config, self.accelerator, self.signals, self.aggregator = config, accelerator, signals, aggregator
        self.console = console_of(accelerator)
        self.output = Path(config.output)
        if config.freeze_trunk and aggregator is not None:
            raise ValueError("freeze_trunk leaves no gradient that tasks share: train without an aggregator.")
        set_seed(config.seed, deterministic=config.deterministic)

        import_all(config.imports)
        data = build_data(config, "train")
        tasks = build_tasks(config, data)
        self.kinds = build_kinds(tasks)
        training_data, validation_data = data.split_off(config.validation, config.seed)
        self.model = build_model(config, tasks, tuple(first_sample(data)["image"].shape))
        self.normalize = normalization_of(self.model)
        self.steps = TrainingSteps(training_data, config, self.kinds, self.normalize, accelerator)
        self.validation_batches = evaluation_batches(validation_data, config, self.kinds, self.normalize, accelerator)
        if config.sync_batch_norm:
            convert_sync_batchnorm(self.model)
        self.weighting = build_weighting(config, tasks).to(accelerator.device)
        self.config = with_own_code(config, self.model, self.kinds, self.weighting)
        self.model.to(accelerator.device)
        optimizer = create_optimizer(
            self.model,
            config.optimizer,
            config.lr,
            config.weight_decay,
            config.gate_lr_scale,
            config.layer_decay,
            config.optimizer_args,
        )
        if learned := list(self.weighting.parameters()):
            optimizer.add_param_group({"name": "loss weighting", "params": learned, "lr": config.lr, "weight_decay": 0})
        self.schedule = create_schedule(
            optimizer,
            config.schedule,
            config.epochs,
            len(self.steps),
            min(config.warmup_epochs, config.epochs),
            config.decay_epochs,
            config.decay_rate,
        )
        # A head is reached by its own task's pass alone. (timm's classifiers are rows of one parameter.)
        has_heads = any(isinstance(module, Head) for module in self.model.modules())
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=has_heads)  # type: ignore[assignment]
        self.network, self.optimizer = accelerator.prepare(TasksForward(self.model), optimizer)
        # Statistics steer no training step: one broadcast before an evaluation is enough.
        self.network.broadcast_buffers = False
        self.ema = None if config.ema_decay is None else ModelEmaV3(self.model, config.ema_decay, use_warmup=True)
        self.record = Record()
        set_seed(config.seed, device_specific=True)

    # From the start, or from where it was stopped.

    def go_on_or_start(self, restart: bool) -> None:
        path = self.output / STATE
        if self.accelerator.is_main_process:
            self.output.mkdir(parents=True, exist_ok=True)
            for name in (STATE, LOG, RECIPE, *MODEL_FILES):
                remove_leftovers(self.output / name)
            for name in (STATE, *MODEL_FILES) if restart else ():
                (self.output / name).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        found = self.accelerator.reduce(torch.tensor(float(path.is_file()), device=self.accelerator.device))
        if 0 < found < self.accelerator.num_processes:
            raise ValueError(f"{path} is there for {int(found)} of {self.accelerator.num_processes} processes alone.")
        self.console.print(size_line(self.model))
        if found:
            self._load(read_state(path))
        elif self.accelerator.is_main_process:
            text = yaml.safe_dump(asdict(self.config), sort_keys=False)
            write_atomically({self.output / RECIPE: lambda path: path.write_text(text)})
            self._write_log()
        if self.accelerator.is_main_process:
            leave_mark(self.output, self.config.own_code())
        if self.record.scores is None:
            self.accelerator.init_trackers(self.output.name, config={"run": json.dumps(asdict(self.config))})

    def _load(self, state: dict[str, Any]) -> None:
        if state.get("version") != _STATE_VERSION:
            raise ValueError(
                f"{self.output / STATE} was written by another version of tsbn_hub. Restart to train anew."
            )
        differences = self.config.differences(state["config"])
        if state["processes"] != self.accelerator.num_processes:
            differences.append(f"processes: {state['processes']}, here {self.accelerator.num_processes}")
        if differences:
            raise ValueError(
                f"{self.output} holds another run ({'; '.join(differences)}). Choose another output, or restart."
            )
        self.model.load_state_dict(state["model"])
        self.weighting.load_state_dict(state["weighting"])
        self.optimizer.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.record = Record(**state["record"])
        set_random_state(state["random"][self.accelerator.process_index], self.accelerator.device)
        if self.record.scores is None:
            self.console.print(f"Going on in epoch {self.record.epoch}, after its step {self.record.steps}.")

    def _save(self) -> None:
        # Gathered by pickle in memory, among our own processes; the file has none.
        random_states = gather_object([random_state(self.accelerator.device)])
        if not self.accelerator.is_main_process:
            return
        write_state(
            self.output / STATE,
            {
                "version": _STATE_VERSION,
                "config": asdict(self.config),
                "processes": self.accelerator.num_processes,
                "model": dict(self.model.state_dict()),
                "weighting": dict(self.weighting.state_dict()),
                "optimizer": self.optimizer.optimizer.state_dict(),
                "ema": None if self.ema is None else dict(self.ema.module.state_dict()),
                "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
                "record": asdict(self.record),
                "random": random_states,
            },
        )

    def _write_log(self) -> None:
        text = "".join(json.dumps(line) + "\n" for line in self.record.log)
        if self.accelerator.is_main_process:
            write_atomically({self.output / LOG: lambda path: path.write_text(text)})

    # The run.

    def run(self) -> Scores:
        scores = self.record.scores
        if scores is None:
            with progress_bar(self.console) as progress:
                while self.record.epoch <= self.config.epochs:
                    started = time.monotonic()
                    self._train_epoch(progress)
                    self._end_epoch(started, progress)
                scores = self.record.scores = self._test(progress)
            self._write_log()
            self._save()
        else:
            self.console.print(f"{self.output} holds this run, and it is finished. Restart to train anew.")
        config = self.config
        start = f"from {config.checkpoint}" if config.model is None else f"{config.model}, norm={config.norm}"
        self.console.print(f"{start}: test set, epoch chosen on validation")
        self.console.print(score_table(self.kinds, scores))
        return scores

    def _train_epoch(self, progress: Progress) -> None:
        record, total = self.record, len(self.steps)
        name = f"epoch {record.epoch}/{self.config.epochs}"
        bar = progress.add_task(name, total=total, completed=record.steps, losses="")
        self.model.train()
        for batches in self.steps.of_epoch(record.epoch, done=record.steps):
            stop = self.take_step(batches)
            record.steps += 1
            progress.update(bar, advance=1, losses=losses_line(record.mean_losses()))
            if stop or record.steps == total or record.steps % self.config.checkpoint_steps == 0:
                self._save()
            if stop:
                raise self._stopped()
        progress.remove_task(bar)

    def take_step(self, batches: list[Any]) -> bool:
        """One optimizer step; whether a process was asked to stop."""
        config, accelerator = self.config, self.accelerator
        step = self._steps_done()
        counts = label_counts(batches, self.kinds, accelerator)
        active = {name: column for name, column in zip(self.kinds, counts.T.tolist(), strict=True) if any(column)}
        self.record.labelled += [name for name in active if name not in self.record.labelled]
        if config.tasks_per_step is not None and config.tasks_per_step < len(active):
            drawn = random.Random(f"{config.seed} {step}").sample(list(active), config.tasks_per_step)
            active = {name: column for name, column in active.items() if name in drawn}

        self.schedule.set_lr(step)
        self.optimizer.zero_grad()
        weights = dict(zip(active, self.weighting.weights(list(active)), strict=True))
        batches = send_to_device(batches, accelerator.device, non_blocking=True)
        losses = fill_gradients(
            self.network, batches, self.kinds, active, weights, accelerator, config.backward, self.aggregator
        )
        asked = torch.tensor(float(self.signals.received is not None), device=accelerator.device)
        joined = accelerator.reduce(torch.stack([*(losses[name].float() for name in active), asked]))
        norm = self._clipped_norm() if active else asked
        *values, stop, norm_value = torch.cat([joined, norm[None]]).tolist()  # the one wait for the device in a step
        if active:
            losses = dict(zip(active, joined, strict=False))
            means = dict(zip(active, values, strict=True))
            # With fp16, the scaler skips a step whose gradients have overflown.
            if not math.isfinite(sum(values)) or (accelerator.scaler is None and not math.isfinite(norm_value)):
                self._raise_not_finite(guilty_tasks(self.network, batches, self.kinds, active, means, accelerator))
            self.weighting.after_step(losses)
            with idle_tasks_at_rest(self.model, self.optimizer.optimizer, active):
                self.optimizer.step()
            if self.ema is not None:
                self.ema.update(self.model, step=step)
            self.record.add(means)
            if config.trackers and step % _STEPS_BETWEEN_TRACKED_LOSSES == 0:
                accelerator.log({f"loss of a step/{name}": loss for name, loss in means.items()}, step=step)
        return bool(stop)

    def _steps_done(self) -> int:
        return (self.record.epoch - 1) * len(self.steps) + self.record.steps

    def _clipped_norm(self) -> torch.Tensor:
        """The norm of the gradients before they are clipped."""
        self.accelerator.unscale_gradients()
        norm = gradient_norm(self.network)
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.network.parameters(), self.config.max_grad_norm, norm)
        return norm

    def _raise_not_finite(self, what: str) -> None:
        step = self._steps_done() + 1
        raise NotFiniteError(
            f"In epoch {self.record.epoch}, step {self.record.steps + 1} (step {step} of the run), {what}. "
            f"{self.output} keeps the last good state, if there was one. "
            "Try a smaller lr, max_grad_norm, or mixed_precision: 'no'."
        )

    def _check_labelled(self) -> None:
        unlabelled = [name for name in self.kinds if name not in self.record.labelled]
        if unlabelled:
            left = f", or leave them out: tasks={self.record.labelled}" if self.record.labelled else ""
            raise ValueError(
                f"No sample of epoch {self.record.epoch} had a target for {unlabelled}: they cannot be learned. See "
                f"what `--dry-run` shows, and mend the data{left}."
            )

    def _end_epoch(self, started: float, progress: Progress) -> None:
        record = self.record
        self._check_labelled()
        losses = record.mean_losses()
        self.weighting.after_epoch(losses)
        model = self.model if self.ema is None else self.ema.module
        broadcast(list(model.buffers()))  # a process's statistics are its own until here
        scores = self._evaluate(model, self.validation_batches, "validation", progress)
        mean = mean_score(self.kinds, scores)
        line = {
            "epoch": record.epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "loss": losses,
            "validation": scores,
            "steps": dict(record.task_steps),
        }
        record.log.append(line)
        self._write_log()
        progress.console.print(epoch_line(self.kinds, line, time.monotonic() - started, is_best=mean > record.best))
        tracked = {f"loss/{name}": loss for name, loss in losses.items()}
        tracked |= {f"validation/{name}/{metric}": value for name in scores for metric, value in scores[name].items()}
        self.accelerator.log({**tracked, "lr": line["lr"], "epoch": record.epoch}, step=self._steps_done())
        if mean > record.best:
            record.best = mean
            if self.accelerator.is_main_process:
                save_pretrained(model, self.output)
        record.next_epoch()

    def _test(self, progress: Progress) -> Scores:
        self.accelerator.wait_for_everyone()
        model = from_pretrained(self.output).to(self.accelerator.device)
        data = build_data(self.config, "test")
        batches = evaluation_batches(data, self.config, self.kinds, self.normalize, self.accelerator)
        scores = self._evaluate(model, batches, "test", progress)
        self.record.log.append({"test": scores})
        return scores

    def _evaluate(self, model: torch.nn.Module, batches: DataLoader[Any], name: str, progress: Progress) -> Scores:
        """Every task's metrics. A stop that any process is asked for stops all; the state before it is saved."""
        scores = evaluate(model, self._heeded(batches, name, progress), self.kinds, self.accelerator)
        asked = torch.tensor(float(self.signals.received is not None), device=self.accelerator.device)
        if self.accelerator.reduce(asked):
            raise self._stopped()
        return scores

    def _heeded(self, batches: DataLoader[Any], name: str, progress: Progress) -> Iterator[Any]:
        """Batches of an evaluation; no more once this process is asked to stop, for the others wait for its totals."""
        bar = progress.add_task(name, total=len(batches), losses="")
        for batch in batches:
            if self.signals.received is not None:
                break
            yield batch
            progress.update(bar, advance=1)
        progress.remove_task(bar)

    def _stopped(self) -> Stopped:
        received = self.signals.received
        name = "another process" if received is None else received.name
        trained = self.record.epoch > self.config.epochs
        where = "the test" if trained else f"epoch {self.record.epoch}, after its step {self.record.steps}"
        return Stopped(
            f"Stopped by {name} in {where}. {self.output} has the state: the same command goes on from there.",
            received,
        )
