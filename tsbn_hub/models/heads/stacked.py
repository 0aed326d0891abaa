"""The heads of several tasks as one, for graphs in which the task is a tensor."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .head import Features


class StackedHeads(nn.Module):
    """The heads of several tasks, whose parameters are stacked: a row chooses among them.

    Args:
        heads: By task, of the same layers. They are copied.

    Raises:
        ValueError: if they have not the same layers.
    """

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        states = {task: head.state_dict() for task, head in heads.items()}
        layers = {
            task: [type(heads[task]).__name__, *((name, tuple(tensor.shape)) for name, tensor in state.items())]
            for task, state in states.items()
        }
        first, *_ = heads
        others = [task for task in heads if layers[task] != layers[first]]
        if others:
            raise ValueError(f"The heads of the tasks {others} have other layers than that of {first!r}.")
        self.head = deepcopy(heads[first])
        self.names = list(states[first])
        # In a list, for the names have dots.
        self.stacked = nn.ParameterList(
            nn.Parameter(torch.stack([state[name] for state in states.values()]), requires_grad=False)
            for name in self.names
        )

    def forward(self, row: Tensor, features: Features, size: tuple[int, int]) -> Tensor:
        """The output of one head.

        Args:
            row: Of the task, int64 without dimensions.
            features: As heads take them.
            size: Height and width of the images.
        """
        state = {name: stacked[row] for name, stacked in zip(self.names, self.stacked, strict=True)}
        output: Tensor = functional_call(self.head, state, (features, size))
        return output
