"""What a run shows, in terminals and logs of any width."""

import io

import pytest
from accelerate import Accelerator
from rich.console import Console

from tsbn_hub.tasks import Task, make_kind
from tsbn_hub.training.report import Output, console_of, losses_line, print_epoch, progress_bar

TASKS = ["segmentation", "depth", "surface_normals", "edges"]


@pytest.mark.parametrize("width", [80, 60])
def test_losses_give_way_to_the_bar_the_count_and_the_time_left(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    progress = progress_bar(console)
    losses = losses_line(dict.fromkeys(TASKS, 0.123))
    progress.add_task("epoch 12/100", total=1234, completed=617, losses=losses)
    console.print(progress.get_renderable())
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1 and len(lines[0]) <= width
    for part in ("epoch 12/100", "━" * 10, "617/1234", "-:--:--", "loss: ", "…"):
        assert part in lines[0]


def test_losses_that_fit_are_whole():
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    progress = progress_bar(console)
    losses = losses_line(dict.fromkeys(TASKS, 0.123))
    progress.add_task("epoch 12/100", total=1234, completed=617, losses=losses)
    console.print(progress.get_renderable())
    assert losses in console.file.getvalue() and "…" not in console.file.getvalue()


def test_a_line_an_epoch(capsys):
    kinds = {name: make_kind(Task(name, num_classes=2)) for name in TASKS}
    line = {
        "epoch": 3, "lr": 0.1, "loss": dict.fromkeys(TASKS, 0.5),
        "validation": {name: {"accuracy": 0.5} for name in TASKS},
    }  # fmt: skip
    print_epoch(console_of(Accelerator(cpu=True), Output()), kinds, line, seconds=7, is_best=True)
    printed = capsys.readouterr().out
    assert len(printed) > 100 and printed.count("\n") == 1
    assert printed.startswith("epoch   3  loss: segmentation 0.500 ") and printed.endswith("edges 50.0%  7 s *\n")
