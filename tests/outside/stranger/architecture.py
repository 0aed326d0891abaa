"""A network of timm's registry with a norm of its own."""

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

import tsbn_hub
from tsbn_hub.norms import register_norm


class HalvingNorm(nn.GroupNorm):
    """A GroupNorm whose output is halved."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


@register_norm(HalvingNorm)
def halving_norm(norm, x, weight, bias):
    return F.group_norm(x, norm.num_groups, weight, bias, norm.eps) / 2


class Block(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.norm = HalvingNorm(2, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)).relu()


class StrangerNet(nn.Module):
    """Four blocks with the methods that timm's networks have."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, width: int = 8, **kwargs: object) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 2 * width]
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip([in_chans, *widths], widths, strict=False)))
        self.head = nn.Linear(widths[-1], num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.blocks(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.head(x)

    def forward_intermediates(self, x: Tensor, **kwargs: object) -> tuple[Tensor, list[Tensor]]:
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return x, maps

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


default_cfgs = generate_default_cfgs(
    {
        "stranger_net.untrained": {
            "input_size": (3, 32, 32), "num_classes": 10, "pool_size": None, "crop_pct": 1.0,
            "interpolation": "bilinear", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
            "first_conv": "blocks.0.convolution", "classifier": "head",
        }
    }
)  # fmt: skip


@register_model
def stranger_net(pretrained: bool = False, **kwargs: object) -> StrangerNet:
    return build_model_with_cfg(StrangerNet, "stranger_net", pretrained, **kwargs)


tsbn_hub.register("stranger_net")
