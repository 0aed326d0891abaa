"""Draw what a model trained on Scenes predicts for held-out rooms, beside what is true.

python examples/predict_scenes.py runs/scenes_resnet
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

from tsbn_hub import TsbnForMultiTask
from tsbn_hub.data import Scenes

ROOMS = (0, 5, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of a run on Scenes")
    folder = parser.parse_args().folder
    if not (folder / "config.json").is_file():
        sys.exit(f"predict_scenes.py: {folder} has no config.json. Train first: examples/configs/scenes_resnet.yaml.")

    model = TsbnForMultiTask.from_pretrained(folder).eval()
    data = Scenes("test")
    samples = [data[at] for at in ROOMS]
    images = torch.stack([sample["image"] for sample in samples])
    with torch.inference_mode():
        outputs = model(images).logits
    predictions = {task: model.kinds[task].predict(output) for task, output in outputs.items()}

    rows = []
    for at, (image, sample) in enumerate(zip(images, samples, strict=True)):
        picture = (image * 255).to(torch.uint8)
        truth = [model.kinds[task].picture(sample["targets"][task], image) for task in model.tasks]
        predicted = [model.kinds[task].picture(predictions[task][at], image) for task in model.tasks]
        rows += [torch.cat([picture, *truth], dim=2), torch.cat([torch.zeros_like(picture), *predicted], dim=2)]
    path = folder / "predictions.png"
    Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).numpy()).save(path)
    print(f"{path}: image, then {', '.join(model.tasks)}; the truth above, the prediction below it")


if __name__ == "__main__":
    main()
