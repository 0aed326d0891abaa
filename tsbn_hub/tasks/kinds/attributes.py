"""Attributes: several properties of each image, each there or not."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kind import Json, register_kind
from ..labels import LabelledKind, in_order
from ..losses import KindWithLosses
from ..pictures import write_lines
from ..thresholds import above, check_thresholds


@register_kind("attributes")
class Attributes(KindWithLosses, LabelledKind):
    """K binary attributes of each image, such as the 40 of CelebA (multi-label classification).

    Target: int64 (B, K), 1 (present), 0 (absent) or -100 (unknown, which counts nowhere). Output: logits (B, K). Loss:
    binary cross-entropy, or another by name, the mean over the known entries.

    Metrics, over the known entries of the data set, in [0, 1] and higher is better: "accuracy" and "f1", the F1 score
    of being present, of each attribute, averaged over attributes (macro); "micro_f1", of all entries together;
    "sample_f1", of each image, averaged over images; and "map", the average precision of each attribute, averaged
    (macro), which hangs on no threshold. What is undefined is left out of the average: an attribute that is never
    known; in F1 an attribute or image of which nothing is present, in targets or predictions; in "map" an attribute
    that is never present. Accuracy is the primary one: it is what is compared on CelebA, and it is defined for every
    attribute, while F1 hangs on few images where an attribute is rare.

    An attribute counts as present above a probability of 0.5, or above its threshold.

    Args:
        num_classes: The number of attributes, K.
        labels: Their names; None: "0", "1", …
        loss: "binary_cross_entropy", the default, "focal", "asymmetric" or another of `tsbn_hub.tasks.losses`; or a
            mapping of its name and keywords.
        thresholds: Of each attribute, above which probability it counts as present, in [0, 1]; a list, or a mapping
            by label. None: 0.5.
        tune_thresholds: Whether `tsbn train` finds the thresholds on the validation data, for the weights that it
            keeps: those with the highest F1 score of each attribute (see `tsbn_hub.tasks.thresholds`).

    Raises:
        ValueError: if the labels or thresholds are not as many as the attributes, a threshold is none, or there is no
            such loss.

    Attributes:
        thresholds: A number for each attribute.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks.kinds.attributes import Attributes
        >>> task, logits = Attributes(2, labels=["smiling", "hat"]), torch.tensor([[3.0, -3.0], [3.0, 3.0]])
        >>> metrics = task.new_metrics()
        >>> metrics.update(task.predict(logits), torch.tensor([[1, 0], [0, -100]]))
        >>> metrics.compute()
        {'accuracy': tensor(0.7500), 'f1': tensor(0.6667), 'map': tensor(0.5000), 'micro_f1': tensor(0.6667), \
'sample_f1': tensor(0.5000)}
        >>> task.describe(task.predict(logits)[0])["present"]
        ['smiling']

    Source: Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", arXiv 1411.7766 (CelebA).
    """

    dense = False
    head = "linear"
    default_loss = "binary_cross_entropy"
    metrics: ClassVar = {"accuracy": True, "f1": True, "micro_f1": True, "sample_f1": True, "map": True}
    chosen_by = "accuracy"
    metrics_share_state = True
    gives = "the probability of each attribute"
    hub_task = "image-classification"
    hub_metrics: ClassVar = {"accuracy": "accuracy", "f1": "f1"}
    only_for_training = ("loss", "thresholds", "tune_thresholds")

    def __init__(
        self,
        num_classes: int,
        labels: Sequence[str] | None = None,
        loss: str | Mapping[str, Any] | None = None,
        thresholds: Sequence[float] | Mapping[str, float] | None = None,
        tune_thresholds: bool = False,
    ) -> None:
        super().__init__(num_classes, labels)
        self.choose_loss(loss)
        if isinstance(thresholds, Mapping):
            thresholds = in_order("thresholds", thresholds, self.labels)
        self.thresholds = check_thresholds(thresholds, self.outputs)
        if not isinstance(tune_thresholds, bool):
            raise ValueError(f"tune_thresholds={tune_thresholds!r} must be true or false.")
        self.tune_thresholds = tune_thresholds
        if tune_thresholds:
            self.taken_from_validation = ("thresholds",)

    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless this is int64 (B, K) of 0, 1 and -100."""
        if target.dtype != torch.int64 or target.ndim != 2 or target.shape[1] != self.outputs:
            raise ValueError(
                f"A target of {self.outputs} attributes is int64 (B, {self.outputs}); this one is "
                f"{target.dtype} {tuple(target.shape)}. Convert it with .long(), and single attributes with [:, None]."
            )
        wrong = (target != 0) & (target != 1) & self.valid(target)
        if wrong.any():
            raise ValueError(
                f"A target of attributes has the values {target[wrong].unique().tolist()}. Known are 0 (absent), "
                f"1 (present; write -1 and 1 as (target + 1) // 2) and {self.missing} (unknown)."
            )

    def predict(self, output: Tensor) -> Tensor:
        """The probability of each attribute: (B, K), float32."""
        return output.float().sigmoid()

    def present(self, probabilities: Tensor) -> Tensor:
        """Which attributes count as present: bool (…, K), of probabilities (…, K)."""
        return above(probabilities, self.thresholds)

    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """The image with the attributes that are present (up to eight) written into it; of a prediction with scores."""
        if value.is_floating_point():
            scores = self.by_label(value.tolist())
            lines = [f"{label} {scores[label]:.2f}" for label in self._surest(value)]
        else:
            lines = [label for label, entry in self.by_label(value.tolist()).items() if entry == 1]
        return write_lines(image, lines[:8] + ["…"] * (len(lines) > 8))

    def caption(self, prediction: Tensor, target: Tensor) -> list[str]:
        """How many of the known attributes are right, and the first of those that are not."""
        known = self.valid(target)
        wrong = (known & (self.present(prediction) != (target == 1))).nonzero().flatten().tolist()
        right = int(known.sum()) - len(wrong)
        names = [("" if target[index] else "not ") + self.label(index) for index in wrong]
        return [f"{right} of {int(known.sum())} right"] + [f"true: {', '.join(names)}"] * bool(names)

    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """The names of the attributes that are present, the surest first, and the probabilities of all."""
        return {"present": self._surest(prediction), "scores": self.by_label(prediction.tolist())}

    def _surest(self, prediction: Tensor) -> list[str]:
        """The attributes of an image that are present, the most probable first."""
        scores, present = prediction.tolist(), self.present(prediction).tolist()
        there = sorted((index for index, yes in enumerate(present) if yes), key=scores.__getitem__, reverse=True)
        return [self.label(index) for index in there]
