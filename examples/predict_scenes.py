"""Draw what a model trained on Scenes predicts for held-out rooms, beside what is true.

python examples/predict_scenes.py runs/scenes_resnet [--out runs/scenes_resnet.png]
"""

import argparse
import sys
from pathlib import Path

import torch

from tsbn_hub import TsbnForMultiTask
from tsbn_hub.data import Scenes
from tsbn_hub.deploy import draw_samples

ROOMS = (0, 5, 8, 13)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of a run on Scenes")
    parser.add_argument("--out", type=Path, help="the picture to write; default: beside the folder, by its name")
    arguments = parser.parse_args()
    folder, out = arguments.folder, arguments.out or arguments.folder.with_name(f"{arguments.folder.name}.png")
    if not (folder / "config.json").is_file():
        sys.exit(f"predict_scenes.py: {folder} has no config.json. Train first: examples/configs/scenes_resnet.yaml.")

    model = TsbnForMultiTask.from_pretrained(folder).eval()
    data = Scenes("test")
    samples = [data[at] for at in ROOMS]
    images = torch.stack([sample["image"] for sample in samples])
    with torch.inference_mode():
        outputs = model(images).logits
    predictions = {task: model.kinds[task].predict(output) for task, output in outputs.items()}

    targets = {task: torch.stack([sample["targets"][task] for sample in samples]) for task in model.tasks}
    draw_samples(images, targets, predictions, model.kinds).save(out)
    print(f"{out}: for each room the image, and what is true above what is predicted of {', '.join(model.tasks)}")


if __name__ == "__main__":
    main()
