"""What a run shows on the console."""

import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TextIO, cast

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from torch import nn

from ..data.notes import ColumnNote
from ..norms import TaskModule, TaskNorm
from ..tasks import Kind
from .evaluation import Scores
from .recipe.config import TrainingConfig
from .state.record import EpochLine, Record

_LONGEST_EXAMPLE = 24  # characters


def console_of(accelerator: Accelerator, file: "Output | None" = None) -> Console:
    """A console that speaks for the main process alone, 100 columns wide where no terminal says otherwise.

    Text is printed as it is: a name in brackets is no markup.

    Args:
        accelerator: Of this process.
        file: Where to; None: standard output.
    """
    return Console(
        file=cast(TextIO, file or Output()),
        quiet=not accelerator.is_main_process,
        width=None if sys.stdout is not None and sys.stdout.isatty() else 100,
        markup=False,
        emoji=False,
    )


class Output:
    """Standard output, as it is at each moment. What its encoding lacks is written as an escape."""

    _arrows = str.maketrans("↑↓", "^v")

    @property
    def _stream(self) -> TextIO | None:
        # While a progress bar is shown, rich puts a proxy of its own in the place of standard output.
        stream: TextIO | None = getattr(sys.stdout, "rich_proxied_file", sys.stdout)
        return stream

    def write(self, text: str) -> int:
        """Write text."""
        if self._stream is None:  # as under pythonw
            return len(text)
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(self._arrows).encode(encoding, "backslashreplace").decode(encoding)
        return self._stream.write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        if self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class Log(Output):
    """Standard output as the log of what goes on without it: where it cannot be written, nothing is any more."""

    def write(self, text: str) -> int:
        """Write text, if that is possible."""
        try:
            return super().write(text)
        except (OSError, ValueError):  # a full disk, a pipe that nobody reads; the latter is for a closed file
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, if that is possible."""
        try:
            super().flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        # Python flushes what is left at the exit, and would fail.
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # type: ignore[union-attr]


def progress_bar(console: Console) -> Progress:
    """Progress over batches or steps, with a field losses; it vanishes at the end.

    Where the screen is narrow the losses are cut first, then the bar: count and time left stay.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=min(max(console.width - 38, 4), 20), table_column=Column(no_wrap=True)),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn(
            "{task.fields[losses]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
        console=console,
        transient=True,
        expand=True,  # for the ratio: the losses get what the other columns leave
    )


def columns_table(notes: Sequence[ColumnNote], examples: bool = False) -> Table:
    """What became of the columns of tables.

    Args:
        notes: Of each column.
        examples: Show some of its cells, too.
    """
    table = Table("column", "is", "of", *["for example"] * examples)
    for note in notes:
        cells = ", ".join(
            text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE]}…" for text in note.examples
        )
        table.add_row(note.column, note.role, note.told, *[cells] * examples)
    return table


def best_line(record: Record, patience: int | None) -> str:
    """The best epoch so far, and how many further ones may be no better; nothing in the first epoch.

    Args:
        record: Of the run.
        patience: After how many epochs in a row that were no better the run ends; None: it does not.

    Example:
        >>> from tsbn_hub.training.report import best_line
        >>> from tsbn_hub.training.state.record import Record
        >>> best_line(Record(epoch=6, best_epoch=4), patience=5)
        'best: epoch 4, 4 left  '
    """
    if not record.best_epoch:
        return ""
    left = record.patience_left(patience)
    return f"best: epoch {record.best_epoch}{'' if left is None else f', {left} left'}  "


def losses_line(losses: Mapping[str, float]) -> str:
    """The losses of an epoch so far."""
    return "loss: " + "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())


def print_epoch(console: Console, kinds: Mapping[str, Kind], line: EpochLine, seconds: float, is_best: bool) -> None:
    """Print an epoch's losses, scores and time, and whether it is the best so far.

    In a log it is one line. On a terminal that is narrower it goes on below, and no name is torn from its number.
    """
    primary = {name: _shown(kinds[name], kinds[name].primary, values) for name, values in line["validation"].items()}
    scores = "  ".join(f"{name} {value}" for name, value in primary.items())
    mark = " *" if is_best else ""
    text = f"epoch {line['epoch']:3}  {losses_line(line['loss'])}  validation: {scores}  {seconds:.0f} s{mark}"
    if console.is_terminal:
        whole = re.sub(r"(?<! ) (?! )", "\N{NO-BREAK SPACE}", text)  # textwrap breaks at none
        lines = textwrap.wrap(whole, console.width, subsequent_indent=" " * 4, break_long_words=False)
        text = "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")
    console.print(text, soft_wrap=True)


def tracked_values(line: EpochLine) -> dict[str, float]:
    """What trackers are told of an epoch."""
    losses = {f"loss/{name}": loss for name, loss in line["loss"].items()}
    scores = {
        f"validation/{name}/{metric}": value
        for name, values in line["validation"].items()
        for metric, value in values.items()
    }
    return {**losses, **scores, "lr": line["lr"], "epoch": line["epoch"]}


def score_title(config: TrainingConfig) -> str:
    """What the scores of a finished run are of."""
    way = f"norm={config.norm}" if config.method is None else f"method={config.method}"
    start = f"from {config.checkpoint}" if config.model is None else f"{config.model}, {way}"
    return f"{start}: test set, epoch chosen on validation"


def score_table(kinds: Mapping[str, Kind], scores: Scores) -> Table:
    """Every task's metrics, the primary one first, with an arrow to where it is better."""
    table = Table()
    for column in ("task", "metric", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, values in scores.items():
        for metric in values:
            arrow = "↑" if kinds[name].metrics[metric] else "↓"
            first = metric == kinds[name].primary
            table.add_row(name if first else "", f"{metric} {arrow}", _shown(kinds[name], metric, values, digits=2))
    return table


def _shown(kind: Kind, metric: str, values: Mapping[str, float], digits: int = 1) -> str:
    """A share as a percentage; an error in its own unit."""
    return f"{values[metric]:.{digits}%}" if kind.is_share(metric) else f"{values[metric]:.{digits + 2}g}"


def size_line(model: nn.Module) -> str:
    """What the tasks cost: parameters and buffers, shared and of one task."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    buffers = sum(buffer.numel() for buffer in model.buffers())
    norms = [module for module in model.modules() if isinstance(module, TaskNorm)]
    tasks = len(model.tasks) if isinstance(model, TaskModule) else 1
    stacked = [getattr(norm, name) for norm in norms for name in norm.stacked_names()]
    of_gates = sum(tensor.numel() for tensor in stacked if isinstance(tensor, nn.Parameter)) // tasks
    of_statistics = sum(tensor.numel() for tensor in stacked if not isinstance(tensor, nn.Parameter)) // tasks
    whom = f"each of the {tasks} tasks" if tasks > 1 else "the task"
    return (
        f"{parameters / 1e6:.2f} M parameters, {buffers / 1e6:.2f} M buffers. Norms cost {whom} "
        f"{of_gates:,} parameters ({of_gates / parameters:.2%}) and {of_statistics:,} buffers."
    )
