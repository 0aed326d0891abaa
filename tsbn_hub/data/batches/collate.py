"""From samples to a batch, where any sample may lack any target."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from ..sample import Batch, Sample


class Collate:
    """Stack samples; where a sample lacks a target, its place holds the value that the task ignores.

    Args:
        missing: For each task, the value that stands for "no target". Other tasks' targets are left out.
        normalize: What becomes of the images, (B, …) → (B, …).

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
            like = next((torch.as_tensor(target) for target in given if target is not None), None)
            if like is not None:
                absent = torch.full_like(like, missing)
                targets[task] = torch.stack([absent if target is None else torch.as_tensor(target) for target in given])
        return {"image": self.normalize(_stacked([sample["image"] for sample in samples])), "targets": targets}


def _stacked(images: list[Tensor]) -> Tensor:
    stacked: Tensor = default_collate(images)
    return stacked
