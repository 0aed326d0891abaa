"""From samples to a batch, where any sample may lack any target."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from ..images import as_image, scaled
from ..sample import Batch, Sample


class Collate:
    """Stack samples; where a sample lacks a target, its place holds the value that the task ignores.

    Args:
        missing: For each task, the value that stands for "no target". Other tasks' targets are left out.
        normalize: What becomes of the images, (B, …) → (B, …), float32. Bytes (uint8) have been divided by 255.

    Raises:
        ValueError: from a call, if images, or a task's targets, differ in shape or dtype.

    Example:
        >>> import torch
        >>> from tsbn_hub.data import Collate
        >>> samples = [{"image": torch.rand(1, 8, 8), "targets": targets} for targets in ({"a": 3}, {"b": 1}, {"a": 5})]
        >>> Collate({"a": -100, "b": -100, "c": -100})(samples)["targets"]
        {'a': tensor([   3, -100,    5]), 'b': tensor([-100,    1, -100])}
    """

    def __init__(self, missing: Mapping[str, float], normalize: Callable[[Tensor], Tensor] | None = None) -> None:
        self.missing, self.normalize = dict(missing), normalize or nn.Identity()

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """The batch: `image` (B, …), and `targets` of the tasks that at least one sample has a target for."""
        targets: dict[str, Tensor] = {}
        for task, missing in self.missing.items():
            given = [sample["targets"].get(task) for sample in samples]
            present = [torch.as_tensor(target) for target in given if target is not None]
            if present:
                check_alike(present, f"targets of {task!r}")
                absent, rest = torch.full_like(present[0], missing), iter(present)
                targets[task] = torch.stack([absent if target is None else next(rest) for target in given])
        images = [as_image(sample["image"]) for sample in samples]
        check_alike(images, "images")
        stacked: Tensor = default_collate(images)
        return {"image": self.normalize(scaled(stacked)), "targets": targets}


def check_alike(tensors: Sequence[Tensor], what: str) -> None:
    """Raise ValueError unless tensors of one batch can be stacked.

    Args:
        tensors: At least one.
        what: What they are, in the plural.
    """
    first = tensors[0]
    for tensor in tensors:
        if tensor.shape != first.shape:
            raise ValueError(
                f"The {what} of a batch have the shapes {tuple(first.shape)} and {tuple(tensor.shape)}: give all the "
                "same size, by resizing or cropping, or take batch_size=1."
            )
        if tensor.dtype != first.dtype:
            raise ValueError(f"The {what} of a batch are {first.dtype} and {tensor.dtype}: give all the same dtype.")
