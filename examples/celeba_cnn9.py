"""The CNN of nine layers that papers on balancing train on CelebA, as a timm architecture: `celeba_cnn9`.

A config imports this file, and names `celeba_cnn9_tsbn`: see examples/configs/celeba_cnn9.yaml. It shows how a network
of your own gets task norms, too: register it with timm, then its name with this package.

Seven 3x3 convolutions and two fully connected layers, each with a BatchNorm and a ReLU, as in the code of FAMO (Liu et
al., arXiv 2306.03792). The fully connected ones are 1x1 convolutions of the pooled map here, which is the same.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

import tsbn_hub

WIDTHS = (64, 128, 128, 256, 256, 512, 512)
POOLED_AFTER = (0, 2, 4)  # layers with a maximum over 2x2 pixels behind them

default_cfgs = generate_default_cfgs(  # read by register_model
    {"celeba_cnn9.untrained": {"input_size": (3, 64, 64), "classifier": "fc", "first_conv": "features.0"}}
)


class CNN9(nn.Module):
    """Seven convolutions, a mean over the map, and two further layers.

    Args:
        num_classes: Of the classifier; 0: none.
        in_chans: Channels of the images.
        width: What the widths of all layers are multiplied by.
    """

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, width: float = 1.0) -> None:
        super().__init__()
        widths = [round(width * channels) for channels in WIDTHS]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip([in_chans, *widths], widths, strict=False)):
            layers += _layer(before, after, kernel_size=3)
            layers += [nn.MaxPool2d(2)] if index in POOLED_AFTER else []
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.head_hidden_size = self.num_features
        fully_connected = [layer for _ in range(2) for layer in _layer(widths[-1], widths[-1], kernel_size=1)]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), *fully_connected)
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """Make a new last layer."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """From images (B, C, H, W) to (B, D, 1, 1)."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """From (B, D, 1, 1) to (B, num_classes), or (B, D)."""
        return x.flatten(1) if pre_logits else self.fc(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """From images (B, C, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _layer(before: int, after: int, kernel_size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


@register_model
def celeba_cnn9(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The network, without weights."""
    return build_model_with_cfg(CNN9, "celeba_cnn9", pretrained, **kwargs)


tsbn_hub.register("celeba_cnn9")
