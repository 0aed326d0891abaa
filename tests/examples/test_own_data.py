"""The example of a data set of one's own runs as its page says."""

import csv
from pathlib import Path

import torch
from PIL import Image

from tsbn_hub.training import TrainingConfig, train

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_data.py"


def test_photos(tmp_path):
    (tmp_path / "img").mkdir()
    for split, count in (("train", 24), ("test", 6)):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "weather", "place"])
            for at in range(count):
                name = f"img/{split}{at}.jpg"
                Image.new("RGB", (40, 30), (at * 10, 99, 50)).save(tmp_path / name)
                writer.writerow([name, ["sun", "rain", "snow"][at % 3], ["beach", "city", "forest", "home"][at % 4]])
    config = TrainingConfig(
        model="test_resnet_tsbn",
        data=f"{EXAMPLE}:Photos",
        data_args={"root": str(tmp_path), "size": 64},
        output=str(tmp_path / "run"),
        epochs=1,
        batch_size=8,
    )
    (source,) = config.sources()
    sample = source.dataset("train")[0]
    assert sample["image"].shape == (3, 64, 64) and sample["image"].dtype == torch.float32
    assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
    assert train(config).keys() == {"weather", "place"}
