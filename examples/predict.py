"""Load a trained model with timm alone (and our names), and look at what it predicts for held-out images.

python examples/predict.py runs/multi_digits [--out runs/multi_digits.png]
"""

import argparse
import sys
from pathlib import Path

import timm
import torch

import tsbn_hub  # noqa: F401 — registers the `_tsbn` names
from tsbn_hub.data import MultiDigits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of a run on MultiDigits")
    parser.add_argument("--out", type=Path, help="the picture to write; default: beside the folder, by its name")
    arguments = parser.parse_args()
    folder, out = arguments.folder, arguments.out or arguments.folder.with_name(f"{arguments.folder.name}.png")
    if not (folder / "config.json").is_file():
        sys.exit(f"predict.py: {folder} has no config.json. Train first: make demo, or examples/finetune.py.")

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    data = MultiDigits("test")
    samples = [data[at] for at in torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:12].tolist()]
    images = torch.stack([sample["image"] for sample in samples])
    with torch.inference_mode():
        predictions = {task: logits.argmax(1) for task, logits in model(images).items()}

    print(f"{folder}: {len(images)} held-out images")
    for task, predicted in predictions.items():
        truth = torch.stack([sample["targets"][task] for sample in samples])
        right = (predicted == truth).sum()
        print(f"  {task:>6}  predicted {' '.join(map(str, predicted.tolist()))}   {right} of {len(truth)} right")
    draw(samples, predictions, out)
    print(f"  drawn in {out}")


def draw(samples: list, predictions: dict[str, torch.Tensor], path: Path) -> None:
    """Each image with what is predicted for each task and, where that is wrong, what it is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.4), layout="constrained")
    figure.suptitle("Predicted digits; where one is wrong, the true one in brackets", fontsize="medium")
    for at, (axes, sample) in enumerate(zip(figure.subplots(2, 6).flat, samples, strict=True)):
        axes.imshow(sample["image"][0], cmap="gray")
        axes.axis("off")
        lines, wrong = [], False
        for task, predicted in predictions.items():
            truth = sample["targets"][task]
            wrong |= bool(predicted[at] != truth)
            lines.append(f"{task} {predicted[at]}" + ("" if predicted[at] == truth else f" ✗ ({truth})"))
        axes.set_title("\n".join(lines), fontsize="small", weight="bold" if wrong else "normal")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
