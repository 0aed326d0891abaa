"""The picture of a comparison."""

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from tsbn_hub.compare import draw_comparison
from tsbn_hub.compare import picture as module
from tsbn_hub.compare.table import comparison_of

from .comparisons import row_of


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw rows; the figure that was made, and the file."""

    def draw(rows, name="comparison.png"):
        saved = []
        figure_of = module._figure
        monkeypatch.setattr(module, "_figure", lambda *args: (saved.append(figure_of(*args)), saved[-1])[1])
        assert draw_comparison(comparison_of(rows, "stl"), tmp_path / name)
        return saved[-1], tmp_path / name

    return draw


def test_the_legend_is_beside_the_axes_and_labels_are_whole(drawn):
    seeds = [{"a": 0.5}, {"a": 0.6}]
    rows = [row_of("stl", *seeds, passes=2.0)]
    rows += [
        row_of(f"a method of a long name + uncertainty, $x_{number}$=100", *seeds, passes=1.0) for number in range(30)
    ]
    figure, path = drawn(rows)
    assert isinstance(figure, Figure)
    (axes,), (legend,) = figure.axes, figure.legends
    beside, whole = legend.get_window_extent(), figure.bbox
    for part in (axes.bbox, axes.title.get_window_extent()):
        assert not part.overlaps(beside)
    assert whole.x0 <= beside.x0 and beside.x1 <= whole.x1 and whole.y0 <= beside.y0 and beside.y1 <= whole.y1
    assert axes.bbox.width > 300 and [text.get_text() for text in legend.texts] == [row.label for row in rows]
    height, width, _ = image.imread(path).shape
    assert height > 400 and width > 700


def test_bars_where_there_are_several_seeds(drawn):
    one, _ = drawn([row_of("stl", {"a": 0.5}, passes=2.0), row_of("hps", {"a": 0.6}, passes=1.0)])
    two, _ = drawn(
        [row_of("stl", {"a": 0.5}, {"a": 0.5}, passes=2.0), row_of("hps", {"a": 0.6}, {"a": 0.7}, passes=1.0)]
    )
    assert "bars" not in one.axes[0].get_title() and "bars: 95% interval" in two.axes[0].get_title()
    assert not any(container.has_yerr for container in one.axes[0].containers)
    assert all(container.has_yerr for container in two.axes[0].containers)


def test_methods_of_one_cost_lie_side_by_side():
    apart = module._apart([1.0, 5.0, 1.0, 6.0, 1.0])
    assert apart[0] < apart[2] == 1.0 < apart[4] and apart[1] == 5.0 and apart[3] == 6.0
    assert module._apart([1.0]) == [1.0]


def test_nothing_to_draw(tmp_path):
    assert not draw_comparison(comparison_of([row_of("stl", {"a": 0.5})], "stl"), tmp_path / "comparison.png")
    assert not list(tmp_path.iterdir())
