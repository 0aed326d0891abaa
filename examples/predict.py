"""Load a trained model with timm alone (and our names), and look at what it predicts for held-out images.

python examples/predict.py runs/multi_digits
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
    folder = parser.parse_args().folder
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
    draw(samples, predictions, folder / "predictions.png")
    print(f"  drawn in {folder / 'predictions.png'}")


def draw(samples: list, predictions: dict[str, torch.Tensor], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for at, (axes, sample) in enumerate(zip(figure.subplots(2, 6).flat, samples, strict=True)):
        axes.imshow(sample["image"][0], cmap="gray")
        right = all(predicted[at] == sample["targets"][task] for task, predicted in predictions.items())
        title = "  ".join(f"{task} {predicted[at]}" for task, predicted in predictions.items())
        axes.set_title(title, fontsize="small", color="black" if right else "red")
        axes.axis("off")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
