"""The report of a run on a split of its data."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from torch import Tensor

from ...data import Draw, SeededSamples
from ...data.batches.origin import file_of
from ...data.images import as_image, scaled
from ...data.sample import Batch
from ...files.atomic import write_atomically
from ...files.file_names import file_names
from ...tasks import Attributes, Classification, Depth, Kind, Normals, Regression, Segmentation
from ...tasks.binary_map import BinaryMap
from ...training.evaluate_run import Split, open_run
from ...training.evaluation import Scores
from ..figures import check_matplotlib
from ..tables import write_table
from .angles import AnglesReport
from .attributes import AttributesReport
from .classes import ClassesReport
from .depths import DepthsReport
from .numbers import NumbersReport
from .page import page
from .section import TaskReport
from .thresholds import ThresholdsReport
from .worst import WorstSamples, as_rgb

REPORT, SCORES = "report.html", "scores.csv"

_REPORTS: dict[type[Kind], type[TaskReport]] = {
    Classification: ClassesReport,
    Segmentation: ClassesReport,
    Attributes: AttributesReport,
    Regression: NumbersReport,
    Depth: DepthsReport,
    Normals: AnglesReport,
    BinaryMap: ThresholdsReport,  # of edges and saliency
}


def report_run(
    folder: str | Path, output: str | Path, split: Split = "test", *, trust: bool = False
) -> tuple[dict[str, Kind], Scores]:
    """Score the best model of a run, and report where it is right and where it is wrong.

    A folder gets report.html, which a browser shows, and what is in it: pictures, and tables as CSV. Of classes the
    confusion matrix and the scores of each, of attributes the scores of each, of numbers and depths the errors, and
    predicted against true ones, of normals the angles, of edges and saliency precision and recall by threshold; and of
    every kind, also one of your own, the samples of the highest loss. The numbers are those of `evaluate_run`: images
    and pixels without a target count nowhere.

    Args:
        folder: The run's folder.
        output: Where to; it is made. Files of the same name are replaced.
        split: The part of the data.
        trust: Import the files and modules that the folder names, whoever has written them. Those of your own runs are
            imported anyway.

    Returns:
        The kind of each task, and its metrics.

    Raises:
        FileNotFoundError: if the folder holds no run, or one without a model yet.
        ValueError: if the data have other tasks, kinds or labels than the model, or there are several processes.
        ImportError: if matplotlib is not installed.
        NotImportedError: if it needs code that was not imported; it says which, and what to do. It is a ValueError.
    """
    check_matplotlib()  # before hours of scoring
    run = open_run(folder, split, trust=trust)
    if run.accelerator.num_processes > 1:
        raise ValueError("A report is made by one process: start it without accelerate launch and torchrun.")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    gathered = Gathered(run.kinds, run.batches.batch_sampler)  # type: ignore[arg-type]  # it gives draws
    scores = run.scores(gathered.add)
    samples = SeededSamples(run.data)

    def image_of(draw: Draw) -> Tensor:
        return as_rgb(scaled(as_image(samples[draw]["image"])).float())

    sections = {}
    stems = file_names(run.kinds, lambda task: quote(task, safe=" "))  # a task may have a slash in its name
    for task in run.kinds:
        own, worst = gathered.reports.get(task), gathered.worst[task]
        sections[task] = own.write(output, stems[task]) if own is not None and task in gathered.seen else []
        sections[task] += worst.write(output, stems[task], image_of, lambda index: file_of(run.data, index))
    rows = [[task, metric, value] for task, values in scores.items() for metric, value in values.items()]
    write_table(output / SCORES, [["task", "metric", "value"], *rows])
    about = f"The best model of {folder}, on the {len(run.data):,} samples of its {split} data."
    html = page(f"{Path(folder).resolve().name}: {split}", about, run.kinds, scores, sections)
    write_atomically({output / REPORT: lambda path: path.write_text(html, "utf-8", "backslashreplace")})
    return run.kinds, scores


class Gathered:
    """What is reported, gathered while a model is scored.

    Args:
        kinds: The kind of each task.
        draws: What the samples of each batch are read by, in the order of the batches.

    Attributes:
        reports: By task, what is special to its kind; of a kind of the user's own there is none.
        worst: By task, the samples of the highest loss.
        seen: The tasks that a sample has a target for.
    """

    def __init__(self, kinds: Mapping[str, Kind], draws: Iterable[list[Draw]]) -> None:
        self.kinds = kinds
        self.reports = {task: report(task, kind) for task, kind in kinds.items() if (report := _report_of(kind))}
        self.worst = {task: WorstSamples(task, kind) for task, kind in kinds.items()}
        self.seen: set[str] = set()
        self._draws = iter(draws)

    def add(self, batch: Batch, outputs: Mapping[str, Tensor]) -> None:
        """Add a batch, and what the model gives for it, for the tasks that it has targets for."""
        draws = next(self._draws)
        for task, output in outputs.items():
            kind, target = self.kinds[task], batch["targets"][task]
            if not kind.count(target):
                continue
            self.seen.add(task)
            prediction = kind.predict(output).cpu()
            if task in self.reports:
                self.reports[task].add(prediction, target.cpu())
            self.worst[task].add(draws, output, prediction, target)


def _report_of(kind: Kind) -> type[TaskReport] | None:
    return next((report for kind_class, report in _REPORTS.items() if isinstance(kind, kind_class)), None)
