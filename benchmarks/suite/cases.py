"""What is measured: the cases, and which norms are task-specific in them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import timm
import torch

import tsbn_hub  # noqa: F401  (registers the names that end in _tsbn)
from tsbn_hub.norms import TaskNorm

MODELS = (
    "resnet18",
    "mobilenetv3_large_100",
    "resnet50",
    "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "convnext_tiny",
)
GATED = ("all", "last 3", "last 2", "last 1")
"""Which norms are task-specific: those that are by default, or of these the ones in the last stages."""


@dataclass(frozen=True)
class Case:
    """What is measured side by side.

    Args:
        model: A timm architecture.
        gated: One of `GATED`.
        tasks: How many there are.
        batch: How many images.
        device: "cpu" or "cuda".
        dtype: "float32", or "bfloat16" by autocast.
        mode: "eager" or "compiled".
        what: "forward" in evaluation without gradients, or "step": forward and backward in training.
    """

    model: str
    gated: str
    tasks: int
    batch: int
    device: str
    dtype: str
    mode: str
    what: str

    @property
    def setting(self) -> tuple[str, str, str, str]:
        """All but the network and how much it has to do."""
        return self.device, self.dtype, self.mode, self.what

    def __str__(self) -> str:
        size = f"{self.tasks} tasks, batch {self.batch}"
        return f"{self.model}, {self.gated}, {size}: {', '.join(self.setting)}"


def all_cases(
    models: Sequence[str],
    gated: Sequence[str],
    tasks: Sequence[int],
    batch: Sequence[int],
    devices: Sequence[str],
    dtypes: Sequence[str],
    modes: Sequence[str],
    whats: Sequence[str],
) -> list[Case]:
    """Every combination, those of few tasks and images and eager code first: they are the quickest."""
    product = itertools.product(devices, modes, dtypes, sorted(tasks), sorted(batch), whats, models, gated)
    return [
        Case(model, norms, number, images, device, dtype, mode, what)
        for device, mode, dtype, number, images, what, model, norms in product
    ]


def quick_cases(devices: Sequence[str]) -> list[Case]:
    """A few small ones, of every kind, to see that all works."""
    eager, f32, forward = ["eager"], ["float32"], ["forward"]
    return [
        *all_cases(["resnet18"], ["all", "last 1"], [3], [1], devices, f32, eager, forward),
        *all_cases(["resnet18"], ["last 1"], [3], [1], devices, f32, eager, ["step"]),
        *all_cases(["vit_small_patch16_224"], ["all"], [2], [2], devices, f32, eager, forward),
        *all_cases(["test_resnet"], ["last 1"], [1], [1], devices, f32, eager, forward),
        *all_cases(["test_resnet"], ["last 1"], [2], [1], devices, f32, ["compiled"], forward),
        *all_cases(["test_resnet"], ["all"], [2], [2], devices, ["bfloat16"], eager, ["step"]),
    ]


def gated_norms(model: str, gated: str) -> list[str] | None:
    """The names of the norms that are task-specific; None: those that are by default.

    A stage ends with a feature of `features_only=True`, what is before the first one included. Where there are more
    than five, as in a vision transformer, the stages are thirds of the network.

    Args:
        model: A timm architecture.
        gated: One of `GATED`.

    Raises:
        ValueError: if the network has no more stages than that.
    """
    if gated == "all":
        return None
    with torch.device("meta"):
        network = timm.create_model(f"{model}_tsbn")
    ends = [feature["module"] for feature in network.feature_info]  # type: ignore[union-attr]
    if len(ends) > 5:
        ends = [ends[round(len(ends) * third / 3) - 1] for third in (1, 2, 3)]
    last = int(gated.removeprefix("last "))
    if last >= len(ends):
        raise ValueError(f"{model} has {len(ends)} stages: with the {gated} all are task-specific.")
    names = [name for name, _ in network.named_modules()]
    before = ends[-last - 1]
    end = max(at for at, name in enumerate(names) if name == before or name.startswith(f"{before}."))
    norms = {name for name, module in network.named_modules() if isinstance(module, TaskNorm)}
    return [name for name in names[end + 1 :] if name in norms]
