"""What a run shows, in terminals and logs of any width."""

import io
import re

import pytest
from accelerate import Accelerator
from rich.console import Console

from tsbn_hub.tasks import Task, make_kind
from tsbn_hub.training.report import Output, console_of, losses_line, print_epoch, progress_bar

TASKS = ["segmentation", "depth", "surface_normals", "edges"]


@pytest.mark.parametrize(("width", "bar"), [(80, 10), (60, 10), (40, 2)])
def test_losses_give_way_to_the_bar_the_count_and_the_time_left(width, bar):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    progress = progress_bar(console)
    losses = losses_line(dict.fromkeys(TASKS, 0.123))
    progress.add_task("epoch 12/100", total=1234, completed=617, losses=losses)
    console.print(progress.get_renderable())
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1 and len(lines[0]) <= width
    for part in ("epoch 12/100", "━" * bar, "617/1234", "-:--:--", "…"):
        assert part in lines[0]
    assert width == 40 or "loss: " in lines[0]


def test_losses_that_fit_are_whole():
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    progress = progress_bar(console)
    losses = losses_line(dict.fromkeys(TASKS, 0.123))
    progress.add_task("epoch 12/100", total=1234, completed=617, losses=losses)
    console.print(progress.get_renderable())
    assert losses in console.file.getvalue() and "…" not in console.file.getvalue()


KINDS = {name: make_kind(Task(name, num_classes=2)) for name in TASKS}
EPOCH = {
    "epoch": 3, "lr": 0.1, "loss": dict.fromkeys(TASKS, 0.5),
    "validation": {name: {"accuracy": 0.5} for name in TASKS},
}  # fmt: skip


@pytest.mark.parametrize("width", [80, 60, 40])
def test_an_epoch_fits_a_terminal(width):
    """The terminal would break it anywhere, in the middle of a name."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    print_epoch(console, KINDS, EPOCH, seconds=7, is_best=True)
    first, *further = console.file.getvalue().splitlines()
    assert max(map(len, [first, *further])) <= width and further
    assert first.startswith("epoch   3  loss: segmentation 0.500") and further[-1].endswith("  7 s *")
    assert all(re.match(r" {4}\S", line) for line in further)
    parts = [part for line in (first, *further) for part in re.split("  +", line.strip())]
    assert parts[1:6] == ["3", "loss: segmentation 0.500", *(f"{name} 0.500" for name in TASKS[1:])]
    assert parts[6:10] == ["validation: segmentation 50.0%", *(f"{name} 50.0%" for name in TASKS[1:])]


def test_a_line_an_epoch(capsys):
    print_epoch(console_of(Accelerator(cpu=True), Output()), KINDS, EPOCH, seconds=7, is_best=True)
    printed = capsys.readouterr().out
    assert len(printed) > 100 and printed.count("\n") == 1
    assert printed.startswith("epoch   3  loss: segmentation 0.500 ") and printed.endswith("edges 50.0%  7 s *\n")
