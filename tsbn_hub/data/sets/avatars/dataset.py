"""Faces drawn from seeds, with tasks of many classes and up to 40 binary attributes."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ....files.disk_cache import DiskCache
from ....tasks import Task
from ...progress import with_progress
from ...sample import Sample
from ..registry import register_data_set
from .avataaars import AVATAAARS
from .drawing import LIBRARIES, check_installed, draw_choices, photograph
from .further_styles import MICAH, OPEN_PEEPS, PERSONAS
from .style import ATTRIBUTES, UNSEEN, Style

_SIX = ["top", "clothes_colour", "eyes", "mouth", "clothes", "skin"]
_SMALLEST = 16  # pixels


@register_data_set("Avatars")
class Avatars(Dataset[Sample]):
    """Drawn faces with a wealth of labels, as CelebA has of photos. Nothing is downloaded.

    DiceBear draws them with options chosen at random, before backgrounds of random colours, shifted, mirrored and
    noisy. Optional parts (glasses, beards) are there in every other image. All images are drawn when the data set is
    made, some 200 a second, and kept in the user's cache (see `tsbn_hub.files.disk_cache`): a second run draws
    nothing.

    Tasks of many classes, of the style avataaars alone: `top` (34 hair styles and hats), `clothes_colour` (15), `eyes`
    (12), `mouth` (12), `clothes` (9), `skin` (7), `brows` (13), `hair_colour` (10). The binary attributes are tasks of
    the kind attributes with one attribute each, and the same in all styles that can show them: a mixture of styles has
    each once. What cannot be seen is missing in a sample's targets: the hair's colour under a hat, the eyes behind dark
    glasses.

    Image i is a function of the style, the size, the seed, the split and i alone.

    Args:
        split: "train" or "test".
        style: "avataaars", "micah", "open-peeps" or "personas".
        tasks: Names of tasks; or 10 or 40: the first 10 or all 40 binary attributes, without those that the style
            cannot show. None: the first six tasks of many classes; of other styles than avataaars, all attributes.
        size: Height and width in pixels, at least 16.
        images: How many; None: 5,000 to train, 2,000 to test.
        seed: Another one gives other images.

    Attributes:
        tasks: The tasks, in the order of `tasks`.
        styles: By name, the styles, with creator and licence.
        title: "Avatars", and the style: what a card calls it.
        license, creator, url: Of the style.

    Raises:
        ValueError: if there is no such split, style or task, or a number is out of range.
        ImportError: if DiceBear or resvg is not installed.

    Example:
        >>> from tsbn_hub.data import Avatars
        >>> data = Avatars("train", images=4)
        >>> sample = data[0]
        >>> sample["image"].shape, list(sample["targets"])
        (torch.Size([3, 64, 64]), ['top', 'clothes_colour', 'eyes', 'mouth', 'clothes', 'skin'])
        >>> data.tasks[-1].labels
        ['tanned', 'yellow', 'pale', 'light', 'brown', 'darkBrown', 'black']
        >>> [task.name for task in Avatars("test", "micah", tasks=10, images=1).tasks]
        ['glasses', 'facial_hair', 'beard', 'long_hair', 'smiling', 'mouth_open', 'dark_skin', 'dark_hair']

    Source: DiceBear, https://www.dicebear.com. The styles are remixes of their creators' works, each under the licence
    that `styles` names; a card of a model names those it was measured on.
    """

    styles: ClassVar[Mapping[str, Style]] = {style.name: style for style in (AVATAAARS, MICAH, OPEN_PEEPS, PERSONAS)}

    def __init__(
        self,
        split: Literal["train", "test"] = "train",
        style: str = "avataaars",
        tasks: Sequence[str] | int | None = None,
        size: int = 64,
        images: int | None = None,
        seed: int = 0,
    ) -> None:
        numbers = {"train": 5000, "test": 2000}
        if split not in numbers:
            raise ValueError(f'split={split!r} is unknown. Known: "train", "test".')
        if style not in self.styles:
            raise ValueError(f"style={style!r} is unknown. Known: {', '.join(self.styles)}.")
        if size < _SMALLEST:
            raise ValueError(f"size={size} must be at least {_SMALLEST} pixels.")
        if images is not None and images < 1:
            raise ValueError(f"images={images} must be positive.")
        self._style, self._split, self._seed, self._size = self.styles[style], split, seed, size
        self._number = numbers[split] if images is None else images
        self.tasks = [_task(self._style, name) for name in _names(self._style, tasks)]
        self.title = f"Avatars ({style})"
        self.license, self.creator, self.url = self._style.license, self._style.creator, self._style.url
        check_installed(self._style)
        key = {"style": style, "split": split, "size": size, "images": self._number, "seed": seed}
        versions = {library: version(library) for library in (*LIBRARIES, "numpy", "pillow")}
        drawn = DiskCache("Avatars", key | versions, Path(__file__).parent).get("all", self._draw)
        self._images = drawn["images"]
        self._targets = drawn["targets"][:, [self._style.tasks.index(task.name) for task in self.tasks]]

    def _draw(self) -> dict[str, Tensor]:
        """The images, (N, 3, size, size), uint8, and the targets of all tasks that the style has, (N, tasks), int64."""
        images = torch.empty(self._number, 3, self._size, self._size, dtype=torch.uint8)
        targets = torch.empty(self._number, len(self._style.tasks), dtype=torch.int64)
        for index in with_progress(range(self._number), f"Drawing Avatars ({self._style.name})"):
            random = Random(f"{self._seed} {self._split} {index}")
            choices = draw_choices(self._style, random)
            images[index] = torch.from_numpy(photograph(self._style, choices, self._size, random))
            targets[index] = torch.tensor([self._style.target(task, choices) for task in self._style.tasks])
        return {"images": images, "targets": targets}

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: int) -> Sample:
        """The sample: image (3, size, size), float32 in [0, 1].

        Its targets are int64: scalars for tasks of many classes, (1,) for attributes. What cannot be seen is missing.
        """
        if not 0 <= index < self._number:
            raise IndexError(f"There is no sample {index}: the data set has {self._number}.")
        targets = zip(self.tasks, self._targets[index].tolist(), strict=True)
        return {
            "image": self._images[index].float() / 255,
            "targets": {
                task.name: torch.tensor([target] if task.kind == "attributes" else target)
                for task, target in targets
                if target != UNSEEN
            },
        }


def _names(style: Style, tasks: Sequence[str] | int | None) -> list[str]:
    if tasks is None:
        tasks = _SIX if style.classes else len(ATTRIBUTES)
    if isinstance(tasks, int):
        if tasks not in (10, len(ATTRIBUTES)):
            raise ValueError(f"tasks={tasks}: give names, or 10 or 40 for as many binary attributes.")
        return [name for name in ATTRIBUTES[:tasks] if name in style.attributes]
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    unknown = [name for name in names if name not in style.tasks]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(f"tasks={names}: one or more of what {style.name} has, each once: {', '.join(style.tasks)}.")
    return names


def _task(style: Style, name: str) -> Task:
    if name in style.attributes:
        return Task(name, kind="attributes", labels=[name])
    return Task(name, labels=style.labels(style.classes[name]))
