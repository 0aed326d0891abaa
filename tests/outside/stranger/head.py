"""A head."""

from torch import Tensor, nn

from tsbn_hub.models.heads import FeatureInfo, Features, Head, register_head


@register_head("two_layers", dense=False)
class TwoLayers(Head):
    """Two linear layers on the pooled vector."""

    def __init__(self, outputs: int, features: FeatureInfo, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features.pooled, width), nn.GELU(), nn.Linear(width, outputs))

    def forward(self, features: Features, size: tuple[int, int]) -> Tensor:
        return self.layers(features.pooled)
