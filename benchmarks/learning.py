"""Whether every method and every balancing learns: each against its own untrained network, on rendered rooms.

python benchmarks/learning.py

It writes benchmarks/results/learning.json. What the file has is not trained again. A score is the mean over tasks of
what chooses the epoch, in [0, 1], on the test set.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.progress import track

from tsbn_hub.baselines import SINGLE_TASK, methods
from tsbn_hub.files.atomic import write_atomically
from tsbn_hub.training import TrainingConfig, evaluate, train
from tsbn_hub.training.balancing.balancing import balancings
from tsbn_hub.training.evaluation import mean_score
from tsbn_hub.training.loop import Training
from tsbn_hub.training.recipe.building import build_data
from tsbn_hub.training.state.signals import StopSignals

RESULTS = Path(__file__).parent / "results" / "learning.json"


def main() -> None:
    """Train what is not in the file yet, and write it after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=256, help="rooms to train with, and to test with")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--only", nargs="*", help="names of methods and balancings; default: all")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(arguments.output.read_text("utf-8")) if arguments.output.is_file() else {}
    names = [name for name in [*methods, *balancings] if arguments.only is None or name in arguments.only]
    console = Console(stderr=True)
    for name in track([name for name in names if name not in results], "methods, balancings", console=console):
        untrained, trained = scores_of(name, arguments.samples, arguments.epochs)
        results[name] = {"untrained": round(untrained, 4), "trained": round(trained, 4)}
        ordered = {name: results[name] for name in [*methods, *balancings] if name in results}
        text = json.dumps(ordered, indent=2) + "\n"
        write_atomically({arguments.output: lambda path, text=text: path.write_text(text, encoding="utf-8")})  # type: ignore[misc]
        console.print(f"{name}: {untrained:.3f} untrained, {trained:.3f} trained")


def scores_of(name: str, samples: int, epochs: int) -> tuple[float, float]:
    """What a network scores before and after training, with a method or, on task norms, a balancing."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            model="test_resnet_tsbn",
            data="Scenes",
            data_args={"size": samples, "height": 48, "width": 64},
            output=str(Path(folder, "run")),
            method=name if name in methods else "tssigma",
            balancing=name if name in balancings else "equal",
            tasks=["segmentation"] if name == SINGLE_TASK else None,
            epochs=epochs,
            batch_size=16,
            lr=2e-3,
        )
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
        training = Training(config, accelerator := Accelerator(), StopSignals())
        batches = training.loaders.evaluation_batches(build_data(config, "test"))
        untrained = evaluate(training.model, batches, training.kinds, accelerator)
        return mean_score(training.kinds, untrained), mean_score(training.kinds, train(config))


if __name__ == "__main__":
    main()
