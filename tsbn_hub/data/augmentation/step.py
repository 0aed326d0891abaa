"""What every step of an augmentation is; all of them by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, get_args

from torchvision.transforms import v2

from ...files.registry import Registry, check_keywords

Effect = Literal["places", "anything", "colours"]
"""What a step changes, in the order in which steps are taken.

"places": pixels move, and targets follow as their kinds say. "anything": places and colours, in ways that only targets
of whole images can follow. "colours": no target changes."""


class Step(v2.Transform):
    """One random change of a training sample: a transform of torchvision's v2.

    A new step is a subclass, perhaps of a transform of torchvision besides, with `@register_augmentation("its name")`.
    It is called with the image, a `tv_tensors.Image`, and the targets by task, of which v2 moves the pixels through the
    functions `horizontal_flip`, `pad` and `resized_crop` alone; any other function that would move them is refused. It
    draws from torch's global generator, which training seeds for each sample, and keeps size and dtype.

    Attributes:
        name: The name that it is registered under; the decorator sets it.
        changes: What it changes: see `Effect`.
    """

    name: ClassVar[str]
    changes: ClassVar[Effect]


S = TypeVar("S", bound=type[Step])

augmentations: Registry[type[Step]] = Registry("augmentation")


def register_augmentation(name: str) -> Callable[[S], S]:
    """A decorator of subclasses of `Step`: configs can name the step once the file is imported.

    Args:
        name: Not empty.

    Raises:
        ValueError: if another one has the name, or it does not say what it changes.
    """

    def register(step_class: S) -> S:
        changes = getattr(step_class, "changes", None)
        if changes not in get_args(Effect):
            raise ValueError(
                f"{step_class.__name__}.changes={changes!r} is unknown. Known: {', '.join(get_args(Effect))}."
            )
        augmentations.register(name)(step_class)
        step_class.name = name
        return step_class

    return register


def make_step(name: str, options: object) -> Step:
    """A step by its name.

    Args:
        name: Of a step that is registered.
        options: True: its defaults. A mapping: its keywords. Anything else: its first keyword.

    Raises:
        UnknownNameError: if there is no such step.
        ValueError: if it does not take the options.

    Example:
        >>> from tsbn_hub.data.augmentation.step import make_step
        >>> make_step("flip", True), make_step("flip", 0.25), make_step("crop", {"scale": [0.5, 1.0]})
        (Flip(p=0.5), Flip(p=0.25), Crop(scale=(0.5, 1.0)))
    """
    step_class = augmentations[name]
    try:
        keywords = _keywords(step_class, options)
        check_keywords(step_class, keywords)
        return step_class(**keywords)
    except (TypeError, ValueError) as error:
        raise ValueError(f"augmentation.{name}={options!r}: {error}") from error


def _keywords(step_class: type[Step], options: object) -> dict[str, Any]:
    if options is True:
        return {}
    if isinstance(options, Mapping):
        return dict(options)
    first = next(iter(inspect.signature(step_class).parameters), None)
    if first is None:
        raise ValueError("it has no options: true takes it, false leaves it out.")
    return {first: options}
