"""The training loop."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Literal

from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader

from ..data.notes import broken_files_of, column_notes_of, image_fit_of
from ..data.sample import Batch, Sample
from ..files.names import BROKEN
from ..files.own_code import import_all
from ..models import from_pretrained, save_pretrained, surface_of
from ..tasks import Kind
from . import report
from .acceleration import make_accelerator
from .evaluation import Scores, Watch, check_chosen_by, evaluate, mean_score
from .loaders import Loaders, check_scale, first_image
from .recipe.building import (
    build_augmentation,
    build_balancing,
    build_data,
    build_kinds,
    build_model,
    build_tasks,
    check_same_targets,
    split_for_validation,
)
from .recipe.config import TrainingConfig
from .recipe.own_code import with_own_code
from .recipe.target_options import options_from_targets, with_options, with_options_of
from .state.description import OPTIONS, agreed_order, check_agreement, describe
from .state.record import EpochLine, Record
from .state.run import RunFolder, description_of_state
from .state.signals import Stopped, StopSignals
from .step.gradients import Aggregator
from .step.step import Learner
from .tuning import ThresholdTuning, keep_options

_STEPS_BETWEEN_TRACKED_LOSSES = 50


def train(
    config: TrainingConfig,
    restart: bool = False,
    aggregator: Aggregator | None = None,
    *,
    trust: bool = False,
    on_scores: Callable[[Scores], None] | None = None,
) -> Scores:
    """Train one model on all tasks, keep the epoch that is best on held-out training data, and score it on the test.

    The folder `config.output` gets the best model (config.json, model.safetensors), the last state of the run
    (state.safetensors), `log.jsonl`, with a line for each epoch and one for the test, which says why the training ended
    and which epoch is the best, and the config (training.yaml).

    Where the folder holds a run of the same config, this goes on from its last state. On the same machine, weights and
    log end up as if it had never been interrupted, bit for bit (on CUDA with `deterministic`).

    Args:
        config: The run.
        restart: Start anew, whatever the folder holds.
        aggregator: Makes one gradient of those of the tasks, for the parameters that they share:
            (tasks, parameters) → (parameters,), as TorchJD's aggregators do. It is no part of the config, and nothing
            of it is saved: give the same again to go on. What it draws from torch's generators depends on the seed and
            the step alone. Those of TorchJD have names, too: see `balancing` of the config.
        trust: Import the files and modules that the config's `checkpoint` names, whoever has written them.
        on_scores: Is told the test's scores before anything of them is printed, on the main process, while no other run
            can write the folder: to record them.

    Returns:
        By task, its metrics on the test set.

    Raises:
        ValueError: if the config does not fit the data, the folder holds another run, or a task has no target in a
            whole epoch. A FolderInUseError, which is one, while another run is at work in the folder.
        NotFiniteError: if a loss or gradient is not finite; it names step and task. The last state is kept.
        Stopped: after Ctrl-C or SIGTERM; the state was saved.
        OSError: if a file cannot be written; the last state is kept.
    """
    with StopSignals() as signals:
        training = Training(config, make_accelerator(config), signals, aggregator, trust, restart)
        with training.folder.alone():
            training.go_on_or_start(restart)
            scores = training.run()
            if on_scores is not None and training.accelerator.is_main_process:
                on_scores(scores)
        training.show(scores)
    training.accelerator.end_training()
    return scores


class Training:
    """A run in this process: its data, what learns, its folder, and how far it is. Building it writes nothing.

    With `restart` it takes nothing from the state in the folder, else the order of the tasks.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        signals: StopSignals,
        aggregator: Aggregator | None = None,
        trust: bool = False,
        restart: bool = False,
    ) -> None:
        config = replace(config, mixed_precision=accelerator.mixed_precision)  # what accelerate launch was given
        self.config, self.accelerator, self.signals = config, accelerator, signals
        self.console = report.console_of(accelerator, report.Log())
        self.progress = report.progress_bar(self.console)
        set_seed(config.seed, deterministic=config.deterministic)

        import_all(config.imports)
        data = build_data(config, "train")
        training_data, validation_data = split_for_validation(data, config)
        earlier = {} if restart else description_of_state(config.output)
        names = config.tasks or agreed_order([task.name for task in data.tasks], earlier.get("tasks"))
        tasks = build_tasks(replace(config, tasks=names), data)
        test_data = build_data(config, "test")
        check_same_targets(tasks, test_data)  # before the training, not after it
        options = earlier.get(OPTIONS) or options_from_targets(build_kinds(tasks), training_data)
        tasks = with_options(tasks, options)
        kinds = build_kinds(tasks)
        check_chosen_by(kinds, config.chosen_by)
        balancing = build_balancing(config, tasks)  # refused before a model is built
        augmentation = build_augmentation(config, kinds, training_data)
        image = first_image(data)
        channels, height, width = image.shape
        self.model = build_model(config, tasks, (channels, height, width), trust, image_fit_of(data.datasets))
        tasks = with_options_of(surface_of(self.model), tasks)  # a checkpoint's tasks keep theirs
        self.tasks, self.kinds = tasks, build_kinds(tasks)
        description = describe(data, list(self.kinds), (channels, height, width), surface_of(self.model).tasks, options)
        check_agreement(description)
        normalize = surface_of(self.model).normalization()
        check_scale(image, normalize)
        self.loaders = Loaders(config, self.kinds, normalize, accelerator, channels, augmentation)
        self.steps = self.loaders.training_steps(training_data)
        self.validation_batches = self.loaders.evaluation_batches(validation_data)
        self.config = config = with_own_code(config, self.model, self.kinds, balancing)
        self.learner = Learner(
            self.model, self.kinds, balancing, config, len(self.steps), accelerator, signals, aggregator
        )
        self.folder = RunFolder(config, description, accelerator)
        self.datasets = [*data.datasets, *test_data.datasets]
        self.record = Record()
        set_seed(config.seed, device_specific=True)

    def go_on_or_start(self, restart: bool) -> None:
        """Go on where the run in the folder was left, or start one."""
        found = self.folder.open(restart)
        if notes := column_notes_of(self.datasets):
            self.console.print(report.columns_table(notes))
        if broken := self._list_broken_files():
            self.console.print(f"{broken:,} files are missing or broken, and left out: {self.folder.path / BROKEN}")
        self.console.print(report.size_line(self.model))
        if found:
            learned, self.record = self.folder.load()
            self.learner.load_state_dict(learned)
        else:
            self.folder.start()
            self.folder.write_gates(self.model, epoch=0)
        if self.record.scores is None:
            if found:
                self.console.print(f"Going on in {self.record.place}.")
            self.accelerator.init_trackers(self.folder.path.name, config={"run": json.dumps(asdict(self.config))})

    def _list_broken_files(self) -> int:
        """Write the list of the files that are known to be missing or broken; how many there are."""
        broken = broken_files_of(self.datasets)
        self.folder.write_broken_files(broken)
        return len(broken)

    def run(self) -> Scores:
        """Train what is left of the epochs, and score the best one on the test."""
        scores = self.record.scores
        if scores is None:
            with self.progress:
                while not self._is_trained():
                    started = time.monotonic()
                    self._train_epoch()
                    self._end_epoch(started)
                if self._ended_by() == "early_stopping":
                    self.console.print(
                        f"Stopped after epoch {self.record.epoch - 1}: none of the last {self.config.early_stopping} "
                        f"was better than epoch {self.record.best_epoch} on the validation data."
                    )
                scores = self.record.scores = self._test()
            self._list_broken_files()
            self.folder.write_log(self.record)
            self._save()
        else:
            self.console.print(f"{self.folder.path} holds this run, and it is finished. Restart to train anew.")
        return scores

    def _is_trained(self) -> bool:
        return self._ended_by() is not None

    def _ended_by(self) -> Literal["epochs", "early_stopping"] | None:
        """The key of the config that says that no epoch is left: how many there are, or how many may be no better."""
        if self.record.epoch > self.config.epochs:
            return "epochs"
        return "early_stopping" if self.record.patience_left(self.config.early_stopping) == 0 else None

    def show(self, scores: Scores) -> None:
        """Print what the run has scored on the test."""
        self.console.print(report.score_title(self.config))
        self.console.print(report.score_table(self.kinds, scores))

    def _train_epoch(self) -> None:
        record, total = self.record, len(self.steps)
        name, best = f"epoch {record.epoch}/{self.config.epochs}", report.best_line(record, self.config.early_stopping)
        bar = self.progress.add_task(name, total=total, completed=record.steps, losses=best)
        self.model.train()
        for batches in self.steps.of_epoch(record.epoch, done=record.steps):
            stop = self.take_step(batches)
            self.progress.update(bar, advance=1, losses=best + report.losses_line(record.mean_losses()))
            if stop or record.steps == total or record.steps % self.config.checkpoint_steps == 0:
                self._save()
            if stop:
                raise self._stopped()
        self.progress.remove_task(bar)

    def take_step(self, batches: list[Batch]) -> bool:
        """One optimizer step, noted in the record; whether a process was asked to stop."""
        number = self._steps_done()
        outcome = self.learner.take_step(batches, number)
        self.record.add_step(outcome.losses, outcome.labelled)
        if self.config.trackers and outcome.losses and number % _STEPS_BETWEEN_TRACKED_LOSSES == 0:
            losses = {f"loss of a step/{name}": loss for name, loss in outcome.losses.items()}
            self.accelerator.log(losses, step=number)
        return outcome.stop

    def _steps_done(self) -> int:
        return (self.record.epoch - 1) * len(self.steps) + self.record.steps

    def _end_epoch(self, started: float) -> None:
        """Score the model on the validation data, keep it if it is the best so far, and note it all."""
        record = self.record
        record.check_labelled(self.kinds)
        losses = record.mean_losses()
        self.learner.balancing.after_epoch(losses)
        model = self.learner.trained_model()
        tuning = ThresholdTuning(self.kinds, self.accelerator.device)
        scores = self._evaluate(model, self.validation_batches, "validation", self.kinds, tuning.add)
        mean = mean_score(self.kinds, scores, self.config.chosen_by)
        is_best = mean > record.best
        line: EpochLine = {
            "epoch": record.epoch,
            "lr": self.learner.optimizer.param_groups[0]["lr"],
            "loss": losses,
            "validation": scores,
            "steps": dict(record.task_steps),
        }
        if is_best and (tuned := tuning.options()):
            line["tuned"] = tuned
            keep_options(surface_of(model), tuned)
        record.log.append(line)
        self.folder.write_log(record)
        self.folder.write_gates(model, record.epoch)
        if is_best:
            record.best, record.best_epoch = mean, record.epoch
            if self.accelerator.is_main_process:
                save_pretrained(model, self.folder.path)
            record.weights = self.folder.weights_digest()
        report.print_epoch(self.console, self.kinds, line, time.monotonic() - started, is_best)
        self.accelerator.log(report.tracked_values(line), step=self._steps_done())
        record.next_epoch()

    def _test(self) -> Scores:
        self.folder.check_weights(self.record)
        model = from_pretrained(self.folder.path).to(self.accelerator.device)
        batches = self.loaders.evaluation_batches(build_data(self.config, "test"))
        kinds = build_kinds(with_options_of(surface_of(model), self.tasks))
        scores = self._evaluate(model, batches, "test", kinds)
        self.record.log.append({"test": scores, "ended_by": self._ended_by(), "best_epoch": self.record.best_epoch})
        return scores

    def _evaluate(
        self,
        model: nn.Module,
        batches: DataLoader[Sample],
        name: str,
        kinds: Mapping[str, Kind],
        watch: Watch | None = None,
    ) -> Scores:
        """Every task's metrics. A stop that any process is asked for stops all; the state before it is saved."""
        scores = evaluate(model, self._until_stopped(batches, name), kinds, self.accelerator, watch)
        if self.accelerator.reduce(self.signals.asked(self.accelerator.device)):
            raise self._stopped()
        return scores

    def _until_stopped(self, batches: DataLoader[Sample], name: str) -> Iterator[Batch]:
        """Batches of an evaluation; no more once this process is asked to stop, for the others wait for its totals."""
        bar = self.progress.add_task(name, total=len(batches), losses="")
        for batch in batches:
            if self.signals.received is not None:
                break
            yield batch
            self.progress.update(bar, advance=1)
        self.progress.remove_task(bar)

    def _save(self) -> None:
        self.folder.save(self.learner.state_dict(), self.record)

    def _stopped(self) -> Stopped:
        received = self.signals.received
        name = "another process" if received is None else received.name
        place = "the test" if self._is_trained() else self.record.place
        return Stopped(
            f"Stopped by {name} in {place}. {self.folder.path} has the state: the same command goes on from there.",
            received,
        )
