"""Training in processes of their own, which tests may kill: one, or several joined by gloo."""

import multiprocessing
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import torch
import torch.distributed as dist

from tests import forks

# Each process starts as a fork of one that has trained nothing.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(forks.ALL))


def start(config, processes=1, environment=(), target=None, arguments=()):
    """Start training a config; the processes, one of them or several as torchrun would start them."""
    environments = [dict(environment) for _ in range(processes)]
    if processes > 1:
        port = _free_port()
        for rank, variables in enumerate(environments):
            variables |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
            }  # fmt: skip
    started = [
        _CONTEXT.Process(
            target=_run, args=(target or _train, (config, *arguments), variables, f"{_log(config)}.{rank}")
        )
        for rank, variables in enumerate(environments)
    ]
    for process in started:
        process.start()
    return started


def finish(started, timeout=120):
    """Wait for processes; their exit codes. What one left behind is ended."""
    for process in started:
        process.join(timeout)
    for process in started:
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in started]


def train(config, processes=1, environment=(), **keywords):
    """Train a config; the exit codes. A process that is killed takes the others along, as under torchrun."""
    started = start(config, processes, environment, **keywords)
    while any(process.is_alive() for process in started):
        for process in started:
            process.join(0.05)
        if any(process.exitcode not in (None, 0) for process in started):
            for process in started:
                process.join(10)
                process.kill()
    return finish(started)


def results_of_two(run, folder):
    """What `run(rank)` returns in each of two processes that gloo joins; they leave it in the folder."""
    started = [_CONTEXT.Process(target=_run_joined, args=(run, rank, folder)) for rank in range(2)]
    for process in started:
        process.start()
    assert finish(started) == [0, 0], [(folder / f"{rank}.out").read_text() for rank in range(2)]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def printed(config, rank=0):
    """What a process printed."""
    return Path(f"{_log(config)}.{rank}").read_text()


def _log(config):
    return Path(config).with_suffix(".out")


def _run(target, arguments, variables, log):
    os.environ.update(variables)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    target(*arguments)


def _run_joined(run, rank, folder):
    _run(_save_results, (run, rank, folder), {}, folder / f"{rank}.out")


def _save_results(run, rank, folder):
    dist.init_process_group("gloo", init_method=(folder / "meeting").as_uri(), rank=rank, world_size=2)
    torch.save(run(rank), folder / f"{rank}.pt")
    dist.destroy_process_group()


def _train(config):
    from tsbn_hub.cli import train
    from tsbn_hub.cli.main import app

    train.write_card_and_pictures = lambda *_, **__: None  # a third of a small run's time, and the same for any run
    sys.argv = ["tsbn", "train", "--config", str(config)]
    app()


def _free_port():
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
