"""What the pictures of an analysis share: how they are written, their colours, and the names along their axes."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_AN_INCH = 120
WIDEST = 16.0
"""Of a picture, in inches."""
MOST_NAMES = 60
"""Along an axis."""
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
"""Which people with any colour vision tell apart (Okabe and Ito)."""
MARKERS = "os^Dv*"
LONGEST_NAME = 44
"""Beside an axis, in characters."""


def write_figure(make: Callable[[], "Figure"], path: str | Path, extra: str = "pictures") -> None:
    """Write a picture, whole or not at all.

    Args:
        make: Gives the figure.
        path: The picture to write (.png, .pdf, .svg). A link there is replaced, not followed.
        extra: The extra of this package that has matplotlib, for the error.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    check_matplotlib(extra)
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False}):  # a task may be named "$5 or $10"
        figure = make()
        path, drawn_as = Path(path), Path(path).suffix.removeprefix(".") or "png"
        write_atomically({path: lambda file: figure.savefig(file, format=drawn_as, dpi=DOTS_AN_INCH)})


def check_matplotlib(extra: str = "pictures") -> None:
    """Raise ImportError, with the way out, if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f"Pictures need matplotlib: pip install 'tsbn_hub[{extra}]'.") from error


def label_layers(axes: Any, layers: Sequence[str], most: int = MOST_NAMES) -> None:
    """Name the layers along the horizontal axis, from 0: at most so many of them."""
    names = [cut(name) for name in short(layers)]
    axes.set_xlim(-0.5, len(names) - 0.5)
    shown = thinned(len(names), most)
    axes.set_xticks(
        shown, [names[at] for at in shown], rotation=60, ha="right", rotation_mode="anchor", fontsize="small"
    )


def height_of_layers(layers: Sequence[str]) -> float:
    """The height of the names of layers, which lean, in inches."""
    return 0.06 * max(len(cut(name)) for name in short(layers))


def thinned(names: int, most: int = MOST_NAMES) -> range:
    """Which of the names along an axis are shown: all, or each n-th where they would overlap."""
    return range(0, names, -(-names // most))


def cut(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that fits beside an axis, in one line."""
    name, half = " ".join(name.split()), longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def plain_numbers(axis: Any) -> None:
    """Write the numbers along a logarithmic axis as they are, rather than as powers of ten.

    Args:
        axis: Of matplotlib: an axes' `xaxis` or `yaxis`, or the long axis of a colour bar.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def short(names: Sequence[str]) -> list[str]:
    """The names of layers without the modules, before and after, that all are in, or all but those of a stem."""
    parts = [name.split(".") for name in names]
    while all(len(each) > 1 and each[0] == parts[0][0] for each in parts):
        parts = [each[1:] for each in parts]
    while all(len(each) > 1 and each[-1] == parts[0][-1] for each in parts):
        parts = [each[:-1] for each in parts]
    module, layers = Counter(each[0] for each in parts).most_common(1)[0]
    inner = [each[1:] if each[0] == module else each for each in parts]
    if layers > 0.8 * len(parts) and all(inner) and len(set(map(tuple, inner))) == len(parts):
        parts = inner
    return [".".join(each) for each in parts]
