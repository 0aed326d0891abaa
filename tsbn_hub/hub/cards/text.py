"""What a card says to its readers."""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from torch import nn

from ...analysis import Cost, importance_matrix
from ...analysis.gates.importance_picture import has_boxes
from ...baselines import method_of
from ...files.names import GATES, SAMPLES
from ...models.surface import Surface
from ...norms import TaskNorm
from ...results.recording import without_folders
from ...results.results import Metric, Results, TaskMeasured
from ...tasks import Attributes, Kind
from ...tasks.thresholds import DEFAULT_THRESHOLD
from ...training import TrainingConfig
from ...training.recipe.config import OF_THE_MACHINE

PAPER = "[arXiv 2512.20420](https://arxiv.org/abs/2512.20420)"
_STYLES = {
    "sigmoid": f"{{task}} has a gate for each channel of the norm layers (TSσBN, {PAPER})",
    "affine": f"{{task}} has a weight and a bias for each channel of the norm layers (TSBN, see {PAPER})",
    "statistics": "{task} has running statistics of its own in the BatchNorms",
    "shared": f"{{task}} has nothing of its own but its head (hard sharing, see {PAPER})",
}
_MOST_LABELS = 20
# What one wants to know of any training, be it the default or not.
_ESSENTIALS = ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "seed")

CITATION = """\
```bibtex
@misc{suteu2025simplifying,
  title = {Simplifying Multi-Task Architectures Through Task-Specific Normalization},
  author = {Mihai Suteu and Ovidiu Serban},
  year = {2025},
  eprint = {2512.20420},
  archivePrefix = {arXiv},
  url = {https://arxiv.org/abs/2512.20420}
}
```"""


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Args:
        name: The title, and where the code loads the model from.
        revision: The branch there; None: the main one.
        surface: Of the model.
        kinds: By task, what its targets are; empty for a model without heads.
        cost: What the model costs; None for one without heads.
        results: What was measured; None: nothing.
        recipe: How it was trained; None: that is not known.
        license: Of the weights; None: it is not stated.
        has_picture: Whether there is a picture of the gates beside the card.
        shows_samples: Whether there is one of what these weights predict for test data.
    """

    name: str
    revision: str | None
    surface: Surface
    kinds: dict[str, Kind]
    cost: Cost | None
    results: Results | None
    recipe: TrainingConfig | None
    license: str | None
    has_picture: bool
    shows_samples: bool

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks; none of a plain model."""
        return self.surface.tasks


def card_text(subject: Subject) -> str:
    """The card of a subject, in Markdown."""
    sections = {
        "Tasks": _tasks(subject) if subject.tasks else "",
        "Predictions": _predictions(subject),
        "Gates": _gates(subject),
        "Use": f"```python\n{subject.surface.usage(subject.name, subject.revision)}\n```",
        "Cost": _cost(subject),
        "Training": _training(subject),
        "Data and licence": _data_and_license(subject),
        "Limits": _limits(subject),
        "Citation": CITATION,
    }
    parts = [f"# {escaped(subject.name)}", _introduction(subject)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join(parts) + "\n"


def _introduction(subject: Subject) -> str:
    architecture, library = subject.surface.architecture, subject.surface.library
    if not subject.tasks:
        task = getattr(subject.surface.model, "folded_task", None)  # it is known until the model is saved
        origin = f": the task {escaped(task)}, folded out of a multi-task model ({PAPER})" if task else ""
        return f"A plain `{architecture}` of {library}{origin}. It loads without `tsbn_hub`."
    trunk, norm = subject.surface.method, subject.surface.norm_style().norm
    method = method_of(norm, trunk, len(subject.tasks))
    if trunk is not None and method is not None:
        tasks = _listed(map(escaped, subject.tasks))
        paper = f": {method.summary} ({method.source}, [arXiv {method.arxiv}]({method.url}))" if method.arxiv else ""
        return (
            f"One model (`{architecture}`, {library}) for {tasks}, which share the network by the method "
            f"`{escaped(trunk)}`{paper}. Made with `tsbn_hub`, which it needs."
        )
    style = _STYLES[norm]
    network, tasks = f"One network (`{architecture}`, {library}) for", _listed(map(escaped, subject.tasks))
    if len(subject.tasks) == 1:
        own = style.format(task="the task")
        return f"{network} one task, {tasks}: {own}. Made with `tsbn_hub`, which it needs."
    return (
        f"{network} {len(subject.tasks)} tasks: {tasks}. The feature extractor is shared, and "
        f"{style.format(task='each task')}. Made with `tsbn_hub`, which it needs."
    )


# Tasks and scores.


def _tasks(subject: Subject) -> str:
    results = subject.results
    measured = {task.name: task for task in results.tasks} if results else {}
    columns = ["task", "kind", "classes", "metric", "value"]
    if results and results.other_seeds:
        columns.append(f"mean of {len(results.other_seeds) + 1} seeds")
    if results and results.single_task:
        columns.append("single-task")
    lines = [_row(columns), _row(["---"] * len(columns))]
    described = {task.name: (task.kind, task.classes) for task in subject.cost.tasks} if subject.cost else {}
    for name in subject.tasks:
        kind, classes = described.get(name, ("no head", None))
        first = [name, kind, "" if classes is None else str(classes)]
        if results and name in measured:
            for scores in _scores(results, measured[name]):
                lines.append(_row([*first, *scores]))
                first = ["", "", ""]
        else:
            lines.append(_row([*first, "not measured"] + [""] * (len(columns) - 4)))
    notes = [where_measured(results), _of_seeds(results), _delta_m(subject), *_labels(subject), *_thresholds(subject)]
    return "\n\n".join(["\n".join(lines), *(note for note in notes if note)])


def _scores(results: Results, task: TaskMeasured) -> Iterator[list[str]]:
    """Of each metric of a task: its name, its value, and what other runs score."""
    alone = results.single_task.get(task.name)
    for metric in task.metrics:
        cells = [shown_name(metric), shown_value(metric, metric.value)]
        if results.other_seeds:
            interval = results.over_seeds(task, metric)
            parts = (interval.mean, interval.half_width) if interval else ()
            cells.append(" ± ".join(shown_value(metric, part) for part in parts))
        if results.single_task:
            cells.append(shown_value(metric, alone.value) if alone and metric is task.metrics[0] else "")
        yield cells


def where_measured(results: Results | None) -> str:
    """What the scores are of."""
    if results is None:
        return "**Not measured**: no results are recorded with these weights."
    data = _listed(f"{escaped(each.name)} ({each.samples:,} samples)" for each in results.data)
    return (
        f"Measured on the {escaped(results.split)} split of {data}; ↑: higher is better. The epoch was chosen by "
        f"{escaped(results.epoch_chosen_by)}."
    )


def _of_seeds(results: Results | None) -> str:
    if results is None or not results.other_seeds:
        return ""
    seeds = [str(other.seed) for other in results.other_seeds]
    return (
        "The value is that of these weights. The mean is over them and runs of the same recipe with "
        f"seed{'s' * (len(seeds) > 1)} {_listed(seeds)}; ±: half of its 95% interval, by Student's t."
    )


def _delta_m(subject: Subject) -> str:
    results = subject.results
    if results is None or len(subject.tasks) < 2:
        return ""
    delta = results.delta_m()
    if delta is None:
        return "Δm, the gain over single-task training: not measured for all tasks."
    differing = sorted({key for single in results.single_task.values() for key in single.differs_in})
    recipe = f"a recipe that differs in {_listed(differing)}" if differing else "the same recipe"
    return (
        f"**Δm = {round(delta, 2) + 0.0:+.2f}%** against single-task training, a network for each task by {recipe}: "
        "the mean over tasks of the relative gain in the first metric; below 0 is worse. Each is a single run."
    )


def _labels(subject: Subject) -> list[str]:
    return [
        f"The classes of {escaped(name)}: {', '.join(map(escaped, kind.labels))}."
        for name, kind in subject.kinds.items()
        if kind.labels
        and len(kind.labels) <= _MOST_LABELS
        and kind.labels != [str(at) for at in range(len(kind.labels))]
    ]


def _thresholds(subject: Subject) -> Iterator[str]:
    """Above which probabilities attributes count as present, where that is not 0.5."""
    for name, kind in subject.kinds.items():
        if not isinstance(kind, Attributes) or set(kind.thresholds) == {DEFAULT_THRESHOLD}:
            continue
        thresholds = kind.by_label(kind.thresholds)
        each = ", ".join(f"{escaped(label)} {value:.4g}" for label, value in thresholds.items())
        if len(thresholds) > _MOST_LABELS:
            each = f"from {min(kind.thresholds):.4g} to {max(kind.thresholds):.4g}, as `config.json` has them"
        tuned = ", tuned for F1 on the validation data" if kind.tune_thresholds else ""
        yield f"What counts as present for {escaped(name)} is above these probabilities{tuned}: {each}."


def shown_name(metric: Metric) -> str:
    """A metric's name, and where better is."""
    return f"{metric.name} {'↑' if metric.higher_is_better else '↓'}"


def shown_value(metric: Metric, value: float | None) -> str:
    """A metric's value, or its interval's half-width: a share as a percentage; what has a unit of its own in that."""
    if value is None:
        return "not measured"
    is_share = metric.is_share and metric.higher_is_better and 0 <= value <= 1
    return f"{value:.2%}" if is_share else f"{value:.4g}"


# What else there is to say.


def _predictions(subject: Subject) -> str:
    if not subject.shows_samples:
        return ""
    return (
        f"![What is true of test samples, and what is predicted]({SAMPLES})\n\n"
        "Samples evenly spread over the test data, not chosen by how well they turned out. Each task has one scale."
    )


def _gates(subject: Subject) -> str:
    if not subject.has_picture or not has_gates(subject.surface.model):
        return ""
    if has_boxes(importance_matrix(subject.surface.model)):
        drawn = "the gates of each layer: at 1 a filter is let through, at 0 it is closed."
    else:
        drawn = "the mean gate of each task in each layer: at 1 all filters are let through, at 0 all are closed."
    if len(subject.tasks) == 1:
        return f"![The gates of the task]({GATES})\n\nT{drawn[1:]}"
    return (
        f"![The gates of each task]({GATES})\n\n"
        f"Above, {drawn} Below, how far apart the gates of the tasks are: where the bars are high, the tasks use other "
        "filters."
    )


def has_gates(model: nn.Module) -> bool:
    """Whether there is something to see in a picture of a model's gates."""
    return any(isinstance(norm, TaskNorm) and norm.gate_logits is not None for norm in model.modules())


def _cost(subject: Subject) -> str:
    cost = subject.cost
    if cost is None or not subject.tasks:
        return f"{sum(parameter.numel() for parameter in subject.surface.model.parameters()):,} parameters."
    columns = ["task", "norms' parameters", "% of shared", "buffers", "head", "head's parameters", "GFLOPs alone"]
    rows = [
        [
            task.name,
            f"{task.norm_parameters:,}",
            f"{task.norm_parameters / max(cost.shared_parameters, 1):.2%}",
            f"{task.buffers:,}",
            task.head,
            f"{task.head_parameters:,}",
            f"{task.flops / 1e9:.4g}",
        ]
        for task in cost.tasks
    ]
    lines = [_row(columns), _row(["---", "---:", "---:", "---:", "---", "---:", "---:"]), *map(_row, rows)]
    channels, height, width = cost.image_shape
    together = (
        f"Shared: {cost.shared_parameters:,} parameters, {cost.shared_buffers:,} buffers. Together: "
        f"{cost.parameters:,} parameters, {cost.buffers:,} buffers, {cost.flops / 1e9:.4g} GFLOPs for one image of "
        f"{channels}x{height}x{width} and all tasks."
    )
    return "\n".join(lines) + "\n\n" + together


def _training(subject: Subject) -> str:
    recipe = subject.recipe
    if recipe is None:
        return "Not recorded." if subject.tasks else ""
    values = {
        each.name: without_folders(getattr(recipe, each.name))
        for each in dataclasses.fields(recipe)
        if each.name not in OF_THE_MACHINE
        and (each.name in _ESSENTIALS or getattr(recipe, each.name) != _default(each))
    }
    representer: Any = yaml.representer.SafeRepresenter
    mapping = representer(default_flow_style=None, sort_keys=False).represent_data(values)
    mapping.flow_style = False  # a line a key, whatever the values are
    text = yaml.serialize(mapping, allow_unicode=True, width=100)
    return (
        f"`tsbn train` with this, and its defaults otherwise (all of it is in `training.yaml`):\n\n```yaml\n{text}```"
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _data_and_license(subject: Subject) -> str:
    lines = []
    if subject.results is not None:
        for data in subject.results.data:
            origin = f" ({_link(data.url)})" if data.url else ""
            license = f"licence {escaped(data.license)}" if data.license else "its licence is not stated"
            tasks = f" For {_listed(map(escaped, data.tasks))}." if len(subject.results.data) > 1 else ""
            creator = f" by {escaped(data.creator)}" if data.creator else ""
            lines.append(f"- Data: {escaped(data.name)}{creator}{origin}, {license}.{tasks}")
    elif subject.recipe is not None:
        names = _listed(escaped(_class_name(source.name)) for source in subject.recipe.sources())
        lines.append(f"- Data: {names}; the licence is not recorded.")
    elif subject.tasks:
        lines.append("- Data: not recorded.")
    stated = f"licence {escaped(subject.license)}" if subject.license else "their licence is not stated"
    return "\n".join([*lines, f"- Weights: {stated}."])


def _limits(subject: Subject) -> str:
    if subject.results is None:
        return "How well it does is not known: nothing measured is recorded." if subject.tasks else ""
    data = _listed(escaped(each.name) for each in subject.results.data)
    measured = [task.name for task in subject.results.tasks]
    unknown = [escaped(name) for name in subject.tasks if name not in measured]
    rest = f" Of {_listed(unknown)} nothing was measured." if unknown else ""
    return f"Measured on {data} alone: how well it does on other images is not known.{rest}"


# Words.


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |".replace("  |", " |")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    text = " ".join(text.split())
    return re.sub(r"[\\`*<>\[\]|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _link(url: str) -> str:
    return f"<{url}>" if re.fullmatch(r"https?://[^\s<>]+", url) else escaped(url)


def _listed(texts: Iterable[str]) -> str:
    *rest, last = texts
    return f"{', '.join(rest)} and {last}" if rest else last


def _class_name(data: str) -> str:
    return data.rpartition(":")[2]
