"""Pictures of the gates."""

import warnings
from itertools import pairwise, product

import pytest
import timm
import torch
from PIL import Image

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.analysis import Importance, draw_importance
from tsbn_hub.analysis.figures import short
from tsbn_hub.analysis.gates.importance_picture import _figure, has_boxes

LONG = 3 * "a name that is too long for a legend of one row, and for the names beside a heat map, "


def importance_of(tasks, layers, filters=8, name="layer"):
    gates = torch.rand(len(tasks), layers * filters, generator=torch.Generator().manual_seed(0))
    names = {f"{name}{at // 6}.{at % 6}.bn1": slice(filters * at, filters * (at + 1)) for at in range(layers)}
    return Importance(gates, tasks, names)


def drawn(importance):
    """The figure as it is drawn; a warning of matplotlib is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = _figure(importance)
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize(
    ("names", "shortened"),
    [
        (["tsbn.backbone.stem.norm", "tsbn.backbone.stages.0.norm"], ["stem", "stages.0"]),
        (["bn1", "layer1.0.bn1"], ["bn1", "layer1.0.bn1"]),
        (["a.norm", "a.b.norm"], ["norm", "b.norm"]),
        (["a.norm"], ["norm"]),
        (["stem.norm", *(f"net.stages.{at}.norm" for at in range(6))], ["stem", *(f"stages.{at}" for at in range(6))]),
        (["norm", *(f"net.{at}.norm" for at in range(6))], ["norm", *(f"{at}.norm" for at in range(6))]),
    ],
)
def test_names_of_layers(names, shortened):
    assert short(names) == shortened


def test_long_names_leave_the_plots_their_height(tmp_path):
    short = timm.create_model("test_resnet_tsbn", tasks=["a", "b"])
    long = TsbnForMultiTask.from_backbone(
        "timm/test_resnet", [Task("a", num_classes=2), Task("b", num_classes=2)], pretrained=False
    )
    sizes = []
    for model in (short, long):
        draw_importance(tsbn_hub.importance_matrix(model), tmp_path / "gates.png")
        sizes.append(Image.open(tmp_path / "gates.png").size)
    assert sizes[0] == sizes[1], "the modules that all layers are in are not shown"


@pytest.mark.parametrize(
    ("name", "tasks", "layers"),
    cases_of(
        product(["name", LONG], [1, 2, 3, 40], [1, 53, 155]),
        [("name", 1, 1), (LONG, 1, 155), (LONG, 2, 53), ("name", 3, 155), (LONG, 3, 1), (LONG, 40, 155)],
    ),
)
def test_all_is_in_the_picture(name, tasks, layers):
    figure = drawn(importance_of([f"{name} {at}" for at in range(tasks)], layers, name=name))
    assert figure.get_figwidth() <= 16 and figure.get_figheight() <= 20 and figure.dpi == 120
    drawn_in = figure.get_tightbbox()
    assert drawn_in.x0 >= 0 and drawn_in.y0 >= 0
    assert drawn_in.x1 <= figure.get_figwidth() and drawn_in.y1 <= figure.get_figheight()
    panels = figure.axes
    assert len(panels) == min(tasks, 2), "the lower panel is of several tasks"
    for legend in figure.legends + [axes.get_legend() for axes in figure.axes if axes.get_legend()]:
        assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in panels)
    names = [label.get_window_extent() for label in panels[-1].get_xticklabels()]
    assert all(right.x1 - left.x1 > 13 for left, right in pairwise(names)), "names overlap"


@pytest.mark.parametrize(("tasks", "layers", "boxes"), [(1, 155, True), (2, 120, True), (3, 1, False), (2, 121, False)])
def test_boxes_or_a_heat_map(tasks, layers, boxes):
    importance = importance_of([f"task {at}" for at in range(tasks)], layers)
    figure = drawn(importance)
    assert has_boxes(importance) == boxes
    if boxes:
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == importance.tasks
        assert len({patch.get_facecolor() for patch in legend.get_patches()}) == tasks
    else:
        (image,) = figure.axes[0].images
        means = importance.matrix.unflatten(1, (layers, -1)).mean(2)
        assert not figure.legends and image.get_clim() == (0, 1)
        assert torch.allclose(torch.from_numpy(image.get_array().data), means)
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == importance.tasks


@pytest.mark.parametrize("tasks", [2, 12])
def test_any_name_of_a_task(tasks, tmp_path):
    names = ["$5 or $10", r"_$\frac$" + "\nb", *(f"task {at}" for at in range(tasks - 2))]
    draw_importance(importance_of(names, 3), tmp_path / "gates.png")


@pytest.mark.parametrize("tasks", [2, 12])
def test_the_same_gates_give_the_same_bytes(tasks, tmp_path):
    for name in ("one.png", "other.png"):
        draw_importance(importance_of([f"task {at}" for at in range(tasks)], 14), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
