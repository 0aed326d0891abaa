"""Accelerate, as a run needs it."""

import os

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType

from .recipe.config import TrainingConfig

_UNSUPPORTED = (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM, DistributedType.XLA)


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """The accelerator of this process.

    Raises:
        ValueError: if a tracker is not installed, or `accelerate launch` asks for what a run cannot be split by.
    """
    _check_trackers(config)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS is not
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        log_with=[*config.trackers] or None,
        project_dir=config.output,
    )
    if accelerator.distributed_type in _UNSUPPORTED:
        raise ValueError(
            f"accelerate launch asks for {accelerator.distributed_type.value}: every process of a run holds the whole "
            "model. Choose multi-GPU or multi-CPU in `accelerate config`."
        )
    return accelerator


def _check_trackers(config: TrainingConfig) -> None:
    installed = [str(tracker.value) for tracker in get_available_trackers()]
    for name in config.trackers:
        if name not in installed:
            raise ValueError(f"trackers={config.trackers}: {name} is not installed. Installed: {installed}.")
