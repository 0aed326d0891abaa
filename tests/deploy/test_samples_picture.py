"""The picture of test samples: one scale, words where a kind has them, and whose weights it is of."""

import math

import pytest
import torch
from PIL import Image

import tsbn_hub
from tests.training.small_runs import write_config
from tsbn_hub.deploy import draw_samples, samples_picture
from tsbn_hub.deploy.samples_of_run import draw_test_samples
from tsbn_hub.files.checkpoints import weights_digest
from tsbn_hub.files.images import weights_of_picture
from tsbn_hub.tasks import Attributes, Classification, Depth, Edges, Normals, Regression, Segmentation
from tsbn_hub.training import TrainingConfig, train

IMAGES = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def test_what_is_true_and_what_is_predicted_have_one_scale(monkeypatch):
    legends = []
    monkeypatch.setattr(
        samples_picture, "draw_legend", lambda legend, *_: legends.append(legend) or Image.new("RGB", (9, 9))
    )
    target = torch.full((2, 12, 16), 2.0)
    target[0, 0, 0] = 0  # not known
    prediction = torch.full((2, 12, 16), 4.0)
    prediction[1, 0, 0] = 1.0
    picture = draw_samples(IMAGES, {"d": target}, {"d": prediction}, {"d": Depth()})
    assert [(legend.low, legend.high) for legend in legends] == [(1.0, 4.0)]
    middle = [picture.getpixel((180 + 80, y)) for y in (134 + 60, 134 + 134 + 60)]
    colors = [tuple(color) for color in (legends[0].colors * 255).round().int().tolist()]
    assert middle[1] == colors[-1] and middle[0] == colors[round(255 / 3)]


def test_every_kind_and_missing_targets():
    kinds = {
        "seg": Segmentation(3), "depth": Depth(), "normals": Normals(), "edges": Edges(),
        "pet": Classification(labels=["cat", "dog"]), "age": Regression(), "worn": Attributes(3),
    }  # fmt: skip
    outputs = {task: torch.randn(2, kind.outputs, *(12, 16) * kind.dense) for task, kind in kinds.items()}
    predictions = {task: kind.predict(outputs[task]) for task, kind in kinds.items()}
    targets = {task: torch.full_like(value, 1) for task, value in predictions.items()}
    targets |= {"pet": torch.tensor([0, -100]), "edges": torch.tensor([1, -100])[:, None, None].expand(2, 12, 16)}
    targets["worn"] = torch.tensor([[0, 1, -100], [1, 1, 1]])
    targets["depth"][1] = 0
    full = draw_samples(IMAGES, targets, predictions, kinds)
    fewer = draw_samples(IMAGES[:, :1], targets, predictions, {"pet": kinds["pet"]})
    assert full.width > fewer.width and full.height > 8 * 126 > fewer.height


def test_captions():
    pet = Classification(labels=["cat", "dog"])
    for target, lines in ((1, ["dog (75%)"]), (0, ["dog (75%)", "true: cat"]), (-100, ["dog (75%)", "no target"])):
        assert pet.caption(torch.tensor([0.25, 0.75]), torch.tensor(target)) == lines
    assert Regression().caption(torch.tensor([2.5]), torch.tensor([3.0])) == ["2.5", "true: 3"]
    assert Regression().caption(torch.tensor([2.5]), torch.tensor([math.nan])) == ["2.5", "true: no target"]
    worn = Attributes(labels=["hat", "tie", "coat"], num_classes=3)
    prediction = torch.tensor([0.9, 0.9, 0.1])
    assert worn.caption(prediction, torch.tensor([1, -100, 0])) == ["2 of 2 right"]
    assert worn.caption(prediction, torch.tensor([1, 0, 1])) == ["1 of 3 right", "true: not tie, coat"]


def test_many_tasks_end():
    kinds = {f"task {number}": Classification(2) for number in range(40)}
    targets, predictions = dict.fromkeys(kinds, torch.tensor([0, 1])), dict.fromkeys(kinds, torch.eye(2))
    assert draw_samples(IMAGES, targets, predictions, kinds).height < 1000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    train(TrainingConfig.read(write_config(folder, "run", epochs=1)))
    return folder / "run"


def test_a_run(run):
    model = tsbn_hub.from_pretrained(run)
    draw_test_samples(run, model)
    first = (run / "predictions.png").read_bytes()
    assert weights_of_picture(run / "predictions.png") == weights_digest(run)
    draw_test_samples(run, model.train())
    assert (run / "predictions.png").read_bytes() == first
    assert not list(run.glob(".predictions.png*"))


def test_a_folder_without_a_recipe(run, tmp_path):
    model = tsbn_hub.from_pretrained(run)
    tsbn_hub.save_pretrained(model, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"training\.yaml"):
        draw_test_samples(tmp_path, model)
    for content in (None, b"", b"no picture"):
        if content is not None:
            (tmp_path / "predictions.png").write_bytes(content)
        assert weights_of_picture(tmp_path / "predictions.png") is None
