"""Cosines of all pairs of tasks, over a whole network and in each of its layers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TaskCosines:
    """How alike tasks are, in something that each has a vector of.

    Args:
        tasks: Names of the rows and columns.
        matrix: (T, T), float64, in [-1, 1]: the cosine of each pair of tasks, over all layers.
        layers: The same in each layer, by its name, in the order of the network. NaN where a task's vector is zero.
        unrelated: The cosine of tasks that have nothing in common.
    """

    tasks: list[str]
    matrix: Tensor
    layers: dict[str, Tensor]
    unrelated: float = 0.0

    @classmethod
    def of_products(cls, tasks: list[str], products: Mapping[str, Tensor], unrelated: float = 0.0) -> "TaskCosines":
        """The cosines of vectors whose inner products are known, by layer.

        Args:
            tasks: The names of the tasks.
            products: By layer, (T, T), float64.
            unrelated: The cosine of tasks that have nothing in common.

        Example:
            >>> import torch
            >>> from tsbn_hub.analysis import TaskCosines
            >>> vectors = torch.tensor([[3.0, 4.0], [-6.0, -8.0]], dtype=torch.float64)
            >>> TaskCosines.of_products(["a", "b"], {"layer": vectors @ vectors.T}).matrix.tolist()
            [[1.0, -1.0], [-1.0, 1.0]]
        """
        total = torch.stack(list(products.values())).sum(0)
        layers = {name: _cosines(product) for name, product in products.items()}
        return cls(tasks, _cosines(total), layers, unrelated)

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of tasks, as rows and columns above the diagonal."""
        return [(row, column) for row in range(len(self.tasks)) for column in range(row + 1, len(self.tasks))]


def _cosines(products: Tensor) -> Tensor:
    norms = products.diagonal().sqrt()
    return (products / torch.outer(norms, norms)).clamp(-1, 1)  # NaN, 0 / 0, stays
