"""What task norms cost in time: ratios to plain timm models, side by side in one process.

python benchmarks/speed.py --model resnet50 --tasks 3 --batch 8
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import tsbn_hub  # noqa: F401


def measure(runs: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each run, taken in turns so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in track(range(repeats), description="measuring"):
        for name, run in runs.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50", help="a timm architecture")
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    tasks = [f"task{number}" for number in range(arguments.tasks)]
    x = torch.randn(arguments.batch, 3, arguments.size, arguments.size, device=device)
    plain = timm.create_model(arguments.model).to(device)
    model = timm.create_model(f"{arguments.model}_tsbn", tasks=tasks).to(device)

    def train(network: torch.nn.Module, **task: str) -> None:
        network.zero_grad(set_to_none=True)
        network(x, **task).square().mean().backward()

    table = Table(title=f"{arguments.model}, {len(tasks)} tasks, batch {arguments.batch}, {device.type}")
    for column in ("", "plain (ms)", "task norms (ms)", "ratio", "quartiles"):
        table.add_column(column, justify="left" if not column else "right")
    for what, one, other in (
        ("one task, inference", lambda: plain(x), lambda: model(x, task=tasks[-1])),
        ("one task, training step", lambda: train(plain), lambda: train(model, task=tasks[-1])),
        ("all tasks, inference", lambda: [plain(x) for _ in tasks], lambda: model(x)),
    ):
        training = "training" in what
        plain.train(training)
        model.train(training)
        with torch.set_grad_enabled(training):
            seconds = measure({"plain": one, "ours": other}, arguments.repeats, device)
        ratios = [ours / base for ours, base in zip(seconds["ours"], seconds["plain"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        times = [f"{1000 * statistics.median(seconds[name]):.1f}" for name in ("plain", "ours")]
        table.add_row(what, *times, f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
