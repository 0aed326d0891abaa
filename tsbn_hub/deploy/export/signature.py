"""What an exported file takes and gives, in words for its metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ...models.preprocessing import Preprocessing
from ...models.surface import ImageShape
from ...models.usage import IMAGE_MODES
from ...tasks import Attributes, Kind
from ...version import __version__
from .network import OUTPUT, Values

METADATA = "tsbn_hub"
"""The name of the metadata in a file: an entry of ONNX's metadata_props, or of torch.export's extra_files."""

Open = Mapping[int, str]
"""The names of those dimensions of the images that may have any length."""

TASK = "task"
"""The name of the input that is the number of the task."""


Shape = list[int | str]
"""A length for each dimension; of one that may have any length its name: "batch", "height", "width"."""


@dataclass(frozen=True)
class ImagesInput:
    """What images an exported file takes.

    Args:
        name: Of the input.
        dtype: "uint8" or "float32".
        shape: Images, channels, height, width.
        values: The lowest and the highest.
        channels: "RGB", or "L" for grey.
        size: Height and width that the model was trained for: resize photos to it.
        resizing: How the checkpoint's own preprocessing resizes and crops, in its library's words.
    """

    name: str
    dtype: str
    shape: Shape
    values: list[int]
    channels: str
    size: list[int]
    resizing: str


@dataclass(frozen=True)
class TaskOutput:
    """What an exported file gives for a task.

    Args:
        name: Of the task.
        output: The name of the output.
        dtype: As numpy calls it.
        shape: Of the output.
        kind: Of the task.
        gives: What the values are.
        unit: Of the values; None: they have none.
        labels: The names of classes or attributes; None: there are none.
        thresholds: Of attributes: above which probability each counts as present; None: of other kinds.
    """

    name: str
    output: str
    dtype: str
    shape: Shape
    kind: str
    gives: str
    unit: str | None
    labels: list[str] | None
    thresholds: list[float] | None


@dataclass(frozen=True)
class Description:
    """What an exported file takes and gives; its metadata are this as JSON.

    Args:
        version: Of the package that has written it.
        images: The input.
        task_input: The name of the second input, the number of a task among `tasks`; None: there is none.
        tasks: What there is for each task.
    """

    version: str
    images: ImagesInput
    task_input: str | None
    tasks: list[TaskOutput]

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Signature:
    """What an exported file takes and gives.

    Args:
        kinds: Of the tasks, in order.
        image_shape: Of the images that the model is for.
        preprocessing: Of the checkpoint.
        values: What the values of images are.
        task_input: Whether the number of the task is an input.
    """

    kinds: Mapping[str, Kind]
    image_shape: ImageShape
    preprocessing: Preprocessing
    values: Values
    task_input: bool

    @property
    def images(self) -> str:
        """The name of the input that is the images: "images", if no output is called so."""
        return "images" if "images" not in self.outputs else "images_input"

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [self.images, TASK] if self.task_input else [self.images]

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return [OUTPUT] if self.task_input else list(self.kinds)

    def example(self, batch: int, size: tuple[int, int], seed: int) -> dict[str, Tensor]:
        """Inputs of random values, by name.

        Args:
            batch: How many images.
            size: Their height and width.
            seed: Of the values; it is the number of the task, too.
        """
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (batch, self.image_shape[0], *size), dtype=torch.uint8, generator=generator)
        inputs = {self.images: images if self.values == "uint8" else images / 255}
        return inputs | ({TASK: torch.tensor(seed % len(self.kinds))} if self.task_input else {})

    def described(self, outputs: Mapping[str, Tensor], dynamic: Open) -> Description:
        """What a file says of itself.

        Args:
            outputs: Of an example of one image, by name.
            dynamic: Which dimensions of the images are open.
        """
        channels, height, width = self.image_shape
        images = ImagesInput(
            name=self.images,
            dtype="uint8" if self.values == "uint8" else "float32",
            shape=[dynamic.get(place, length) for place, length in enumerate((1, channels, height, width))],
            values=[0, 255 if self.values == "uint8" else 1],
            channels=IMAGE_MODES[channels],
            size=[height, width],
            resizing=self.preprocessing.resizing,
        )
        tasks = []
        for task, kind in self.kinds.items():
            name = OUTPUT if self.task_input else task
            dtype = str(outputs[name].dtype).removeprefix("torch.")
            shape = self._shape(kind, outputs[name], dynamic)
            thresholds = kind.thresholds if isinstance(kind, Attributes) else None
            about = (kind.name, kind.gives, kind.unit, kind.labels, thresholds)
            tasks.append(TaskOutput(task, name, dtype, shape, *about))
        return Description(__version__, images, TASK if self.task_input else None, tasks)

    def _shape(self, kind: Kind, output: Tensor, dynamic: Open) -> Shape:
        names: dict[int, str] = {0: dynamic[0]} if 0 in dynamic else {}
        if kind.dense:
            names |= {output.ndim - 4 + place: name for place, name in dynamic.items() if place > 1}
        return [names.get(place, length) for place, length in enumerate(output.shape)]
