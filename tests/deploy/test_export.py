"""Exported files: what they give is what `predict` gives, for every kind, both libraries and both formats."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.matrices import NIGHTLY, cases_of
from tsbn_hub import Task
from tsbn_hub.deploy import Exported, export_onnx, export_program, predict
from tsbn_hub.deploy.export import file as export_file
from tsbn_hub.deploy.export.formats import OnnxFile, TorchFile
from tsbn_hub.deploy.export.network import ImageInput, TaskAsInput
from tsbn_hub.deploy.export.onnx_names import name_graph
from tsbn_hub.models import surface_of
from tsbn_hub.tasks import Attributes

from .exporting import (
    CONFIGS,
    FEW,
    KINDS,
    Untraceable,
    WithoutLastOfOddRows,
    as_batch,
    photo,
    timm_model,
    transformers_model,
)

FORMATS = {"onnx": (export_onnx, OnnxFile), "torch-export": (export_program, TorchFile)}
SUFFIX = {"onnx": ".onnx", "torch-export": ".pt2"}


class File(NamedTuple):
    """A file, its model, and what runs it on inputs by name."""

    model: torch.nn.Module
    exported: Exported

    def run(self, images, **more):
        inputs = {self.exported.description.images.name: torch.from_numpy(images), **more}
        return loaded(self.exported.path)(inputs)


@functools.cache
def loaded(path):
    return (OnnxFile() if path.suffix == ".onnx" else TorchFile()).load(path)


def export(model, folder, name, **options):
    write, _ = FORMATS[name]
    return File(model, write(model, Path(folder) / f"model{SUFFIX[name]}", **options))


def assert_predicts(file, photos, values="uint8", tasks=None):
    """For each photo what `predict` says."""
    found = file.run(as_batch(*photos, values=values))
    assert list(found) == [task.output for task in file.exported.description.tasks] == list(tasks or file.model.tasks)
    for row, each in enumerate(photos):
        for task, expected in predict(file.model, each, tasks).items():
            output = found[task][row]
            assert output.dtype == expected.value.dtype and output.shape == expected.value.shape, task
            if output.is_floating_point():
                torch.testing.assert_close(output, expected.value, rtol=1e-4, atol=1e-4)
            else:
                assert (output != expected.value).double().mean() < 1e-3, task


# --- every kind ---


@pytest.fixture(scope="module")
def of_every_kind(tmp_path_factory):
    """With hard sharing, for the graph has the network once then."""
    model = transformers_model("resnet", KINDS, norm="shared")
    return export(model, tmp_path_factory.mktemp("kinds"), "onnx")


def test_every_kind(of_every_kind):
    assert_predicts(of_every_kind, [photo(64, 96, seed=seed) for seed in range(3)])
    assert of_every_kind.exported.errors.keys() == set(of_every_kind.model.tasks)
    assert max(of_every_kind.exported.errors.values()) < 1e-4 and not of_every_kind.exported.notes


def test_batches_and_sizes_are_open(of_every_kind):
    model, kinds = of_every_kind.model, of_every_kind.model.kinds
    for shape in ((1, 64, 96), (4, 96, 64), (1, 81, 129)):
        images = as_batch(*(photo(*shape[1:], seed=seed) for seed in range(shape[0])))
        found = of_every_kind.run(images)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in ([0.3, 0.4, 0.5], [0.2] * 3))
        with torch.no_grad():
            logits = model((torch.from_numpy(images) / 255 - mean) / std).logits
        for task, kind in kinds.items():
            expected = kind.predict(logits[task])
            assert found[task].shape == expected.shape
            assert (found[task] - expected).double().abs().mean() < 1e-4, (task, shape)


def test_metadata(of_every_kind):
    import onnxruntime

    session = onnxruntime.InferenceSession(of_every_kind.exported.path)
    told = json.loads(session.get_modelmeta().custom_metadata_map["tsbn_hub"])
    assert told == json.loads(of_every_kind.exported.description.to_json())
    assert told["images"] | {"resizing": ""} == {
        "name": "images_input",
        "dtype": "uint8",
        "shape": ["batch", 3, "height", "width"],
        "values": [0, 255],
        "channels": "RGB",
        "size": [64, 96],
        "resizing": "",
    }
    assert told["images"]["resizing"] == "size={'height': 64, 'width': 96}, resample=3"
    by_name = {task["name"]: task for task in told["tasks"]}
    assert list(by_name) == of_every_kind.model.tasks and told["task_input"] is None
    assert by_name["place"]["labels"] == ["room", "hall", "yard"] and by_name["place"]["shape"] == ["batch", 3]
    assert by_name["relu"]["unit"] == "m" and by_name["relu"]["shape"] == ["batch", "height", "width"]
    assert by_name["age"]["unit"] == "the data's unit" and by_name["age"]["labels"] is None
    assert by_name["images"]["shape"] == ["batch", 3, "height", "width"] and "unit vector" in by_name["images"]["gives"]
    assert all(task["gives"] and task["kind"] for task in told["tasks"])
    assert by_name["what is there"]["thresholds"] == [0.25, 0.5] and by_name["age"]["thresholds"] is None
    for port, task in zip(session.get_outputs(), told["tasks"], strict=True):
        assert port.name == task["output"] and port.shape == task["shape"]
        assert port.type == {"int64": "tensor(int64)", "float32": "tensor(float)"}[task["dtype"]]
    (images,) = session.get_inputs()
    assert images.name == "images_input" and images.shape == told["images"]["shape"]


@pytest.fixture(scope="module")
def of_a_vit(tmp_path_factory):
    return export(transformers_model("vit"), tmp_path_factory.mktemp("vit"), "onnx" if NIGHTLY else "torch-export")


@pytest.fixture(scope="module")
def of_timm(tmp_path_factory):
    return export(timm_model(), tmp_path_factory.mktemp("timm"), "onnx")


@pytest.mark.parametrize("name", cases_of(["of_every_kind", "of_timm", "of_a_vit"], ["of_every_kind"]))
def test_openvino_reads_the_file(name, request):
    openvino = pytest.importorskip("openvino")
    file = request.getfixturevalue(name)
    compiled = openvino.Core().compile_model(file.exported.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    told = file.exported.description.images
    for count in (1, 2):
        images = as_batch(*(photo(*told.size, seed=seed) for seed in range(count)))
        found, expected = compiled({told.name: images}), file.run(images)
        for task, value in expected.items():
            output = torch.from_numpy(np.asarray(found[task]))
            assert output.shape == value.shape
            assert (output.double() - value.double()).abs().mean() < 1e-4, task


# --- both libraries, both formats, both values ---

MODELS = {"timm": timm_model, **{name: lambda name=name: transformers_model(name) for name in CONFIGS}}
TABLE = [(model, name, values) for model in MODELS for name in FORMATS for values in ("uint8", "float")]
DAILY = [("swin", "torch-export", "uint8")]  # of the others there are files below


@pytest.mark.parametrize(("model", "name", "values"), cases_of(TABLE, DAILY))
def test_round_trip(model, name, values, tmp_path):
    file = export(MODELS[model](), tmp_path, name, images=values)
    height, width = file.exported.description.images.size
    assert_predicts(file, [photo(height, width, seed=seed) for seed in range(4)], values)
    assert_predicts(file, [photo(height, width, seed=9)], values)
    fixed = model == "swin"
    assert len(file.exported.notes) == fixed
    if fixed:
        assert file.exported.notes == [
            f"Of the images their size is {height} x {width}, and no other: torch.export finds it in the code."
        ]
    assert file.exported.description.images.shape[0] == "batch"
    assert file.exported.size == file.exported.path.stat().st_size


@pytest.mark.nightly
def test_a_vit_takes_images_of_any_size(of_a_vit):
    """Its position embeddings are interpolated within the file, and at its own size they are what they are."""
    file = of_a_vit
    assert file.exported.description.images.shape == ["batch", 3, "height", "width"] and not file.exported.notes
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ([0.3, 0.4, 0.5], [0.2] * 3))
    for height, width in ((32, 32), (16, 48), (33, 41), (31, 70)):
        images = as_batch(photo(height, width), photo(height, width, seed=1))
        with torch.no_grad():
            logits = file.model((torch.from_numpy(images) / 255 - mean) / std).logits
        for task, output in file.run(images).items():
            expected = file.model.kinds[task].predict(logits[task])
            assert output.shape == expected.shape
            assert (output.double() - expected.double()).abs().mean() < 1e-4, (task, height, width)


@pytest.mark.nightly
def test_a_file_takes_the_sizes_that_its_network_takes(tmp_path):
    """A graph may be for even sizes alone, where the network is for any: then it is for the one size, and says so."""
    model = transformers_model("resnet", [KINDS[7]])
    model.trunk.get_submodule("backbone").encoder.stages[-1].layers.append(WithoutLastOfOddRows())
    file = export(model, tmp_path, "onnx")
    assert file.exported.description.images.shape == ["batch", 3, 64, 96]
    (note,) = file.exported.notes
    assert note.startswith("Of the images their size is 64 x 96, and no other: ")


def test_what_is_before_the_fork_is_there_once(tmp_path):
    """ONNX's optimizer joins what is computed twice from the same."""
    import onnx

    file = export(timm_model(gated="layer4*"), tmp_path, "onnx", images="float")
    assert_predicts(file, [photo(64, 96, seed=seed) for seed in range(3)], "float")
    convolutions = [node for node in onnx.load(file.exported.path).graph.node if node.op_type == "Conv"]
    whole = [part for part in file.model.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) == len(whole) + 1  # of layer4, the one behind its first norm


def test_names_are_those_asked_for_whatever_the_graph_has():
    """As of tasks that are alike, two outputs may be one value; and other values may be called as they are."""
    import onnx_ir as ir

    images = ir.val("input", ir.DataType.FLOAT, ["s0", 3])
    hidden = ir.node("Relu", [images])
    last = ir.node("Relu", [hidden.outputs[0]])
    hidden.outputs[0].name = "age"
    last.outputs[0].name, last.outputs[0].shape = "images", ir.Shape(["s0", 3])
    graph = ir.Graph([images], [last.outputs[0], last.outputs[0]], nodes=[hidden, last], name="graph")
    name_graph(graph, ["images"], ["age", "gender"], {0: "batch"})
    assert [value.name for value in (*graph.inputs, *graph.outputs)] == ["images", "age", "gender"]
    assert [str(value.shape) for value in (*graph.inputs, *graph.outputs)] == ["[batch,3]"] * 3
    names = [value.name for node in graph for value in node.outputs]
    assert len(names) == len(set(names)) == 3 and "images" not in names


def test_some_tasks_and_the_model_stays(tmp_path):
    model = timm_model()
    model.set_task("age")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    file = export(model, tmp_path, "torch-export", tasks=["gender"])
    assert model.training and model.task == "age" and model.tasks == ["gender", "age"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.set_task(None)
    assert_predicts(file, [photo(64, 96)], tasks=["gender"])


def test_a_folded_model_in_half_precision(tmp_path):
    """The file is in float32."""
    plain = timm_model().bfloat16().fold("age")
    file = export(plain, tmp_path, "torch-export")
    (value,) = file.run(as_batch(photo(64, 96))).values()
    assert file.exported.errors["default"] < 1e-4
    torch.testing.assert_close(value[0], predict(plain, photo(64, 96))["default"].value, rtol=0.1, atol=0.1)


# --- the task as an input ---


def units(mean):
    return {"mean": mean, "scale": 2.0}


SAME_SHAPE = {
    "timm": lambda: timm_model({"left": 5, "right": 5, "other": 3}),
    "resnet": lambda: transformers_model(
        "resnet",
        [Task("left", "regression", kind_args=units(5.0)), Task("right", "regression", kind_args=units(-7.0)), FEW[1]],
    ),
    "swin": lambda: transformers_model(
        "swin", [Task(name, "segmentation", num_classes=4, head_args={"channels": 8}) for name in ("left", "right")]
    ),
}
INPUT_TABLE = [(model, name) for model in SAME_SHAPE for name in FORMATS]


@pytest.mark.parametrize(("model", "name"), cases_of(INPUT_TABLE, [("timm", "torch-export")]))
def test_the_task_as_an_input(model, name, tmp_path):
    file = export(SAME_SHAPE[model](), tmp_path, name, tasks=["right", "left"], task_input=True)
    told = file.exported.description
    assert told.task_input == "task" and [task.name for task in told.tasks] == ["right", "left"]
    height, width = told.images.size
    each = photo(height, width)
    expected = predict(file.model, each, ["right", "left"])
    for number, task in enumerate(["right", "left"]):
        output = file.run(as_batch(each), task=torch.tensor(number))["output"][0]
        torch.testing.assert_close(output, expected[task].value, rtol=1e-4, atol=1e-4)
    assert not torch.equal(expected["left"].value, expected["right"].value)


def test_tasks_that_predict_alike_are_predicted_once(monkeypatch):
    thresholds = {"left": [0.25], "right": [0.5]}
    tasks = [
        Task(name, "attributes", labels=["lamp"], kind_args={"thresholds": own}) for name, own in thresholds.items()
    ]
    surface, calls = surface_of(transformers_model("resnet", tasks)), []
    monkeypatch.setattr(Attributes, "predict", lambda self, output: calls.append(output) or output.sigmoid())
    prepare = ImageInput(surface.preprocessing(), surface.image_shape[1:], "uint8")
    network = TaskAsInput(surface, surface.kinds(), prepare).eval()
    output = network(torch.zeros(1, *surface.image_shape, dtype=torch.uint8), torch.tensor(1))["output"]
    assert output.shape == (1, 1) and len(calls) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (timm_model, r"different numbers of classes, \{'gender': 2, 'age': 8\}.* Export the tasks as outputs"),
        (lambda: transformers_model("resnet"), "different kinds, {'place': 'classification'"),
        (
            lambda: transformers_model("resnet", [FEW[0], Task("b", num_classes=9)]),
            r"heads of the tasks \['b'\] have other layers than that of 'place'",
        ),
    ],
    ids=["timm", "kinds", "heads"],
)
def test_tasks_that_cannot_be_an_input(build, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_program(build(), tmp_path / "model.pt2", task_input=True)
    assert not list(tmp_path.iterdir())


# --- what goes wrong ---


def test_an_error_beyond_the_bound_is_refused(tmp_path, monkeypatch):
    def load(self, path):
        module = torch.export.load(path.open("rb")).module()
        return lambda inputs: {name: value + 0.01 for name, value in module(*inputs.values()).items()}

    monkeypatch.setattr(TorchFile, "load", load)
    monkeypatch.setattr(export_file, "ways_to_trace", lambda signature: [{}])
    with pytest.raises(ValueError, match=r"gives 'gender' with an error of 0\.0\d+ against torch; 1e-03 is allowed"):
        export_program(timm_model(), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_exported(tmp_path):
    model = timm_model()
    model.layer4.append(Untraceable())
    with pytest.raises(ValueError, match=r"ResNet\w* cannot be exported as torch-export: .*data-dependent"):
        export_program(model, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_is_told_first(tmp_path, monkeypatch):
    broken, without = timm_model(), transformers_model("resnet")
    torch.nn.init.constant_(broken.fc.weight, float("nan"))
    without.image_processor = None
    for model, message in (
        (broken, "for 'gender' is not finite: its weights are broken"),
        (without, "no preprocessor_config"),
        (timm_model(in_chans=5), "images of 5 channels"),
    ):
        with pytest.raises(ValueError, match=message):
            export_program(model, tmp_path / "model.pt2")
    (tmp_path / "there.pt2").write_text("kept")
    with pytest.raises(FileExistsError, match=r"there\.pt2 is there already, and is kept\. --overwrite"):
        export_program(timm_model(), tmp_path / "there.pt2")
    with pytest.raises(FileExistsError, match="is a folder"):
        export_program(timm_model(), tmp_path, overwrite=True)
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "onnxruntime", None)
        with pytest.raises(ImportError, match=r"pip install 'tsbn_hub\[export\]'"):
            export_onnx(timm_model(), tmp_path / "model.onnx")
    monkeypatch.setattr(torch.Tensor, "numel", lambda self: 2**30)
    with pytest.raises(ValueError, match=r"GB, and a file of ONNX up to 2: take torch-export"):
        export_onnx(timm_model(), tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt2"]
    assert (tmp_path / "there.pt2").read_text() == "kept"


def test_preprocessing_that_is_no_scaling():
    from tsbn_hub.models.preprocessing import Preprocessing

    preprocessing = surface_of(timm_model()).preprocessing()
    squared = Preprocessing(3, lambda image: preprocessing.show(image) ** 2, preprocessing.show, "")
    with pytest.raises(ValueError, match="does more than to shift and scale"):
        ImageInput(squared, (64, 96), "uint8")
