"""What the methods cost, measured side by side in one process."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from ..analysis import model_cost
from ..files.atomic import write_atomically
from ..training import PeakMemory, TrainingConfig
from ..training.acceleration import make_accelerator
from ..training.loop import Training
from ..training.state.signals import StopSignals
from .grid import digest_of
from .running import last_line, print_into, start_process

_ROUNDS = 5
_VERSION = 2  # of what is measured, and how


@dataclass(frozen=True)
class MethodCost:
    """What a method costs, for all tasks together.

    Args:
        parameters: Numbers that are trained or frozen, of all networks.
        trainable: Those that are trained.
        of_a_task: In the mean over tasks, those that a task has for itself: its head, and of the trunk; or its network.
        flops: Of one image for all tasks, where what is before the first gated norm is computed once.
        passes: The same, where a plain network with the head of one task costs 1, in the mean over tasks.
        seconds: Of a training step: the least of some, in turns with the other methods.
        memory: Of a training step, in bytes; on a CPU of what autograd saves for the backward.
    """

    parameters: int
    trainable: int
    of_a_task: float
    flops: float
    passes: float
    seconds: float
    memory: int


def measure_costs(
    configs: Mapping[str, Sequence[TrainingConfig]], folder: Path, console: Console
) -> dict[str, MethodCost]:
    """What each method costs, measured in a process of its own, or as it was measured before.

    Args:
        configs: By label, the runs that together do all tasks: one, or one for each task.
        folder: It is there, and gets `costs.json`, which keeps what was measured.
        console: Is told where something is measured, or why it could not be.

    Returns:
        By label; nothing where it could not be measured.
    """
    if not configs:
        return {}
    cache, log = folder / "costs.json", folder / "costs.txt"
    digests = [[label, *map(digest_of, runs)] for label, runs in configs.items()]
    key = hashlib.sha256(json.dumps([_VERSION, digests]).encode()).hexdigest()
    if (known := _read(cache, key)) is None:
        console.print("Measuring what the methods cost.")
        process = start_process(_measure, dict(configs), key, cache, log)
        try:
            process.join()
        finally:
            process.terminate()  # on Ctrl-C; at its end this does nothing
        if (known := _read(cache, key)) is None:
            console.print(f"What the methods cost could not be measured: {last_line(log)}", soft_wrap=True)
    return known or {}


def _read(cache: Path, key: str) -> dict[str, MethodCost] | None:
    """What was measured of the same runs; None: nothing."""
    if not cache.is_file():
        return None
    try:
        stored = json.loads(cache.read_text("utf-8"))
        if stored["key"] != key:
            return None
        return {label: MethodCost(**values) for label, values in stored["costs"].items()}
    except (ValueError, KeyError, TypeError):  # damaged, or of another version: measured anew
        return None


def _measure(configs: dict[str, Sequence[TrainingConfig]], key: str, cache: Path, log: Path) -> None:
    """What the process does."""
    print_into(log)
    networks = {label: [_Network(config) for config in runs] for label, runs in configs.items()}
    seconds = {label: [math.inf] * len(runs) for label, runs in networks.items()}
    for _ in range(_ROUNDS):
        for label, runs in networks.items():
            seconds[label] = list(map(min, seconds[label], [run.seconds_of_a_step() for run in runs]))
    one_pass = _flops_of_a_task(next(iter(configs.values()))[0])
    costs = {label: dataclasses.asdict(_joined(runs, seconds[label], one_pass)) for label, runs in networks.items()}
    text = json.dumps({"key": key, "costs": costs}, indent=2) + "\n"
    write_atomically({cache: lambda path: path.write_text(text, encoding="utf-8")})


def _flops_of_a_task(config: TrainingConfig) -> float:
    """Of a plain network with the head of a task, in the mean over tasks."""
    if config.trunk is not None:
        config = replace(config, method="hps", method_args={})
    tasks = model_cost(_Network(config).training.model).tasks
    return sum(task.flops for task in tasks) / len(tasks)


class _Network:
    """A training in its first step."""

    def __init__(self, config: TrainingConfig) -> None:
        before = _memory_in_use()
        self.training = Training(config, make_accelerator(config), StopSignals())
        self.training.console.quiet = True
        self.batches = next(self.training.steps.of_epoch(1))
        self.seconds_of_a_step()  # it makes the optimizer's state
        self.memory = _memory_in_use() - before

    def seconds_of_a_step(self) -> float:
        self.training.model.train()
        _synchronize()
        started = time.perf_counter()
        self.training.learner.take_step(self.batches, number=0)
        _synchronize()
        return time.perf_counter() - started

    def memory_of_a_step(self) -> int:
        """Without what the other networks hold at that time."""
        before = _memory_in_use()
        with PeakMemory(self.training.model) as peak:
            self.training.learner.take_step(self.batches, number=0)
        return peak.bytes - before + self.memory


def _joined(networks: Sequence[_Network], seconds: Sequence[float], one_pass: float) -> MethodCost:
    memory = max(network.memory_of_a_step() for network in networks)
    models = [network.training.model for network in networks]
    costs = [model_cost(model) for model in models]
    tasks = [task for cost in costs for task in cost.tasks]
    parameters = sum(cost.parameters for cost in costs)
    flops = sum(cost.batched_flops for cost in costs)
    of_tasks = sum(task.head_parameters + task.norm_parameters for task in tasks) if len(models) == 1 else parameters
    return MethodCost(
        parameters=parameters,
        trainable=sum(each.numel() for model in models for each in model.parameters() if each.requires_grad),
        of_a_task=of_tasks / len(tasks),
        flops=flops,
        passes=flops / one_pass,
        seconds=sum(seconds),
        memory=memory,
    )


def _memory_in_use() -> int:
    """Of the accelerator, in bytes; without one 0."""
    return torch.accelerator.memory_allocated() if torch.accelerator.is_available() else 0


def _synchronize() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
