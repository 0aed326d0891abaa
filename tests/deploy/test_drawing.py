"""Predictions on a photo: in its size and shape, where the model has seen it, with what the colours mean."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

import tsbn_hub  # noqa: F401
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.deploy import predict
from tsbn_hub.deploy.drawing import draw_legend, drawn, resized, view_of
from tsbn_hub.models import surface_of
from tsbn_hub.tasks import Classification, Depth, Normals, Segmentation
from tsbn_hub.tasks.pictures import Swatches, class_colors

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


def preprocessing(in_chans=3, **config):
    config = {"input_size": (in_chans, 160, 160), "mean": (0.0,) * in_chans, "std": (1.0,) * in_chans, **config}
    model = timm.create_model("test_resnet_tsbn", tasks=["a"], in_chans=in_chans, pretrained_cfg_overlay=config)
    return surface_of(model).preprocessing()


@pytest.mark.parametrize(
    ("config", "size", "view"),
    [
        ({"crop_pct": 1.0, "crop_mode": "squash"}, (640, 480), (0, 0, 640, 480)),
        ({"crop_pct": 1.0, "crop_mode": "squash", "in_chans": 1}, (30, 70), (0, 0, 30, 70)),
        ({"crop_pct": 1.0}, (640, 480), (80, 0, 560, 480)),  # the middle square
        ({"crop_pct": 0.8}, (400, 600), (40, 140, 360, 460)),
        ({"crop_pct": 0.8}, (50, 50), (5, 5, 45, 45)),  # enlarged
        ({"crop_pct": 1.0, "crop_mode": "border"}, (640, 480), (0, -80, 640, 560)),  # padded
    ],
    ids=str,
)
def test_the_part_of_a_photo_that_a_model_sees(config, size, view):
    assert view_of(preprocessing(**config), size) == pytest.approx(view, abs=max(size) / 150)


def test_a_model_of_transformers_that_crops():
    from transformers import BitImageProcessor

    model = TsbnForMultiTask.from_backbone("timm/test_resnet", [Task("d", kind="edges")], pretrained=False)
    model.image_processor = BitImageProcessor(do_resize=False, crop_size={"height": 30, "width": 40})
    assert view_of(surface_of(model).preprocessing(), (80, 60)) == pytest.approx((20, 15, 60, 45), abs=0.5)
    picture = predict(model, PHOTO)["d"].picture
    assert picture.shape[1] >= 60 and picture.shape[2] > 80
    pale = (pil_to_tensor(PHOTO).float().mean(dim=0) + 255) / 2
    outside = torch.ones(60, 80, dtype=torch.bool)
    outside[15:45, 20:60] = False
    assert (picture[:, :60, :80].float() - pale)[:, outside].abs().max() <= 1


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (2500, 40)])
@pytest.mark.parametrize("kind", [Segmentation(3), Depth(), Normals()], ids=lambda kind: kind.name)
def test_a_picture_is_as_large_as_the_photo(kind, size):
    photo, output = PHOTO.resize(size), torch.randn(1, kind.outputs, 8, 8, generator=torch.Generator().manual_seed(0))
    value = kind.predict(output)[0]
    picture = drawn(kind, value, photo, (0, 0, *size), "a task")
    legend = draw_legend(kind.legend(value), "a task", 13)
    assert picture.height == max(size[1], legend.height) and picture.width == size[0] + legend.width
    assert picture.crop((size[0], 0, *picture.size)).getcolors(1 << 16) is not None


def test_the_values_are_where_the_model_has_seen_them():
    value = torch.tensor([[0, 1], [2, 0]])
    picture = pil_to_tensor(drawn(Segmentation(3), value, PHOTO, (0, 0, 80, 60), "seg"))
    grey = pil_to_tensor(PHOTO).float().mean(dim=0) / 3
    for row, column in ((10, 10), (10, 70), (50, 10), (50, 70)):
        color = class_colors(3)[value[row // 30, column // 40]] * 255 * 2 / 3
        assert (picture[:, row, column] - color - grey[row, column]).abs().max() <= 1


def test_text_is_written_into_the_photo_itself():
    kind, photo = Classification(2), Image.new("RGB", (2000, 1000), "red")
    assert drawn(kind, torch.tensor([0.25, 0.75]), photo, (0, 0, 1, 1), "pet").size == (1024, 512)


def test_maps_in_another_size():
    assert resized(torch.tensor([[0, 2]]), (1, 4)).tolist() == [[0, 0, 2, 2]]
    assert resized(torch.tensor([[0.0, 2.0]]), (1, 4)).tolist() == [[0.0, 0.5, 1.5, 2.0]]
    assert resized(torch.rand(3, 4, 5), (8, 2)).shape == (3, 8, 2)


def test_a_legend_has_each_colour_and_ends():
    legend = Swatches([f"class {number}" for number in range(40)], class_colors(40))
    shown = set(map(tuple, np.asarray(draw_legend(legend, "seg", 13)).reshape(-1, 3).tolist()))
    colors = [tuple(color) for color in (class_colors(40) * 255).round().int().tolist()]
    assert set(colors[:24]) <= shown
    assert draw_legend(legend, "seg", 13).height < 13 * 50
    taller = draw_legend(legend, "seg", 26)
    assert taller.width > 1.5 * draw_legend(legend, "seg", 13).width


def test_letters_that_are_not_english():
    """Pillow's own font draws a box in the place of each."""
    pytest.importorskip("matplotlib")
    legends = [draw_legend(Swatches([name], torch.zeros(1, 3)), "", 20) for name in ("ö", "ß")]
    assert legends[0].tobytes() != legends[1].tobytes()
