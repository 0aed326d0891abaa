"""Pictures of the gates."""

import pytest
import timm
from PIL import Image

import tsbn_hub
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.analysis import draw_importance
from tsbn_hub.analysis.pictures import _short


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["tsbn.backbone.stem.norm", "tsbn.backbone.stages.0.norm"], ["stem", "stages.0"]),
        (["bn1", "layer1.0.bn1"], ["bn1", "layer1.0.bn1"]),
        (["a.norm", "a.b.norm"], ["norm", "b.norm"]),
        (["a.norm"], ["norm"]),
    ],
)
def test_names_of_layers(names, short):
    assert _short(names) == short


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
