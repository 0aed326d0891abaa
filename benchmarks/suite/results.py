"""What was measured of each case, and the file of it."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import timm
import torch

from tsbn_hub.files.atomic import write_atomically
from tsbn_hub.version import __version__

from .cases import Case
from .measuring import alternate, peak_memory, ratio
from .networks import Networks


@dataclass(frozen=True)
class RunResult:
    """What a run took.

    Args:
        seconds: The least of all rounds.
        memory: The most bytes held at once: weights, activations and gradients.
        ratio: To its base: of the minima, and the quartiles of the rounds' ratios. None: it is a base.
        memory_ratio: The same of memory.
        failed: Why there is nothing of it, in words.
    """

    seconds: float = 0.0
    memory: int = 0
    ratio: tuple[float, float, float] | None = None
    memory_ratio: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class CaseResult:
    """What was measured of a case.

    Args:
        case: The case.
        shared_part: The part of a pass before the fork, in floating-point operations.
        rounds: How many there were.
        runs: By name.
    """

    case: Case
    shared_part: float
    rounds: int
    runs: dict[str, RunResult]


def measure(case: Case, rounds: int, budget: float) -> CaseResult:
    """Build the networks of a case, and measure all that is run of them, in turns.

    Args:
        case: The case.
        rounds: The most rounds.
        budget: The seconds after which no further round begins, once there have been three.
    """
    networks = Networks(case)
    runs, failed = networks.runs(), {}
    memory: dict[str, int] = {}
    for name, run in runs.items():
        try:
            needed = run.passes * memory.get("one task", 0)
            if needed > _free_memory(case.device):  # a CPU's memory ends with the process
                raise RuntimeError(f"it may need {needed / 2**30:.0f} GiB, and there are fewer.")
            run.call()  # compiles, tries, and fills caches
            run.clear()
            memory[name] = run.weights + peak_memory(run.call, case.device)
            run.clear()
        except RuntimeError as error:  # also torch's, for memory and of its compiler
            failed[name] = str(error).strip().partition("\n")[0] or type(error).__name__
    measured: dict[str, Callable[[], object]] = {name: runs[name].call for name in memory}
    seconds = alternate(measured, rounds, budget, case.device)
    results = {}
    for name, run in runs.items():
        if name in failed:
            results[name] = RunResult(failed=failed[name])
            continue
        ratios = ratio(seconds[name], seconds[run.base]) if run.base in seconds else None
        of_memory = memory[name] / memory[run.base] if run.base in seconds else None
        results[name] = RunResult(min(seconds[name]), memory[name], ratios, of_memory)
    return CaseResult(case, networks.shared_part, max(map(len, seconds.values()), default=0), results)


def _free_memory(device: str) -> int:
    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


@dataclass
class Results:
    """All that was measured on a machine, in a JSON file.

    Args:
        path: The file. What is there is read, and kept.
        threads: With how many threads it is measured on a CPU.

    Raises:
        ValueError: if the file is of another machine, or of other versions.
    """

    path: Path
    threads: int
    cases: dict[Case, CaseResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = _environment(self.threads)
        if not self.path.is_file():
            return
        found = json.loads(self.path.read_text())
        if found["environment"] != self.environment:
            raise ValueError(
                f"{self.path} was measured with {found['environment']}, and this is {self.environment}. "
                "Give another folder by --output, or delete that file."
            )
        for entry in found["cases"]:
            case = Case(**entry["case"])
            runs = {name: RunResult(**run) for name, run in entry["runs"].items()}
            self.cases[case] = CaseResult(case, entry["shared_part"], entry["rounds"], runs)

    def add(self, result: CaseResult) -> None:
        """Take in what was measured of a case, and write the file."""
        self.cases[result.case] = result
        content = {"environment": self.environment, "cases": [asdict(each) for each in self.cases.values()]}
        write_atomically({self.path: lambda file: file.write_text(json.dumps(content, indent=1) + "\n")})


def _environment(threads: int) -> dict[str, str]:
    environment = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {threads} used",
        "torch": torch.__version__,
        "timm": timm.__version__,
        "tsbn_hub": __version__,
    }
    if torch.cuda.is_available():
        environment["gpu"] = torch.cuda.get_device_name()
    return environment
