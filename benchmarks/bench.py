"""What tasks cost, in time and memory: ratios to plain timm models, side by side in one process.

python benchmarks/bench.py --models resnet50 vit_small_patch16_224 --tasks 3 --batch 1 8 --modes eager

It writes bench.json, bench.md and bench.png. What the JSON file of the same folder has is not measured again.
All cases take many hours; Ctrl-C at any time keeps what was measured.
"""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler writes into the progress

import timm
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from suite.cases import GATED, MODELS, Case, all_cases, quick_cases
from suite.networks import PEFT_MODEL
from suite.report import markdown, write_report
from suite.results import Results, measure


def main() -> None:
    """Measure what is asked for, and write it."""
    arguments = parsed_arguments()
    torch.set_num_threads(arguments.threads)
    choices = [arguments.dtypes, arguments.modes, arguments.what]
    if arguments.quick:
        cases = quick_cases(arguments.devices)
    else:
        cases = all_cases(
            arguments.models, arguments.gated, arguments.tasks, arguments.batch, arguments.devices, *choices
        )
    console = Console(stderr=True)
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    try:
        results = Results(folder / "bench.json", arguments.threads)
    except ValueError as error:
        sys.exit(str(error))
    if PEFT_MODEL in {case.model for case in cases} and not find_spec("peft"):
        console.print("PEFT is not installed: its LoRA is left out.")
    stopped = not measure_all(cases, results, arguments, console)
    write_report(results, folder)
    Console(soft_wrap=True).print(markdown(results), markup=False, highlight=False)
    if stopped:
        sys.exit(130)
    failed = {name for result in results.cases.values() for name, run in result.runs.items() if run.failed}
    if arguments.quick and failed - {"batched"}:  # that is not possible everywhere
        sys.exit(1)


def measure_all(cases: list[Case], results: Results, arguments: argparse.Namespace, console: Console) -> bool:
    """Measure each case that the results lack. False: the user has stopped it."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(cases))
        try:
            for case in cases:
                progress.update(bar, description=str(case))
                if case not in results.cases:
                    for line in measure_case(case, results, arguments):
                        progress.print(f"{case}: {line}", markup=False)
                progress.advance(bar)
        except KeyboardInterrupt:
            return False
    return True


def measure_case(case: Case, results: Results, arguments: argparse.Namespace) -> list[str]:
    """Measure a case, and add it to the results. What could not be measured, in words."""
    try:
        result = measure(case, arguments.rounds, arguments.seconds)
    except ValueError as error:  # the network has fewer stages
        return [str(error)]
    results.add(result)
    return [f"{name}: {run.failed}" for name, run in result.runs.items() if run.failed]


def parsed_arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--models", nargs="+", default=MODELS, help="timm architectures")
    parser.add_argument("--gated", nargs="+", default=["all", "last 2", "last 1"], choices=GATED, help="stages")
    parser.add_argument("--tasks", nargs="+", type=int, default=[1, 3, 7, 40])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--devices", nargs="+", default=devices, choices=devices)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"])
    parser.add_argument("--what", nargs="+", default=["forward", "step"], choices=["forward", "step"])
    parser.add_argument("--quick", action="store_true", help="a few small cases instead, to see that it works")
    parser.add_argument("--rounds", type=int, default=15, help="at most")
    parser.add_argument("--seconds", type=float, default=30, help="of a case; three rounds are taken at least")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="a folder")
    arguments = parser.parse_args()
    if unknown := [model for model in arguments.models if not timm.is_model(f"{model}_tsbn")]:
        parser.error(f"timm has no {', '.join(unknown)} with norms that can be task-specific.")
    if arguments.quick:
        arguments.rounds, arguments.seconds = 3, 0
    return arguments


if __name__ == "__main__":
    main()
