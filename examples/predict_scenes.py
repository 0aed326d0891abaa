"""Draw what a model trained on Scenes predicts for held-out rooms, beside what is true.

python examples/predict_scenes.py runs/scenes_resnet [--out runs/scenes_resnet.png]
"""

import argparse
import sys
from pathlib import Path

import torch

from tsbn_hub import TsbnForMultiTask
from tsbn_hub.data import Scenes
from tsbn_hub.tasks import Depth, Kind, Segmentation
from tsbn_hub.tasks.pictures import class_colors

ROOMS = (0, 5, 8)


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

    draw(images, [sample["targets"] for sample in samples], predictions, model.kinds, out)
    print(f"{out}: for each room the image, and what is true above what is predicted of {', '.join(model.tasks)}")


def draw(images: torch.Tensor, truths: list[dict], predictions: dict, kinds: dict[str, Kind], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(2.3 * (1 + len(kinds)) + 0.6, 3.5 * len(images) + 0.7), layout="constrained")
    grid = figure.subplots(2 * len(images), 1 + len(kinds), squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for column, (task, kind) in enumerate(kinds.items(), start=1):
        grid[0, column].set_title(f"{task}, m" if isinstance(kind, Depth) else task)
        for room, (image, truth) in enumerate(zip(images, truths, strict=True)):
            for row, target in ((2 * room, truth[task]), (2 * room + 1, predictions[task][room])):
                axes = grid[row, column]
                if isinstance(kind, Depth):  # in numbers: one scale for the two
                    nearest, farthest = truth[task].min(), truth[task].max()
                    drawn = axes.imshow(target, cmap="viridis_r", vmin=nearest, vmax=farthest)
                    figure.colorbar(drawn, ax=axes, fraction=0.046)
                else:
                    axes.imshow(kind.picture(target, image).permute(1, 2, 0))
    for room, image in enumerate(images):
        grid[2 * room, 0].imshow(image.permute(1, 2, 0))
        grid[2 * room, 0].set_ylabel("true")
        grid[2 * room + 1, 0].imshow(torch.ones_like(image).permute(1, 2, 0))
        grid[2 * room + 1, 0].set_ylabel("predicted")
    grid[0, 0].set_title("image")
    for kind in kinds.values():
        if isinstance(kind, Segmentation):
            colors = class_colors(kind.outputs).tolist()
            handles = [Patch(facecolor=color, label=kind.label(at)) for at, color in enumerate(colors)]
            figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
