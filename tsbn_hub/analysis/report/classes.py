"""Which classes are taken for which: of images, and of pixels."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...tasks import Classification, Kind
from ...tasks.labels import LabelledKind
from ..figures import COLORS, MOST_NAMES, cut, thinned, write_figure
from ..tables import write_table
from .section import Rows, Section, TaskReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NUMBERS = 12  # classes, whose shares are written into the picture
_SHOWN_PAIRS = 10
_LONGEST = 24  # characters


class ClassesReport(TaskReport):
    """The confusion matrix of a classification or segmentation, and the scores of each class.

    Precision, recall and F1 are those of each class against all others; of a segmentation there is intersection over
    union besides. What is undefined, such as the precision of a class that is never predicted, is an empty cell.
    """

    def __init__(self, task: str, kind: Kind) -> None:
        super().__init__(task, kind)
        assert isinstance(kind, LabelledKind)
        self.labels = [kind.label(index) for index in range(kind.outputs)]
        self.counts = torch.zeros(
            len(self.labels), len(self.labels), dtype=torch.int64
        )  # by true, then predicted class

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: probabilities (B, K) and classes (B,), or classes (B, H, W) of both."""
        classes = prediction.argmax(dim=1) if isinstance(self.kind, Classification) else prediction
        valid = self.kind.valid(target)
        pairs = target[valid] * len(self.labels) + classes[valid]
        self.counts += torch.bincount(pairs, minlength=self.counts.numel()).view_as(self.counts)

    def scores(self) -> dict[str, Tensor]:
        """By name, a score of each class, (K,), float64, NaN where it is undefined; and how often each is there."""
        right, true, predicted = (
            counts.double() for counts in (self.counts.diag(), self.counts.sum(1), self.counts.sum(0))
        )
        scores = {"precision": right / predicted, "recall": right / true, "f1": 2 * right / (true + predicted)}
        if self.kind.dense:
            scores["iou"] = right / (true + predicted - right)
        return {"support": true, "predicted": predicted, **scores}

    def write(self, folder: Path, stem: str) -> list[Section]:
        """The matrix, the pairs that are confused most, and the scores of each class."""
        scores, matrix, classes = self.scores(), f"{stem}.confusion", f"{stem}.classes"
        write_table(
            folder / f"{matrix}.csv",
            [["true \\ predicted", *self.labels]]
            + [[label, *row] for label, row in zip(self.labels, self.counts.tolist(), strict=True)],
        )
        write_figure(partial(_matrix_figure, self.counts, self.labels, self._counted), folder / f"{matrix}.png")
        write_table(folder / f"{classes}.csv", class_rows(self.labels, scores))
        best = "iou" if self.kind.dense else "f1"
        drawn = {name: scores[name] for name in (best, "precision", "recall")}
        write_figure(partial(scores_figure, self.labels, drawn), folder / f"{classes}.png")
        return [
            Section("What is taken for what", f"{matrix}.png", [f"{matrix}.csv"], self._confused()),
            Section("The scores of each class", f"{classes}.png", [f"{classes}.csv"]),
        ]

    @property
    def _counted(self) -> str:
        return "pixels" if self.kind.dense else "images"

    def _confused(self) -> Rows:
        """The pairs of classes that are confused most."""
        wrong = self.counts.clone().fill_diagonal_(0)
        places = wrong.flatten().argsort(descending=True, stable=True)[:_SHOWN_PAIRS].tolist()
        rows: list[list[object]] = [["true", "predicted", self._counted, "of the true ones"]]
        for true, predicted in (divmod(place, len(self.labels)) for place in places):
            if count := int(wrong[true, predicted]):
                share = f"{count / int(self.counts[true].sum()):.1%}"
                rows.append([self.labels[true], self.labels[predicted], f"{count:,}", share])
        return rows if len(rows) > 1 else []


def class_rows(labels: list[str], scores: dict[str, Tensor]) -> Rows:
    """A table of scores, a row for each class; what is counted is a whole number."""
    rows: list[list[object]] = [["class", *scores]]
    for index, label in enumerate(labels):
        cells: list[object] = [label]
        for name, values in scores.items():
            value = values[index].item()
            cells.append(int(value) if name in ("support", "predicted", "known") else round(value, 6))
        rows.append(cells)
    return rows


def _matrix_figure(counts: Tensor, labels: list[str], counted: str) -> "Figure":
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    shares = counts / counts.sum(dim=1, keepdim=True)  # NaN, which stays white, where a class is never true
    side = max(2.8, (0.5 if len(labels) <= _MOST_NUMBERS else 0.19) * min(len(labels), MOST_NAMES))
    names = 0.085 * max(len(cut(label, _LONGEST)) for label in labels)
    figure = Figure(figsize=(side + names + 2.0, side + names + 1.0), layout="constrained")
    axes: Any = figure.subplots()
    # Of many classes the shares of errors are small: their colours are spread.
    spread = PowerNorm(1.0 if len(labels) <= _MOST_NUMBERS else 0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="cividis", norm=spread, interpolation="nearest")
    shown = thinned(len(labels))
    ticks = [cut(labels[index], _LONGEST) for index in shown]
    axes.set_xticks(shown, ticks, rotation=60, ha="right", rotation_mode="anchor", fontsize="small")
    axes.set_yticks(shown, ticks, fontsize="small")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) <= _MOST_NUMBERS:
        for (row, column), share in zip(torch.cartesian_prod(*[torch.arange(len(labels))] * 2).view(-1, 2).tolist(),
                                        shares.flatten().tolist(), strict=True):  # fmt: skip
            if share == share:
                color = "black" if share > 0.6 else "white"
                axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=color, fontsize="x-small")
    figure.colorbar(image, ax=axes, label=f"share of the {counted} of a true class", shrink=0.8)
    return figure


def scores_figure(labels: list[str], scores: dict[str, Tensor]) -> "Figure":
    """Scores of classes, the first as bars from the worst class on, the others as marks.

    Args:
        labels: The names of the classes. The 60 worst are shown.
        scores: By name, (K,), in [0, 1]. A class without the first one is left out.
    """
    from matplotlib.figure import Figure

    first, *others = scores
    defined = [index for index in scores[first].argsort(stable=True).tolist() if scores[first][index].isfinite()]
    shown = defined[:MOST_NAMES]
    figure = Figure(figsize=(7.5, max(2.0, 1.1 + 0.2 * len(shown))), layout="constrained")
    axes: Any = figure.subplots()
    places = range(len(shown))
    axes.barh(places, scores[first][shown], color=COLORS[5], label=first)
    for name, color, marker in zip(others, (COLORS[0], COLORS[4]), "o^", strict=False):
        axes.plot(scores[name][shown], places, marker, color=color, label=name, markersize=5)
    axes.set_yticks(places, [cut(labels[index], _LONGEST) for index in shown], fontsize="small")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("score" if len(shown) == len(defined) else f"score; the {len(shown)} worst of {len(defined)}")
    figure.legend(loc="outside upper center", ncols=len(scores), frameon=False)
    return figure
