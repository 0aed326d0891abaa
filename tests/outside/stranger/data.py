"""A data set whose tasks belong to the instance."""

import torch
from torch.utils.data import Dataset

from tsbn_hub import Task
from tsbn_hub.data import register_data_set


@register_data_set("Discs")
class Discs(Dataset):
    """A disc on noise: where it is, how large, and which pixels are its own."""

    license = "cc0-1.0"

    def __init__(self, split: str = "train", size: int = 48, quantile: float = 0.5) -> None:
        self.split, self.size = split, size
        self.tasks = [
            Task("radius", kind="quantile", head="two_layers", kind_args={"quantile": quantile}),
            Task("side", num_classes=2, labels=["left", "right"]),
        ]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(2 * index + (self.split == "test"))
        radius, x, y = torch.rand(3, generator=generator) * torch.tensor([6, 16, 16]) + torch.tensor([4, 8, 8])
        down, across = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
        disc = (across - x).square() + (down - y).square() < radius.square()
        image = 0.5 * torch.rand(3, 32, 32, generator=generator) + 0.5 * disc
        targets = {"radius": radius[None] / 10} if index % 3 else {}
        return {"image": image, "targets": {**targets, "side": (x > 16).long()}}
