"""How time and memory are measured."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch.autograd.profiler import profile

Run = Callable[[], object]


def alternate(runs: Mapping[str, Run], rounds: int, budget: float, device: str) -> dict[str, list[float]]:
    """The seconds of each run in each round. In a round all run once, so that a busy machine slows all alike.

    Every second round goes backwards, so that none always runs in the cache that the same other one left. One thread of
    a CPU is timed by the processor's time, which does not count while another program has the processor.

    Args:
        runs: What is measured. Each has run before.
        rounds: The most rounds.
        budget: The seconds after which no further round begins, once there have been three.
        device: Where they run.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    one_thread = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if one_thread else time.perf_counter
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begin > budget:
            break
        for name in list(runs) if done % 2 == 0 else reversed(list(runs)):
            synchronize(device)
            start = clock()
            runs[name]()
            synchronize(device)
            seconds[name].append(clock() - start)
    return seconds


def ratio(ours: list[float], base: list[float]) -> tuple[float, float, float]:
    """How much longer one run takes than another one: the ratio of the minima, and the quartiles of the rounds' ratios.

    Other work on the machine only adds time: the minimum has least of it.

    Args:
        ours: Its seconds in each round.
        base: Those of the other one.
    """
    by_round = [mine / its for mine, its in zip(ours, base, strict=True)]
    low, _, high = statistics.quantiles(by_round, n=4, method="inclusive") if len(by_round) > 1 else by_round * 3
    return min(ours) / min(base), low, high


def peak_memory(run: Run, device: str) -> int:
    """The most bytes that a run holds at once, beyond what was allocated before it.

    On CUDA this is what the allocator says. A CPU's allocator keeps no maximum: there the profiler notes each of its
    allocations, those of compiled code too. What a library allocates by itself, as oneDNN does, neither sees.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(use_kineto=False, profile_memory=True) as profiler:
        run()
    assert profiler.kineto_results is not None
    events = profiler.kineto_results.events()
    held = most = 0
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def synchronize(device: str) -> None:
    """Wait until all that was started is done."""
    if device == "cuda":
        torch.cuda.synchronize()
