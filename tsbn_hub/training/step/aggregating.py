"""Aggregators of gradients in a run: which can be part of one, and what they draw at random."""

import hashlib
import sys
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ..balancing import Balancing, LossWeighting
from ..recipe.config import TrainingConfig
from .gradients import Aggregator


def check_aggregator(aggregator: Aggregator, config: TrainingConfig, balancing: Balancing) -> None:
    """Refuse an aggregator of the user's own that cannot be part of a run.

    Raises:
        ValueError: if the tasks share nothing that learns, the config has a balancing that takes its place, or it is
            one of TorchJD's that learns from step to step.
    """
    name = type(aggregator).__name__
    if config.freeze_trunk:
        raise ValueError("freeze_trunk leaves no gradient that tasks share: train without an aggregator.")
    if not isinstance(balancing, LossWeighting):
        raise ValueError(f"balancing={config.balancing!r} leaves no place for an aggregator: leave one of them out.")
    torchjd = sys.modules.get("torchjd")
    if torchjd is not None and isinstance(aggregator, torchjd.Stateful):
        raise ValueError(
            f"{name} of TorchJD learns from step to step, and its state cannot be saved: a run could not go on from "
            "where it was. Register a balancing of your own that keeps it in buffers: docs/extending.md."
        )


def drawing_alike(aggregator: Aggregator, seed: int, number: int, device: torch.device) -> Aggregator:
    """An aggregator whose draws from torch's generators depend on the seed and the step alone.

    So a resumed run draws what it would have drawn, and all processes draw the same. Their generators stay as they are.

    Args:
        aggregator: It may draw from the generators of the CPU and the device.
        seed: Of the run.
        number: Which step of the run it is.
        device: That of the gradients.
    """
    # Hashed: seed + step would repeat the draws of another seed.
    draw = int.from_bytes(hashlib.sha256(f"aggregator {seed} {number}".encode()).digest()[:4], "big")

    def aggregate(gradients: Tensor) -> Tensor:
        with _generators_kept(device):
            torch.default_generator.manual_seed(draw)  # torch.manual_seed would seed all accelerators, too
            if device.type != "cpu":
                torch.get_device_module(device).manual_seed(draw)
            return aggregator(gradients)

    return aggregate


def _generators_kept(device: torch.device) -> AbstractContextManager[None]:
    if device.type == "cpu":
        return torch.random.fork_rng([])
    index = torch.get_device_module(device).current_device() if device.index is None else device.index
    return torch.random.fork_rng([index], device_type=device.type)
