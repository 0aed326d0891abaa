"""Exported folders: timm and transformers load them without this package, and they compute what the model does."""

import pytest
import timm
import torch
from timm.data import create_transform, resolve_data_config

from tsbn_hub.deploy import export_plain, predict

from .exporting import CONFIGS, photo, timm_model, transformers_model


@torch.no_grad()
def test_timm_loads_a_folder_for_each_task(tmp_path):
    model, image = timm_model(), photo(100, 120)
    written = export_plain(model, tmp_path / "plain")
    for task, expected in predict(model, image).items():
        assert written[task].path == tmp_path / "plain" / task and written[task].has_head
        plain = timm.create_model(f"local-dir:{tmp_path}/plain/{task}", pretrained=True).eval()
        assert type(plain) is timm.models.ResNet and type(plain).__name__ == written[task].model
        transform = create_transform(**resolve_data_config({}, model=plain))
        torch.testing.assert_close(plain(transform(image)[None]).softmax(1)[0], expected.value)


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_loads_the_folder_of_a_task(name, tmp_path):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model, image = transformers_model(name), photo(100, 120)
    written = export_plain(model, tmp_path / "plain", ["place"])
    assert list(written) == ["place"] and written["place"].path == tmp_path / "plain" and written["place"].has_head
    plain = AutoModelForImageClassification.from_pretrained(tmp_path / "plain")
    assert "tsbn" not in type(plain).__module__ and plain.config.id2label[1] == "hall"
    prepared = AutoImageProcessor.from_pretrained(tmp_path / "plain")(image, return_tensors="pt")
    expected = predict(model, image, ["place"])["place"].value
    torch.testing.assert_close(plain(**prepared).logits.softmax(1)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_backbone_without_its_head_is_told(tmp_path):
    from transformers import AutoModel

    written = export_plain(transformers_model("resnet"), tmp_path)
    assert written["place"].has_head and not written["seg/parts"].has_head
    assert written["seg/parts"].path.name == "seg%2Fparts" and written["seg/parts"].model == "ResNetModel"
    assert type(AutoModel.from_pretrained(written["seg/parts"].path)).__name__ == "ResNetModel"


def test_what_is_wrong_is_told_before_anything_is_written(tmp_path):
    model = timm_model()
    with pytest.raises(ValueError, match=r"There are no tasks \['smile'\]"):
        export_plain(model, tmp_path / "plain", ["age", "smile"])
    with pytest.raises(ValueError, match="This ResNet is plain already"):
        export_plain(model.fold("age"), tmp_path / "plain")
    assert not list(tmp_path.iterdir())
    (tmp_path / "age").mkdir()
    (tmp_path / "age" / "notes.txt").write_text("kept")
    with pytest.raises(FileExistsError, match=r"age is not empty, and is kept\. --overwrite"):
        export_plain(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["age"]
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FileExistsError, match="file is a file: give the path of a folder"):
        export_plain(model, tmp_path / "file", ["age"], overwrite=True)
    export_plain(model, tmp_path, overwrite=True)
    assert (tmp_path / "age" / "notes.txt").read_text() == "kept"
