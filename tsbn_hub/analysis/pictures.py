"""Pictures of what the gates say."""

from pathlib import Path

from .importance import Importance


def draw_importance(importance: Importance, path: str | Path) -> None:
    """Draw the gates of every layer: each task's, sorted, and how far apart two tasks are.

    Args:
        importance: What `importance_matrix` returns.
        path: The picture to write (.png, .pdf, .svg).

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install 'tsbn_hub[pictures]'.") from error
    names = list(importance.layers)
    labels = _short(names)
    height = 5.0 + 0.06 * max(map(len, labels))  # inches: the labels lean, and the plots keep their height
    figure = Figure(figsize=(max(6.0, 1.0 + 0.45 * len(names)), height), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    offsets = [(row + 0.5) / len(importance.tasks) - 0.5 for row in range(len(importance.tasks))]
    for row, task in enumerate(importance.tasks):
        boxes = above.boxplot(
            [importance.matrix[row, columns].numpy() for columns in importance.layers.values()],
            positions=[at + 0.8 * offsets[row] for at in range(len(names))],
            widths=0.7 / len(importance.tasks),
            patch_artist=True,
            flierprops={"markersize": 2},
            medianprops={"color": "black"},
        )
        for box in boxes["boxes"]:
            box.set_facecolor(f"C{row}")
        above.plot([], [], "s", color=f"C{row}", label=task)
    above.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    above.set_ylabel("gate σ(a)")
    above.set_ylim(0, 1)
    above.legend(loc="lower left", ncols=len(importance.tasks), fontsize="small")
    above.set_title("What each task lets through")
    spread = importance.matrix.amax(0) - importance.matrix.amin(0)
    below.bar(
        range(len(names)), [spread[columns].mean().item() for columns in importance.layers.values()], color="grey"
    )
    below.set_ylabel("largest − smallest gate,\nmean over filters")
    below.set_xticks(range(len(names)), labels, rotation=60, ha="right", fontsize="small")
    below.set_title("How differently the tasks use a layer's filters", fontsize="medium")
    figure.savefig(str(path), dpi=120)


def _short(names: list[str]) -> list[str]:
    """The names of layers without the modules, before and after, that all are in."""
    parts = [name.split(".") for name in names]
    while all(len(each) > 1 and each[0] == parts[0][0] for each in parts):
        parts = [each[1:] for each in parts]
    while all(len(each) > 1 and each[-1] == parts[0][-1] for each in parts):
        parts = [each[:-1] for each in parts]
    return [".".join(each) for each in parts]
