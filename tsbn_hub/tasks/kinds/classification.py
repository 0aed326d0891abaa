"""Classification: one class for each image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kind import Json, register_kind
from ..labels import LabelledKind
from ..losses import KindWithLosses
from ..pictures import write_lines


@register_kind("classification")
class Classification(KindWithLosses, LabelledKind):
    """One of K classes for each image.

    Target: int64 (B,), from 0 to K - 1, or -100 for an image without a target, which counts nowhere. Output: logits
    (B, K). Loss: cross-entropy, or another by name. Metric: accuracy over the data set, in [0, 1], higher is better.

    Args:
        num_classes: K; None: as many as `labels`, and not known without these.
        labels: The classes' names; None: "0", "1", …
        loss: "cross_entropy", the default, "focal" or another of `tsbn_hub.tasks.losses`; or a mapping of its name and
            keywords.

    Raises:
        ValueError: if the labels are not as many as the classes, or there is no such loss.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Classification
        >>> task, logits = Classification(labels=["cat", "dog"]), torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> metrics = task.new_metrics()
        >>> metrics.update(task.predict(logits), torch.tensor([0, 0]))
        >>> metrics.compute()
        {'accuracy': tensor(0.5000)}
        >>> task.describe(task.predict(logits)[1])["class"]
        'dog'
    """

    dense = False
    head = "linear"
    default_loss = "cross_entropy"
    metrics: ClassVar = {"accuracy": True}
    chosen_by = "accuracy"
    gives = "the probability of each class"
    hub_task = "image-classification"
    hub_metrics: ClassVar = {"accuracy": "accuracy"}

    def __init__(
        self,
        num_classes: int | None = None,
        labels: Sequence[str] | None = None,
        loss: str | Mapping[str, Any] | None = None,
    ) -> None:
        if num_classes is None and labels is not None:
            num_classes = len(labels)
        if num_classes is not None:
            super().__init__(num_classes, labels)
        self.choose_loss(loss)

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless this is int64 (B,) with classes or -100."""
        if target.dtype != torch.int64 or target.ndim != 1:
            raise ValueError(
                f"A target of classification is int64 (B,), one class for each image; this one is {target.dtype} "
                f"{tuple(target.shape)}. Convert it with .long(), and one-hot classes with .argmax(dim=1)."
            )
        wrong = (target < 0) & self.valid(target)
        if self.num_classes is not None:
            wrong |= target >= self.num_classes
        if wrong.any():
            last = "K - 1" if self.num_classes is None else self.num_classes - 1
            raise ValueError(
                f"A target of classification has the classes {target[wrong].unique().tolist()}. Known are 0 to {last}, "
                f"and {self.missing} for an image without a class."
            )

    def predict(self, output: Tensor) -> Tensor:
        """The probabilities of the classes: (B, K), float32."""
        return output.float().softmax(dim=1)

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The image with the target's name, or the three best classes of a prediction, written into it."""
        if value.is_floating_point():
            lines = [f"{label} {score:.2f}" for label, score in self._best(value, 3).items()]
        else:
            index = int(value)
            lines = ["no target" if index == self.missing else self.label(index)]
        return write_lines(image, lines)

    def caption(self, prediction: Tensor, target: Tensor) -> list[str]:
        """The best class with its probability, and the true one where that is another."""
        ((label, score),) = self._best(prediction, 1).items()
        index = int(target)
        if index == self.missing:
            return [f"{label} ({score:.0%})", "no target"]
        return [f"{label} ({score:.0%})"] + [f"true: {self.label(index)}"] * (index != int(prediction.argmax()))

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The best class, its probability, and the probabilities of the five best."""
        best = self._best(prediction, 5)
        label = next(iter(best))
        return {"class": label, "score": best[label], "scores": best}

    def _best(self, prediction: Tensor, number: int) -> dict[str, float]:
        scores, classes = prediction.topk(min(number, len(prediction)))
        return {self.label(index): score for index, score in zip(classes.tolist(), scores.tolist(), strict=True)}
