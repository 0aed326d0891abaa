"""What the methods cost, measured side by side in one process."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..analysis import model_cost
from ..files.atomic import write_atomically
from ..training import PeakMemory, TrainingConfig
from ..training.acceleration import make_accelerator
from ..training.loop import Training
from ..training.state.signals import StopSignals
from .grid import digest_of
from .running import start_process

_ROUNDS = 5


@dataclass(frozen=True)
class MethodCost:
    """What a method costs, for all tasks together.

    Args:
        parameters: Numbers that are trained or frozen, of all networks.
        trainable: Those that are trained.
        of_a_task: In the mean over tasks, those that a task has for itself: its head, and of the trunk.
        flops: Of one image for all tasks, where what is before the first gated norm is computed once.
        passes: Trunk passes for all tasks, in floating-point operations.
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
    configs: Mapping[str, Sequence[TrainingConfig]], cache: Path, console: Console
) -> dict[str, MethodCost]:
    """What each method costs, measured in a process of its own, or as it was measured before.

    Args:
        configs: By label, the runs that together do all tasks: one, or one for each task.
        cache: The file that keeps what was measured; its folder is there.
        console: Is told where something is measured.

    Returns:
        By label.

    Raises:
        RuntimeError: if the process fails.
    """
    digests = [[label, *map(digest_of, runs)] for label, runs in configs.items()]
    key = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    known = _read(cache, key)
    if known is None:
        console.print("Measuring what the methods cost.")
        process = start_process(_measure, dict(configs), key, cache)
        process.join()
        known = _read(cache, key)
        if process.exitcode or known is None:
            raise RuntimeError(f"Measuring what the methods cost failed, with the exit status {process.exitcode}.")
    return known


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


def _measure(configs: dict[str, Sequence[TrainingConfig]], key: str, cache: Path) -> None:
    """What the process does."""
    networks = {label: [_Network(config) for config in runs] for label, runs in configs.items()}
    seconds = {label: [math.inf] * len(runs) for label, runs in networks.items()}
    for _ in range(_ROUNDS):
        for label, runs in networks.items():
            seconds[label] = list(map(min, seconds[label], [run.seconds_of_a_step() for run in runs]))
    costs = {label: dataclasses.asdict(_joined(runs, seconds[label])) for label, runs in networks.items()}
    text = json.dumps({"key": key, "costs": costs}, indent=2) + "\n"
    write_atomically({cache: lambda path: path.write_text(text, encoding="utf-8")})


class _Network:
    """A training in its first step."""

    def __init__(self, config: TrainingConfig) -> None:
        self.training = Training(config, make_accelerator(config), StopSignals())
        self.training.console.quiet = True
        self.batches = next(self.training.steps.of_epoch(1))
        self.memory = 0

    def seconds_of_a_step(self) -> float:
        self.training.model.train()
        started = time.perf_counter()
        self.training.learner.take_step(self.batches, number=0)
        return time.perf_counter() - started

    def memory_of_a_step(self) -> int:
        with PeakMemory(self.training.model) as peak:
            self.training.learner.take_step(self.batches, number=0)
        return peak.bytes


def _joined(networks: Sequence[_Network], seconds: Sequence[float]) -> MethodCost:
    memory = max(network.memory_of_a_step() for network in networks)
    models = [network.training.model for network in networks]
    costs = [model_cost(model) for model in models]
    tasks = [task for cost in costs for task in cost.tasks]
    shared_passes = [
        next(iter(cost.passes.values())) / len(cost.tasks) if cost.passes else 1.0 for cost in costs
    ]  # of the passes of one task after another
    flops = sum(cost.flops * share for cost, share in zip(costs, shared_passes, strict=True))
    one_pass = sum(task.flops for task in tasks) / len(tasks)
    return MethodCost(
        parameters=sum(cost.parameters for cost in costs),
        trainable=sum(each.numel() for model in models for each in model.parameters() if each.requires_grad),
        of_a_task=sum(task.head_parameters + task.norm_parameters for task in tasks) / len(tasks),
        flops=flops,
        passes=flops / one_pass,
        seconds=sum(seconds),
        memory=memory,
    )
