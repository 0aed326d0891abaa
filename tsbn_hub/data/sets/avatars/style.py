"""What a style of avatars can draw, and what its attributes mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

ATTRIBUTES = (
    # The first ten are those that most styles show.
    "glasses", "facial_hair", "beard", "moustache", "hat", "long_hair", "smiling", "mouth_open", "dark_skin",
    "dark_hair",
    "sunglasses", "eyepatch", "headscarf", "bald", "curly_hair", "bun", "fringe", "blond_hair", "red_hair", "grey_hair",
    "light_skin", "frowning", "grimacing", "tongue_out", "eating", "screaming", "eyes_closed", "winking", "crying",
    "wide_eyes", "heart_eyes", "dizzy", "angry_brows", "raised_brows", "worried_brows", "hoodie", "blazer",
    "graphic_shirt", "blue_clothes", "dark_clothes",
)  # fmt: skip
"""The names of the 40 binary attributes, in order."""


UNSEEN = -100
Choices: TypeAlias = Mapping[str, str | None]
"""What an avatar shows: for each part, the value or the name of the colour that it has; None: it lacks the part."""


@dataclass(frozen=True)
class Palette:
    """Named colours of a part.

    Attributes:
        colours: By name, each as "#rrggbb".
        unlike: Parts that the colour must differ from to be seen: those that are drawn beneath it.
    """

    colours: Mapping[str, str]
    unlike: Sequence[str] = ()


@dataclass(frozen=True)
class Style:
    """A style of DiceBear: its options, and what an avatar of them shows.

    Attributes:
        name: Of its definition.
        title: What its creator calls it.
        creator: Who drew it.
        license: By the Hub's name, or in words where the Hub has none.
        url: Where it is from.
        options: For each part, the values that it is drawn with, all as likely. Parts and values are called as in the
            definition; of parts that are not named here the definition has one.
        palettes: The colours of parts, which are called as the definition's, with `Color` at the end.
        optional: Parts that every other avatar lacks.
        hidden: For a part, what hides it or makes it hard to tell: values of other parts.
        attributes: For each binary attribute that the style can show, the part that decides, and its values (names of
            its colours) that make it present.
        classes: For tasks of many classes, by their names, the part whose value is the class.
    """

    name: str
    title: str
    creator: str
    license: str
    url: str
    options: Mapping[str, Sequence[str]]
    palettes: Mapping[str, Palette]
    attributes: Mapping[str, tuple[str, Sequence[str]]]
    optional: Sequence[str] = ()
    hidden: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The names of all tasks: those of many classes, and the attributes."""
        return [*self.classes, *(name for name in ATTRIBUTES if name in self.attributes)]

    def labels(self, part: str) -> list[str]:
        """The values of a part, in order."""
        return list(self.palettes[part].colours if part in self.palettes else self.options[part])

    def target(self, task: str, choices: Choices) -> int:
        """The target of a task for an avatar: a class, or 0 or 1; UNSEEN, if it cannot be seen."""
        part = self.attributes[task][0] if task in self.attributes else self.classes[task]
        if any(choices[other] in values for other, values in self.hidden.get(part, {}).items()):
            return UNSEEN
        if task in self.attributes:
            return int(choices[part] in self.attributes[task][1])
        return self.labels(part).index(str(choices[part]))


def words(text: str) -> list[str]:
    """The words of a text: lists of names read more easily without quotes."""
    return text.split()
