"""A look at a run before it starts."""

from rich.table import Table

from ..data.notes import broken_files_of, column_notes_of
from ..data.splitting import told_of_split
from .acceleration import make_accelerator
from .loaders import first_image, labelled
from .loop import Training
from .memory import PeakMemory
from .recipe.building import build_data
from .recipe.config import TrainingConfig
from .report import columns_table, size_line
from .state.signals import StopSignals

_SHOWN = 10


def dry_run(config: TrainingConfig, *, trust: bool = False) -> None:
    """Print a run's data, its parameters and the memory of a step, which it takes. Nothing is written.

    Args:
        config: The run.
        trust: As `train` takes it.

    Raises:
        ValueError: if the config does not fit the data.
    """
    training = Training(config, make_accelerator(config), StopSignals(), trust=trust)

    data = Table("data", "split", "samples", "image", "tasks, and how many samples have a label")
    for split in ("train", "test"):
        datasets = build_data(config, split).datasets
        for part in datasets:
            image = "x".join(map(str, first_image(part).shape))
            tasks = ", ".join(f"{name} {share:.0%}" for name, share in labelled(part, training.kinds).items() if share)
            data.add_row(type(part).__name__, split, f"{len(part):,}", image, tasks)  # type: ignore[arg-type]
    training.console.print(data)
    training.console.print(f"The best epoch is chosen on {told_of_split(datasets, config.validation)}.")

    if notes := column_notes_of(training.datasets):
        training.console.print(columns_table(notes, examples=True))
    if broken := broken_files_of(training.datasets):
        shown = "".join(f"\n  {file}: {reason}" for file, reason in list(broken.items())[:_SHOWN])
        training.console.print(f"{len(broken):,} files are missing or broken, and left out. The first:{shown}")

    parameters = Table("parameters", "number", "learning rate", "weight decay")
    for group in training.learner.optimizer.param_groups:
        number = sum(parameter.numel() for parameter in group["params"])
        parameters.add_row(group["name"], f"{number:,}", f"{group['lr']:.3g}", f"{group['weight_decay']:.3g}")
    training.console.print(parameters)
    training.console.print(size_line(training.model))

    steps = len(training.steps)
    training.console.print(f"{steps:,} steps an epoch, {steps * config.epochs:,} in {config.epochs} epochs.")
    training.model.train()
    with PeakMemory(training.model) as peak:
        training.learner.take_step(next(training.steps.of_epoch(1)), number=0)
    held = sum(
        tensor.numel() * tensor.element_size() for tensor in [*training.model.parameters(), *training.model.buffers()]
    )
    what = "activations for the backward" if training.accelerator.device.type == "cpu" else "all of it, at its peak"
    training.console.print(
        f"Memory of a step: {peak.bytes / 2**20:,.0f} MiB ({what}). Weights: {held / 2**20:,.0f} MiB, and again for "
        "their gradients, and for each average that the optimizer keeps."
    )
