"""The samples that a model is most wrong about."""

import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...data import Draw
from ...tasks import Attributes, Classification, Kind, Regression
from ...tasks.pictures import ColorBar, Swatches
from ..figures import cut, write_figure
from ..tables import write_table
from .section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEPT = 20
_DRAWN, _DRAWN_DENSE = 12, 6
_COLUMNS = 4
_MOST_NAMES = 10  # in a legend
_MOST_NUMBERS = 8  # of a target, as a text


@dataclass(frozen=True)
class WorstSample:
    """A sample, and how wrong the model is about it.

    Args:
        loss: Of the sample alone, as the task's kind has it.
        draw: Where it is in the data, and the seed that it is read with.
        prediction: Of `Kind.predict`, without the batch's dimension, on the CPU.
        target: Without the batch's dimension, on the CPU.
    """

    loss: float
    draw: Draw
    prediction: Tensor
    target: Tensor


class WorstSamples:
    """Keeps the samples of the highest losses of a task.

    Args:
        task: The name of the task.
        kind: Its kind.
    """

    def __init__(self, task: str, kind: Kind) -> None:
        self.task, self.kind = task, kind
        self._heap: list[tuple[float, int, WorstSample]] = []  # by loss; of equal ones the first samples stay

    def add(self, draws: list[Draw], output: Tensor, prediction: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            draws: What its samples were read by.
            output: Of the model, (B, …), on the device of the target.
            prediction: Of `Kind.predict`, on the CPU.
            target: (B, …), on any device.
        """
        for place, draw in enumerate(draws):
            one = slice(place, place + 1)
            if not self.kind.count(target[one]):
                continue
            loss = self.kind.loss(output[one].float(), target[one]).item()
            if len(self._heap) == _KEPT and (loss, -draw.index) <= self._heap[0][:2]:
                continue
            sample = WorstSample(loss, draw, prediction[place].clone(), target[place].cpu().clone())
            push = heapq.heappushpop if len(self._heap) == _KEPT else heapq.heappush
            push(self._heap, (loss, -draw.index, sample))

    @property
    def samples(self) -> list[WorstSample]:
        """The highest loss first."""
        return [sample for _, _, sample in sorted(self._heap, key=lambda each: each[:2], reverse=True)]

    def write(
        self,
        folder: Path,
        stem: str,
        image_of: Callable[[Draw], Tensor],
        file_of: Callable[[int], str | None],
    ) -> list[Section]:
        """Their table, and a picture of the first ones.

        Args:
            folder: Where to.
            stem: What the names of the files begin with.
            image_of: The image of a sample, (3, H, W), float32 in [0, 1].
            file_of: The file of a sample, by its index; None where it is not known.
        """
        if not self._heap:
            return []
        name = f"{stem}.worst"
        rows: list[list[object]] = [["sample", "file", "loss", "true", "predicted"]]
        for sample in self.samples:
            true = target_in_words(self.kind, sample.target)
            predicted = prediction_in_words(self.kind, sample.prediction)
            file = file_of(sample.draw.index) or ""
            rows.append([sample.draw.index, file, float(f"{sample.loss:.6g}"), true, predicted])
        write_table(folder / f"{name}.csv", rows)
        drawn = self.samples[: _DRAWN_DENSE if self.kind.dense else _DRAWN]
        figure = _dense_figure if self.kind.dense else _figure
        write_figure(partial(figure, self.kind, drawn, image_of), folder / f"{name}.png")
        return [Section("The worst samples", f"{name}.png", [f"{name}.csv"], [] if self.kind.dense else rows)]


def target_in_words(kind: Kind, target: Tensor) -> str:
    """A target as a text: a class, the attributes that are present, numbers; empty of a dense kind.

    Args:
        kind: Of the task.
        target: Without the batch's dimension.
    """
    if isinstance(kind, Classification):
        return kind.label(int(target))
    if isinstance(kind, Attributes):
        return ", ".join(kind.label(index) for index in (target == 1).nonzero().flatten().tolist())
    return "" if kind.dense else ", ".join(f"{number:.6g}" for number in target.flatten()[:_MOST_NUMBERS].tolist())


def prediction_in_words(kind: Kind, prediction: Tensor) -> str:
    """A prediction as a text: the same, and what the kind says of it, as JSON, where it is none of these.

    Args:
        kind: Of the task.
        prediction: Of `Kind.predict`, without the batch's dimension.
    """
    if isinstance(kind, Classification):
        return kind.label(int(prediction.argmax()))
    if isinstance(kind, Attributes):
        return target_in_words(kind, prediction > 0.5)
    if isinstance(kind, Regression):
        return target_in_words(kind, prediction)
    return json.dumps(kind.describe(prediction), ensure_ascii=False)


def _figure(kind: Kind, samples: list[WorstSample], image_of: Callable[[Draw], Tensor]) -> "Figure":
    from matplotlib.figure import Figure

    rows = -(-len(samples) // _COLUMNS)
    figure = Figure(figsize=(2.6 * _COLUMNS, 3.1 * rows), layout="constrained")
    axes: list[Any] = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for each in axes:
        each.axis("off")
    for each, sample in zip(axes, samples, strict=False):
        each.imshow(image_of(sample.draw).movedim(0, -1).clamp(0, 1))
        lines = kind.caption(sample.prediction, sample.target) or []
        told = [cut(line, 32) for line in (*lines, f"sample {sample.draw.index}, loss {sample.loss:.3g}")]
        each.set_title("\n".join(told), fontsize="small")
    return figure


def _dense_figure(kind: Kind, samples: list[WorstSample], image_of: Callable[[Draw], Tensor]) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height, width = samples[0].target.shape[-2:]
    row_height = min(3.0 * height / width, 4.5) + 0.3
    figure = Figure(figsize=(9.0, row_height * len(samples) + 0.8), layout="constrained")
    patches: dict[str, Patch] = {}
    for row, sample in zip(figure.subplots(len(samples), 3, squeeze=False), samples, strict=True):
        axes: list[Any] = list(row)
        image = image_of(sample.draw)
        axes[0].imshow(image.movedim(0, -1).clamp(0, 1))
        axes[0].set_title(f"sample {sample.draw.index}, loss {sample.loss:.3g}", fontsize="small")
        for each, title, value in zip(axes[1:], ("true", "predicted"), (sample.target, sample.prediction), strict=True):
            legend = kind.legend(value)
            if isinstance(legend, ColorBar):
                title += f": {legend.low:.3g} to {legend.high:.3g}, {legend.label}"
            if isinstance(legend, Swatches):
                for name, (red, green, blue) in zip(legend.names, legend.colors.tolist(), strict=True):
                    patches.setdefault(name, Patch(color=(red, green, blue), label=cut(name, 20)))
            each.imshow(kind.picture(value, image).movedim(0, -1))
            each.set_title(title, fontsize="small")
        for each in axes:
            each.axis("off")
    if patches:
        more = f"and {len(patches) - _MOST_NAMES} more" if len(patches) > _MOST_NAMES else None
        shown = list(patches.values())[:_MOST_NAMES]
        figure.legend(handles=shown, loc="outside lower center", ncols=5, frameon=False, title=more)
    return figure


def as_rgb(image: Tensor) -> Tensor:
    """An image of any number of channels as (3, H, W): grey three times, of many the first three.

    Example:
        >>> import torch
        >>> from tsbn_hub.analysis.report.worst import as_rgb
        >>> as_rgb(torch.rand(1, 4, 5)).shape, as_rgb(torch.rand(5, 4, 5)).shape
        (torch.Size([3, 4, 5]), torch.Size([3, 4, 5]))
    """
    return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
