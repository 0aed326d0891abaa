"""A data set of your own, in a page: photos in folders, with labels in a CSV file.

    accelerate launch examples/finetune.py my_photos.yaml

with my_photos.yaml:

    model: resnet18_tsbn
    data: examples/own_data.py:Photos
    data_args: {root: my_photos}
    output: runs/my_photos

and my_photos/train.csv and my_photos/test.csv:

    file,weather,place
    img/0001.jpg,sun,beach
    img/0002.jpg,rain,city
"""

import csv
from pathlib import Path
from typing import ClassVar

import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

from tsbn_hub.data import read_image

CLASSES = {"weather": ["sun", "rain", "snow"], "place": ["beach", "city", "forest", "home"]}


class Photos(Dataset):
    """The tasks are the columns of the CSV file; every sample is an image and a dict of targets."""

    num_classes: ClassVar = {task: len(names) for task, names in CLASSES.items()}

    def __init__(self, split: str, root: str, size: int = 224) -> None:
        self.root = Path(root)
        with (self.root / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.transform = v2.Compose([v2.ToImage(), v2.Resize((size, size)), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> dict:
        row = self.rows[at]
        image = read_image(self.root / row["file"])  # turned as its EXIF data says; RGB, whatever the file has
        return {
            "image": self.transform(image),
            "targets": {task: names.index(row[task]) for task, names in CLASSES.items()},
        }
