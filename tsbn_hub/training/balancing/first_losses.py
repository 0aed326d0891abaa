"""What a task's loss was when it was first seen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .balancing import Balancing


class FirstLosses(Balancing):
    """Keeps each task's first loss that is greater than 0, as a scale that all of its later losses are measured by."""

    first: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.register_buffer("first", torch.full((len(tasks),), torch.nan))

    def first_losses(self, losses: Tensor, active: Sequence[str]) -> Tensor:
        """The first loss of each active task; of one that has none so far, its loss of now.

        Args:
            losses: Those of this step, (len(active),).
            active: Its tasks.
        """
        first = self.first[self._rows(active)].to(losses)
        return torch.where(first.isnan(), losses.detach(), first)

    @torch.no_grad()
    def keep_first(self, losses: Tensor, active: Sequence[str]) -> None:
        """Keep the losses of tasks that have none so far."""
        first = self.first_losses(losses, active)
        self.first[self._rows(active)] = first.where(first > 0, torch.nan).to(self.first)
