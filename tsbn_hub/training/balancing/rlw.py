"""Random weights."""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .balancing import register_balancing
from .weighting import LossWeighting


@register_balancing("rlw")
class RandomWeighting(LossWeighting):
    """Weights drawn anew in each step: the softmax, over the step's tasks, of standard normal numbers.

    They sum to 1, as in the paper, LibMTL and TorchJD, and not to the number of tasks as equal weights do.

    Args:
        tasks: The tasks.
        seed: The draws depend on it and on the number of steps so far alone.

    Example:
        >>> import torch
        >>> from tsbn_hub.training.balancing import RandomWeighting
        >>> weighting = RandomWeighting(["seg", "depth"], seed=0)
        >>> weighting.weights(["seg", "depth"])
        tensor([0.2563, 0.7437])
        >>> weighting.after_step({"seg": torch.tensor(0.7), "depth": torch.tensor(1.2)})
        >>> weighting.weights(["seg", "depth"])
        tensor([0.8333, 0.1667])

    Source: Lin, Ye, Zhang, Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning", arXiv 2111.10603, algorithm 2.
    """

    steps: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks)
        self.seed = seed
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weights(self, active: Sequence[str]) -> Tensor:
        # Hashed: a generator takes only 32 bits of its seed, and seed + steps would repeat the draws of another seed.
        digest = hashlib.sha256(f"{self.seed} {self.steps.item()}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        draws = torch.randn(len(self.tasks), generator=generator, dtype=torch.float32)
        return draws[self._rows(active)].softmax(dim=0).to(self.steps.device)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        self.steps += 1
