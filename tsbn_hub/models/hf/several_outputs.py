"""Models of transformers with an output for each task, and what of transformers takes a model for one of one output.

Neither a pipeline nor a Trainer asks a model whether it is one that it can run. Each reads a property of it first, and
is refused there. They are known by their modules, which are slow to import.
"""

import sys
from types import FrameType
from typing import Any

import torch
from transformers import PreTrainedModel

from ...norms import TaskModule

_PIPELINE, _TRAINER = "transformers.pipelines.base", "transformers.trainer"


class ModelOfSeveralOutputs(TaskModule, PreTrainedModel):
    """A model that says at once where transformers would end in an error of its own, or in another loss."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are.

        Raises:
            ValueError: if a pipeline of transformers asks, and the forward gives outputs by task. A pipeline of
                somebody else may know of tasks.
        """
        if not torch.compiler.is_compiling() and (self.task is None or self.base_model is not self):
            pipeline = _caller_of(_PIPELINE, sys._getframe(1))
            if pipeline is not None and type(pipeline).__module__.startswith("transformers."):
                raise ValueError(
                    f"A pipeline ({pipeline.task}) takes a model of one output, and this one has the tasks "
                    f"{self.tasks}: give it the plain model of a task, pipeline({pipeline.task!r}, "
                    f"model=model.fold({self.tasks[0]!r}), …)."
                )
        return super().device

    @property
    def accepts_loss_kwargs(self) -> bool:
        """False: transformers' Trainer would hand its own keywords through to the backbone.

        Raises:
            ValueError: if a Trainer with label smoothing asks, unless it has a loss of its own.
        """
        frame = sys._getframe(1)
        trainer = _caller_of(_TRAINER, frame)
        if trainer is not None and frame.f_locals.get("compute_loss_func") is None:
            factor = trainer.args.label_smoothing_factor
            if factor and type(trainer).compute_loss.__module__ == _TRAINER:
                raise ValueError(no_label_smoothing(factor))
        return False


def no_label_smoothing(factor: float) -> str:
    """What to say of label smoothing."""
    return (
        f"label_smoothing_factor={factor}: the losses are those of the tasks' kinds, which smooth no labels. Leave it "
        "out, or register a kind of your own."
    )


def _caller_of(module: str, frame: FrameType) -> Any:
    """The object whose method, of a class of this module, the frame is; else None."""
    return frame.f_locals.get("self") if frame.f_globals.get("__name__") == module else None
