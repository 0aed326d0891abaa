"""What a step of `tsbn train` costs, over a plain loop's and with `channels_last`: ratios, side by side in one process.

python benchmarks/training_step.py --model resnet10t_tsbn --batch 32
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track

from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.acceleration import make_accelerator
from tsbn_hub.training.loop import Training
from tsbn_hub.training.optimization import param_groups
from tsbn_hub.training.state.signals import StopSignals


def seconds_of(step: Callable[[], object], device: torch.device) -> float:
    """The time of a step, with what it left to do on the device."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet10t_tsbn")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    config = TrainingConfig(model=arguments.model, data="MultiDigits", output="unused", batch_size=arguments.batch)
    training = Training(config, make_accelerator(config), StopSignals())
    reordered = Training(replace(config, channels_last=True), training.accelerator, StopSignals())
    reordered.model.train()
    device = training.accelerator.device
    training.model.train()
    plain = copy.deepcopy(training.model)
    optimizer = torch.optim.AdamW(param_groups(plain, config.lr))

    def plain_step(images: torch.Tensor, targets: dict[str, torch.Tensor]) -> None:
        outputs = plain(images.to(device))
        losses = [F.cross_entropy(outputs[task], target.to(device)) for task, target in targets.items()]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()

    steps, ratios, channels_last = training.steps.of_epoch(1), [], []
    for _ in track(range(arguments.repeats), description="measuring"):
        (batch,) = batches = next(steps)
        ours = seconds_of(partial(training.take_step, batches), device)
        ratios.append(ours / seconds_of(partial(plain_step, batch["image"], batch["targets"]), device))
        channels_last.append(seconds_of(partial(reordered.take_step, batches), device) / ours)
    for name, values in {"over a plain loop": ratios, "channels_last": channels_last}.items():
        low, middle, high = statistics.quantiles(values[arguments.repeats // 5 :], n=4)
        Console().print(
            f"{arguments.model}, batch {arguments.batch}, {device.type}, {name}: {middle:.2f} ({low:.2f} to {high:.2f})"
        )


if __name__ == "__main__":
    main()
