"""The networks that are exported: from images as a server has them to what the user asked for."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from PIL import Image
from torch import Tensor, nn

from ...models.outputs import outputs_by_task
from ...models.preprocessing import Preprocessing
from ...models.surface import Surface
from ...models.usage import IMAGE_MODES
from ...tasks import Kind

Values = Literal["uint8", "float"]
"""What the values of images are: whole numbers from 0 to 255, or numbers from 0 to 1."""

# What of a kind has no part in what it predicts, beside the keywords of its training.
_NO_PART = ("labels", "criterion", "_named", "taken_from_targets", "taken_from_validation")

OUTPUT = "output"
"""The name of the output of a network that takes the task as an input."""


class ImageInput(nn.Module):
    """Images as a server has them, to what a model takes: the normalisation of its preprocessing.

    That is read off what the preprocessing makes of a black and of a white image, so that nothing need be known of it.

    Args:
        preprocessing: Of the checkpoint.
        size: Height and width of the images that the model is for.
        values: What the values of images are.

    Raises:
        ValueError: if the preprocessing does more with values than to shift and scale them.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, preprocessing: Preprocessing, size: tuple[int, int], values: Values) -> None:
        super().__init__()
        height, width = size

        def prepared(value: int) -> Tensor:
            image = Image.new("L", (width, height), value).convert(IMAGE_MODES[preprocessing.channels])
            channels = preprocessing.prepare(image).double()
            return channels[:, channels.shape[1] // 2, channels.shape[2] // 2, None, None]  # edges may be padded

        black, grey, white = (prepared(value) for value in (0, 51, 255))
        if not torch.allclose(grey, black + (white - black) / 5, rtol=1e-4, atol=1e-4):
            raise ValueError("The preprocessing of this checkpoint does more than to shift and scale the values.")
        self.register_buffer("offset", black.float())
        self.register_buffer("scale", ((white - black) / (255 if values == "uint8" else 1)).float())

    def forward(self, images: Tensor) -> Tensor:
        return images.float() * self.scale + self.offset


class AllTasks(nn.Module):
    """A model's predictions for several tasks.

    Args:
        surface: Of the model, in evaluation mode.
        kinds: Of the tasks, in the order of the outputs.
        prepare: From images as they are given to what the model takes.
    """

    def __init__(self, surface: Surface, kinds: Mapping[str, Kind], prepare: ImageInput) -> None:
        super().__init__()
        self.model, self.kinds, self.prepare = surface.model, dict(kinds), prepare

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Predictions by task, each as its kind says.

        Args:
            images: (B, C, H, W).
        """
        outputs = outputs_by_task(self.model, self.prepare(images), list(self.kinds))
        return {task: kind.predict(outputs[task]) for task, kind in self.kinds.items()}


class TaskAsInput(nn.Module):
    """A model's prediction for the task of a number.

    Args:
        surface: Of the model, in evaluation mode. It has these tasks and no others.
        kinds: Of the tasks.
        prepare: From images as they are given to what the model takes.

    Raises:
        ValueError: if what the tasks ask for differs in kind or shape.
    """

    def __init__(self, surface: Surface, kinds: Mapping[str, Kind], prepare: ImageInput) -> None:
        super().__init__()
        names = {task: kind.name for task, kind in kinds.items()}
        if len(set(names.values())) > 1:
            raise ValueError(f"The tasks are of different kinds, {names}.")
        self.row_output, self.kinds, self.prepare = surface.output_of_row(), dict(kinds), prepare
        self.register_buffer("rows", torch.tensor([surface.tasks.index(task) for task in kinds]))

    rows: Tensor

    def forward(self, images: Tensor, task: Tensor) -> dict[str, Tensor]:
        """The prediction, by the name "output".

        Args:
            images: (B, C, H, W).
            task: The number of the task among those that were asked for, int64, without dimensions.
        """
        output = self.row_output(self.prepare(images), self.rows[task])
        predictions = [kind.predict(output) for kind in _unlike(self.kinds.values())]
        return {OUTPUT: predictions[0] if len(predictions) == 1 else torch.stack(predictions)[task]}


def _unlike(kinds: Iterable[Kind]) -> list[Kind]:
    """One kind, where all predict alike; else each, as of regressions in different units."""
    every = list(kinds)
    settings = [
        {name: value for name, value in vars(kind).items() if name not in (*_NO_PART, *kind.only_for_training)}
        for kind in every
    ]
    return every[:1] if all(each == settings[0] for each in settings) else every
