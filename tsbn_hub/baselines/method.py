"""The methods by which tasks can share a network, by their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..norms.task_norm import Style

PAPER = "2512.20420"
"""The paper of this package, on arXiv."""

SINGLE_TASK, HARD_SHARING = "stl", "hps"
"""The methods that others are compared with."""


@dataclass(frozen=True)
class Method:
    """A method by which tasks share a network.

    Args:
        name: As `method` of a run's config has it.
        summary: What it is, in one line, without a full stop.
        source: Its paper: authors and year.
        arxiv: The paper's number on arXiv; None: it is not there.
        norm: The style of the norms that makes it; None: it is another trunk, which has its name.
    """

    name: str
    summary: str
    source: str
    arxiv: str | None = None
    norm: Style | None = None

    @property
    def url(self) -> str | None:
        """Where its paper is."""
        return None if self.arxiv is None else f"https://arxiv.org/abs/{self.arxiv}"


_OURS = "Suteu and Serban 2025"

methods: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(SINGLE_TASK, "single-task learning: a plain network for one task", "", norm="shared"),
            Method(
                HARD_SHARING, "hard sharing: one network, each task has its head alone", "Caruana 1997", norm="shared"
            ),
            Method(
                "stats",
                "one network, each task has running statistics in the BatchNorms",
                "Li et al. 2016 (for domains)",
                "1603.04779",
                norm="statistics",
            ),
            Method("tsbn", "TSBN: one network, each task has its own norm layers", _OURS, PAPER, norm="affine"),
            Method("tssigma", "TSσBN: one network, each task has gates in the norm layers", _OURS, PAPER, "sigmoid"),
            Method(
                "cross-stitch",
                "cross-stitch networks: a network for each task, whose features are mixed after each stage",
                "Misra et al. 2016",
                "1604.03539",
            ),
            Method(
                "mtan",
                "MTAN: one network, each task attends to its features in each stage",
                "Liu et al. 2019",
                "1803.10704",
            ),
        )
    }
)
"""All methods that come with the package, by their names, in the order in which tables show them.

Example:
    >>> from tsbn_hub.baselines import methods
    >>> list(methods)
    ['stl', 'hps', 'stats', 'tsbn', 'tssigma', 'cross-stitch', 'mtan']
    >>> methods["mtan"].url
    'https://arxiv.org/abs/1803.10704'
"""


def method_of(norm: str | None, trunk: str | None = None, tasks: int | None = None) -> Method | None:
    """The method of a network.

    Args:
        norm: The style of its norms; None: it is not known.
        trunk: The name of its trunk; None: one of task norms.
        tasks: How many tasks it has: with one, hard sharing is single-task learning. None: several.

    Returns:
        A trunk that is registered elsewhere is a method of its own. None where nothing is known.

    Example:
        >>> from tsbn_hub.baselines import method_of
        >>> method_of("affine").name, method_of("shared").name, method_of("shared", tasks=1).name
        ('tsbn', 'hps', 'stl')
    """
    if trunk is not None:
        known = methods.get(trunk)
        return known if known is not None and known.norm is None else Method(trunk, "a trunk of one's own", "")
    if norm == "shared":
        return methods[SINGLE_TASK if tasks == 1 else HARD_SHARING]
    return next((method for method in methods.values() if method.norm == norm), None) if norm else None
