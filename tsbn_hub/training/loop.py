"""The training loop."""

import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import timm
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, random_split

from ..data import Collate
from ..models import from_pretrained, save_pretrained
from ..norms import TaskModule, TaskNorm
from ..tasks import Classification
from .config import TrainingConfig
from .evaluation import evaluate, outputs_by_task
from .idle_tasks import idle_tasks_at_rest
from .param_groups import param_groups


def train(config: TrainingConfig) -> dict[str, float]:
    """Train one model on all tasks, keep the epoch that is best on held-out training data, and score it on the test.

    The folder `config.output` gets the best model (config.json, model.safetensors) and `log.jsonl`, a line an epoch
    and one for the test.

    Args:
        config: The run.

    Returns:
        The metric of every task on the test set.

    Raises:
        ValueError: if the data set has not the tasks that are asked for, or the loss is not finite.
    """
    set_seed(config.seed)
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    console = Console(quiet=not accelerator.is_main_process, width=None if sys.stdout.isatty() else 100)
    output = Path(config.output)

    data = config.dataset("train")
    tasks = {name: Classification() for name in _task_names(config, data)}
    train_data, validation_data = _split_off_validation(data, config)
    collate = Collate({name: task.missing for name, task in tasks.items()})
    loader = _loader(train_data, config, collate, shuffle=True)
    validation_loader = _loader(validation_data, config, collate)

    model = _build_model(config, list(tasks), data)
    print_size(model, console)
    optimizer = torch.optim.AdamW(param_groups(model, config.lr, config.weight_decay, config.gate_lr_scale))
    model, optimizer, loader, validation_loader = accelerator.prepare(model, optimizer, loader, validation_loader)
    steps = config.epochs * len(loader)
    schedule = LambdaLR(optimizer.optimizer, _cosine_with_warmup(int(config.warmup_epochs * len(loader)), steps))

    output.mkdir(parents=True, exist_ok=True)
    log = output / "log.jsonl"
    if accelerator.is_main_process:
        log.write_text("")
    best = -math.inf
    with _progress(console) as progress:
        bar = progress.add_task("", total=steps, epoch=0, epochs=config.epochs, losses="")
        for epoch in range(1, config.epochs + 1):
            start = time.monotonic()
            model.train()
            running = _RunningMean()
            for batch in loader:
                active = _active_tasks(batch, tasks, accelerator)
                if not active:
                    continue
                with accelerator.autocast():
                    outputs = outputs_by_task(model, batch["image"], tasks, active)
                    losses = {name: _loss(tasks[name], outputs[name], batch["targets"].get(name)) for name in active}
                optimizer.zero_grad()
                accelerator.backward(sum(losses.values()))
                with idle_tasks_at_rest(accelerator.unwrap_model(model), optimizer.optimizer, active):
                    optimizer.step()
                schedule.step()
                running.add({name: loss.detach() for name, loss in losses.items()})
                progress.update(bar, advance=1, epoch=epoch, losses=running)
            _check_finite(running.means(), epoch)

            scores = evaluate(model, validation_loader, tasks, accelerator)
            known = [score for score in scores.values() if not math.isnan(score)]
            if not known:
                raise ValueError("No sample of the validation split has a target: there is nothing to choose by.")
            mean = sum(known) / len(known)
            line = {
                "epoch": epoch,
                "lr": schedule.get_last_lr()[0],
                "loss": running.means(),
                "validation": scores,
                "seconds": round(time.monotonic() - start, 2),
            }
            if accelerator.is_main_process:
                with log.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            progress.console.print(_epoch_line(line, is_best=mean > best))
            if mean > best:
                best = mean
                if accelerator.is_main_process:
                    save_pretrained(accelerator.unwrap_model(model), output, data_config=_data_config(data))
    accelerator.wait_for_everyone()

    test_loader = _loader(config.dataset("test"), config, collate)
    best_model, test_loader = accelerator.prepare(from_pretrained(output), test_loader)
    scores = evaluate(best_model, test_loader, tasks, accelerator)
    if accelerator.is_main_process:
        with log.open("a") as file:
            file.write(json.dumps({"test": scores}) + "\n")
    console.print(f"{config.model}, norm={config.norm}: test set, epoch chosen on validation")
    console.print(_table(tasks, scores))
    return scores


def _task_names(config: TrainingConfig, data: Dataset[Any]) -> list[str]:
    known = list(_num_classes(config, data))
    unknown = [name for name in config.tasks or [] if name not in known]
    if unknown:
        raise ValueError(f"tasks={config.tasks}: {config.data} has no {unknown}. It has {known}.")
    return config.tasks or known


def _active_tasks(batch: dict[str, Any], tasks: dict[str, Any], accelerator: Accelerator) -> list[str]:
    """The tasks that a sample of this step, on any process, has a target for. The others cost and move nothing."""
    here = [name for name in tasks if name in batch["targets"]]
    if accelerator.num_processes == 1:
        return here
    counts = accelerator.reduce(torch.tensor([float(name in here) for name in tasks], device=accelerator.device))
    return [name for name, count in zip(tasks, counts.tolist(), strict=True) if count]


def _loss(task: Classification, output: torch.Tensor, target: torch.Tensor | None) -> torch.Tensor:
    # Without a target on this process, a zero that depends on the output: every process has the same gradients to sum.
    return output.sum() * 0.0 if target is None else task.loss(output, target)


def _split_off_validation(data: Any, config: TrainingConfig) -> tuple[Dataset[Any], Dataset[Any]]:
    """The training data without, and the part that chooses the best epoch. The test set has no say in that."""
    if hasattr(data, "split_off"):  # samples that share something must not end up on both sides
        split: tuple[Dataset[Any], Dataset[Any]] = data.split_off(config.validation, config.seed)
        return split
    generator = torch.Generator().manual_seed(config.seed)
    train_part, validation_part = random_split(data, [1 - config.validation, config.validation], generator)
    return train_part, validation_part


def _loader(data: Dataset[Any], config: TrainingConfig, collate: Collate, shuffle: bool = False) -> DataLoader[Any]:
    size = config.batch_size if shuffle else 4 * config.batch_size
    return DataLoader(data, size, shuffle=shuffle, drop_last=shuffle, num_workers=config.workers, collate_fn=collate)


def _build_model(config: TrainingConfig, tasks: list[str], data: Dataset[Any]) -> nn.Module:
    classes = _num_classes(config, data)
    return timm.create_model(
        config.model,
        pretrained=config.pretrained,
        num_classes={task: classes[task] for task in tasks},
        norm=config.norm,
        **{"in_chans": len(data[0]["image"]), **config.model_args},
    )


def _num_classes(config: TrainingConfig, data: Dataset[Any]) -> dict[str, int]:
    classes = getattr(data, "num_classes", None)
    if not isinstance(classes, dict):
        raise ValueError(f"{config.data} must say its tasks and numbers of classes: num_classes = {{task: number}}.")
    return classes


def _data_config(data: Dataset[Any]) -> dict[str, Any]:
    """The preprocessing for the saved config: the images as the data set gives them."""
    image = data[0]["image"]
    return {"input_size": tuple(image.shape), "mean": (0.0,) * len(image), "std": (1.0,) * len(image), "crop_pct": 1.0}


def _cosine_with_warmup(warmup: int, steps: int) -> Any:
    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return factor


class _RunningMean:
    """Means since the start of the epoch, kept on the device: reading them waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: Counter[str] = Counter()

    def add(self, values: dict[str, torch.Tensor]) -> None:
        self._counts.update(values.keys())
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def means(self) -> dict[str, float]:
        return {name: round(total.item() / self._counts[name], 5) for name, total in self._sums.items()}

    def __str__(self) -> str:  # called when the progress bar is drawn, a few times a second
        return "  ".join(f"{name} {mean:.3f}" for name, mean in self.means().items())


def _check_finite(losses: dict[str, float], epoch: int) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss of {name!r} is {loss} in epoch {epoch}. The best model so far is kept. Try a smaller lr, or "
                "mixed_precision: no."
            )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss: {task.fields[losses]}"),
        console=console,
    )


def _epoch_line(line: dict[str, Any], is_best: bool) -> str:
    losses = "  ".join(f"{name} {loss:.3f}" for name, loss in line["loss"].items())
    scores = "  ".join(f"{name} {score:.1%}" for name, score in line["validation"].items())
    seconds = f"{line['seconds']:.0f} s"
    return f"epoch {line['epoch']:3}  loss: {losses}  validation: {scores}  {seconds}{' *' if is_best else ''}"


def _table(tasks: dict[str, Classification], scores: dict[str, float]) -> Table:
    table = Table()
    for column in ("task", "metric", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, score in scores.items():
        table.add_row(name, tasks[name].metric, f"{score:.2%}")
    return table


def print_size(model: nn.Module, console: Console) -> None:
    """Print what the tasks cost: parameters and buffers, shared and of one task."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    buffers = sum(buffer.numel() for buffer in model.buffers())
    norms = [module for module in model.modules() if isinstance(module, TaskNorm)]
    tasks = len(model.tasks) if isinstance(model, TaskModule) else 1
    own = [(norm, getattr(norm, name)) for norm in norms for name in norm.stacked_names()]
    of_gates = sum(tensor.numel() for _, tensor in own if isinstance(tensor, nn.Parameter)) // tasks
    of_statistics = sum(tensor.numel() for _, tensor in own if not isinstance(tensor, nn.Parameter)) // tasks
    console.print(
        f"{parameters / 1e6:.2f} M parameters, {buffers / 1e6:.2f} M buffers. Norms cost each of the {tasks} tasks "
        f"{of_gates:,} parameters ({of_gates / parameters:.2%}) and {of_statistics:,} buffers."
    )
