"""Linear heads."""

from torch import Tensor, nn

from .head import DenseHead, FeatureInfo, Features, Head, register_head


@register_head("linear", dense=False)
class LinearHead(Head):
    """A linear layer on the pooled vector.

    Args:
        outputs: Number of outputs.
        features: The sizes of the features.
        dropout: Of the vector, in [0, 1).

    Raises:
        ValueError: if the dropout is outside its range.
    """

    def __init__(self, outputs: int, features: FeatureInfo, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must lie in [0, 1): at 1 nothing is left to learn from.")
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features.pooled, outputs)

    def forward(self, features: Features, size: tuple[int, int]) -> Tensor:
        return self.linear(self.dropout(features.pooled))


@register_head("linear", dense=True)
class LinearDenseHead(DenseHead):
    """A linear layer on every pixel of the coarsest map, as for linear probing.

    Args:
        outputs: Number of output channels.
        features: The sizes of the features.
    """

    def __init__(self, outputs: int, features: FeatureInfo) -> None:
        super().__init__()
        self.linear = nn.Conv2d(features.channels[-1], outputs, kernel_size=1)

    def decode(self, maps: list[Tensor]) -> Tensor:
        return self.linear(maps[-1])
