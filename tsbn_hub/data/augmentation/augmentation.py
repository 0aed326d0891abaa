"""Random changes of training samples, of images and their targets together."""

from collections.abc import Mapping
from typing import get_args

from torch import Tensor
from torchvision import tv_tensors

from ...tasks import Kind
from ..images import as_image
from ..sample import Sample
from .step import Effect, Step, augmentations, make_step
from .target import Target


class Augmentation:
    """Changes samples at random, by steps of torchvision's v2, so that their targets stay right.

    First come steps that move pixels, then those that change anything, then those of colours alone, each in the order
    of their names. What a target becomes, its kind says (`Kind.follow`). Size and dtype stay. A target that is missing
    stays missing; where an image is continued beyond its border, a target for every pixel has none.

    All draws come from torch's global generator, which `SeededSamples` seeds for each sample.

    Args:
        steps: By the name of each step, True for its defaults, a mapping of its options, or the value of its first
            option. False or None leaves it out. The steps: "crop", "flip", "scale", "shift"; "rand_augment",
            "trivial_augment"; "blur", "color"; or another that is registered.
        kinds: The kind of each task. Targets of other tasks are left out.

    Raises:
        UnknownNameError: if there is no such step.
        ValueError: if a step does not take its options, or the targets of a kind cannot follow it.

    Example:
        >>> import torch
        >>> from tsbn_hub.data.augmentation import Augmentation
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> augment = Augmentation({"flip": 1.0}, {"depth": make_kind(Task("depth", kind="depth"))})
        >>> sample = {"image": torch.rand(3, 1, 2), "targets": {"depth": torch.tensor([[1.0, 2.0]])}}
        >>> augment(sample)["targets"]["depth"]
        tensor([[2., 1.]])
    """

    def __init__(self, steps: Mapping[str, object], kinds: Mapping[str, Kind]) -> None:
        order = get_args(Effect)
        made = [make_step(name, options) for name, options in steps.items() if options not in (False, None)]
        self.steps = sorted(made, key=lambda step: (order.index(step.changes), step.name))
        self.kinds = dict(kinds)
        for step in self.steps:
            _check_kinds(step, self.kinds)

    def __call__(self, sample: Sample) -> Sample:
        """The changed sample.

        Raises:
            ValueError: if the image is none that a step takes.
        """
        if not self.steps:
            return sample
        image = tv_tensors.Image(as_image(sample["image"]))
        given = sample["targets"]
        targets = {name: Target.of(given[name], kind) for name, kind in self.kinds.items() if name in given}
        for step in self.steps:
            image, targets = step(image, targets)
        return {"image": _plain(image), "targets": {name: _plain(target) for name, target in targets.items()}}


def _check_kinds(step: Step, kinds: Mapping[str, Kind]) -> None:
    """Raise ValueError if the targets of a kind cannot follow a step."""
    if step.changes == "colours":
        return
    for task, kind in kinds.items():
        what = f"augmentation: the targets of task {task!r}, of kind {kind.name!r}, cannot follow {step.name!r}"
        if type(kind).follow is Kind.follow:
            raise ValueError(
                f"{what}: the kind does not say how. Leave out {step.name!r}, or let {type(kind).__name__} have a "
                "method `follow`: see docs/extending.md."
            )
        if step.changes == "anything" and kind.dense:
            others = [name for name in augmentations if augmentations[name].changes != "anything"]
            raise ValueError(f"{what}, which is for tasks of whole images alone. Take {', '.join(others)}.")


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)
