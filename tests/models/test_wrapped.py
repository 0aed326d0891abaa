"""What takes a model takes what is wrapped around it, and gives the same; or says that it must come before."""

import importlib
import inspect
import json
import pkgutil

import pytest
import timm
import torch
import torch.distributed as dist
from accelerate.hooks import ModelHook, add_hook_to_module
from PIL import Image
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub.analysis import gradient_cosines, model_cost, passes_by_fork
from tsbn_hub.deploy import (
    Destinations,
    export_onnx,
    export_plain,
    export_program,
    find_images,
    predict,
    predict_files,
    predict_many,
    predict_to_files,
)
from tsbn_hub.hub import write_card
from tsbn_hub.models import surface_of
from tsbn_hub.norms import (
    convert_sync_batchnorm,
    freeze_batch_norm,
    gated_norms,
    reestimate_statistics,
    unwrapped,
)
from tsbn_hub.tasks import Classification
from tsbn_hub.training import PeakMemory, TasksForward, create_optimizer, evaluate, fill_gradients, idle_tasks_at_rest
from tsbn_hub.training.optimization import parameters_of_single_tasks, scatter_gates
from tsbn_hub.training.timm import MultiTaskTraining

KINDS = {"a": Classification(2), "b": Classification(3)}
X = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
BATCH = {"image": X, "targets": {"a": torch.arange(8) % 2, "b": torch.arange(8) % 3}}


@pytest.fixture(scope="module", autouse=True)
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def hooked(model):
    return add_hook_to_module(model, ModelHook())


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "DistributedDataParallel": DistributedDataParallel,
    "DataParallel": nn.DataParallel,
    "compiled": compiled,
    "AveragedModel": AveragedModel,
    "ModelEmaV3": ModelEmaV3,
    "hooked": hooked,
    "compiled in DistributedDataParallel": lambda model: DistributedDataParallel(compiled(model)),
    "TasksForward": TasksForward,
}


def new():
    torch.manual_seed(0)
    model = timm.create_model("test_resnet_tsbn", num_classes={"a": 2, "b": 3})
    for parameter in model.parameters():
        parameter.requires_grad_()
    return model


def tensors(model):
    """What a call has made of a model."""
    return {name: tensor.detach().clone() for name, tensor in unwrapped(model).state_dict().items()}


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "README.md"}


def saved(model, folder, save):
    save(folder)
    return files(folder)


def idle_task_kept(model, folder):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for active in (["a", "b"], ["a"]):
        unwrapped(model)(X, task="a").sum().backward()
        with idle_tasks_at_rest(model, optimizer, active):
            optimizer.step()
    return tensors(model)


def reestimated(model, folder):
    reestimate_statistics(model, "a", [X])
    return tensors(model)


def peak(model, folder):
    with PeakMemory(model) as memory:
        unwrapped(model)(X, task="a").sum().backward()
    return memory.bytes


def rewrapped(wrapped, model):
    """Another model in wrappers of the same classes, as far as they can be around it."""
    return model if unwrapped(wrapped) is wrapped else nn.DataParallel(model)


def predicted_files(model, folder):
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    return list(predict_files(model, [folder / "red.png"], folder / "out").values())


def predicted_folder(model, folder):
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    predict_to_files(model, find_images([folder / "red.png"]), Destinations(folder / "out.json"))
    return list(json.loads((folder / "out.json").read_text()).values())


def predicted_one_by_one(model, folder):
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    return [prediction.values for prediction in predict_many(model, find_images([folder / "red.png"]))]


def card(model, folder):
    tsbn_hub.save_pretrained(new(), folder)
    write_card(folder, model, name="ada/faces")
    return (folder / "README.md").read_text()


def published(function, *arguments, **keywords):
    def publish(model, folder):
        function(model, *arguments, dry_run=True, **keywords)
        return sorted(path.name for path in folder.iterdir())

    return publish


TAKE_IT_WRAPPED = {
    evaluate: lambda model, folder: evaluate(model, [BATCH], KINDS),
    predict: lambda model, folder: {
        task: each.description for task, each in predict(model, Image.new("RGB", (64, 64), "red")).items()
    },
    predict_files: predicted_files,
    predict_many: predicted_one_by_one,
    predict_to_files: predicted_folder,
    tsbn_hub.save_pretrained: lambda model, folder: saved(
        model, folder, lambda folder: tsbn_hub.save_pretrained(model, folder)
    ),
    tsbn_hub.save_task: lambda model, folder: saved(
        model, folder, lambda folder: tsbn_hub.save_task(model, "a", folder)
    ),
    tsbn_hub.push_to_hub: published(tsbn_hub.push_to_hub, "ada/faces"),
    tsbn_hub.push_task_to_hub: published(tsbn_hub.push_task_to_hub, "a", "ada/a", base="ada/base"),
    write_card: card,
    surface_of: lambda model, folder: surface_of(model).image_shape,
    tsbn_hub.importance_matrix: lambda model, folder: (
        lambda importance: (importance.matrix, importance.tasks, importance.layers)
    )(tsbn_hub.importance_matrix(model)),
    model_cost: lambda model, folder: model_cost(model),
    passes_by_fork: lambda model, folder: passes_by_fork(model),
    gradient_cosines: lambda model, folder: gradient_cosines(model, [BATCH], KINDS).layers,
    tsbn_hub.param_groups: lambda model, folder: [
        {**group, "params": [parameter.shape for parameter in group["params"]]}
        for group in tsbn_hub.param_groups(model, layer_decay=0.5)
    ],
    create_optimizer: lambda model, folder: [
        group["lr"] for group in create_optimizer(model, "adamw", 1e-3).param_groups
    ],
    scatter_gates: lambda model, folder: (torch.manual_seed(0), scatter_gates(model, 0.5))[1],
    idle_tasks_at_rest: idle_task_kept,
    parameters_of_single_tasks: lambda model, folder: [
        parameter.shape for parameter in parameters_of_single_tasks(model)
    ],
    reestimate_statistics: reestimated,
    PeakMemory: peak,
    gated_norms: lambda model, folder: gated_norms(rewrapped(model, unwrapped(model).fold("a"))),
    export_plain: lambda model, folder: saved(model, folder, lambda folder: export_plain(model, folder, ["a"])),
}

# These take seconds for a file: in one wrapper, and by night.
EXPORTS = (export_program, export_onnx)

MUST_COME_BEFORE = {
    tsbn_hub.freeze_trunk: tsbn_hub.freeze_trunk,
    freeze_batch_norm: freeze_batch_norm,
    convert_sync_batchnorm: convert_sync_batchnorm,
    tsbn_hub.load_task: None,  # below, with an adapter
    tsbn_hub.convert: lambda model: tsbn_hub.convert(model, ["a", "b"]),
    TasksForward: TasksForward,
    MultiTaskTraining: lambda model: MultiTaskTraining(model, verbose=False),
}


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def wrappers_each_day(function):
    """The wrappers in turn, and one that every function meets."""
    number = list(TAKE_IT_WRAPPED).index(function)
    return ["DistributedDataParallel", list(WRAPPERS)[number % len(WRAPPERS)]]


@pytest.mark.parametrize("function", list(TAKE_IT_WRAPPED), ids=lambda each: each.__name__)
def test_wrapped_as_plain(function, tmp_path):
    call, results = TAKE_IT_WRAPPED[function], {}
    for name in ["plain", *cases_of(WRAPPERS, wrappers_each_day(function))]:
        (tmp_path / name).mkdir(exist_ok=True)
        torch.manual_seed(0)
        wrapped = new() if name == "plain" else WRAPPERS[name](new())
        results[name] = call(wrapped.train(), tmp_path / name)
    assert {name: same(result, results["plain"]) for name, result in results.items()} == dict.fromkeys(results, True)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("export", EXPORTS)
def test_exported_as_plain(export, tmp_path):
    described = [
        export(each, tmp_path / str(number), ["a"]).description
        for number, each in enumerate((new(), DistributedDataParallel(compiled(new()))))
    ]
    assert described[0] == described[1]


@pytest.mark.parametrize(
    "function", [each for each, call in MUST_COME_BEFORE.items() if call], ids=lambda each: each.__name__
)
def test_what_must_come_before(function):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)) if function is tsbn_hub.convert else new()
    with pytest.raises((ValueError, TypeError), match=r"DistributedDataParallel.*(itself|before)"):
        MUST_COME_BEFORE[function](DistributedDataParallel(model))


def test_a_task_is_loaded_before(tmp_path):
    tsbn_hub.save_task(new(), "a", tmp_path)
    with pytest.raises(ValueError, match="load_task must come before the model is wrapped in DistributedDataParallel"):
        tsbn_hub.load_task(DistributedDataParallel(new()), tmp_path, name="c")
    model = new()
    tsbn_hub.load_task(compiled(model), tmp_path, name="c")
    assert model.tasks == ["a", "b", "c"]


def test_tasks_are_kept_apart_in_wrappers():
    with pytest.raises(ValueError, match="'lamb' mixes the tasks"):
        create_optimizer(nn.DataParallel(new()), "lamb", 1e-3)


def test_a_module_of_somebody_elses_is_no_wrapper():
    class Mine(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = Mine(new())
    assert unwrapped(model) is model


def takes_a_model(public):
    if inspect.isclass(public) and public not in (PeakMemory, TasksForward, MultiTaskTraining):
        return False  # a module, a surface or a table of numbers
    annotations = {each.name: str(each.annotation) for each in inspect.signature(public).parameters.values()}
    return any("Module" in annotations.get(name, "") for name in ("model", "module", "network"))


def test_every_public_function_that_takes_a_model_is_here():
    packages = [each.name for each in pkgutil.walk_packages(tsbn_hub.__path__, "tsbn_hub.") if each.ispkg]
    modules = [importlib.import_module(name) for name in ["tsbn_hub", *packages]]
    named = [getattr(module, name) for module in modules for name in getattr(module, "__all__", ()) if name != "Json"]
    called = [public for public in named if inspect.isclass(public) or inspect.isroutine(public)]  # no table, no alias
    found = {public for public in called if takes_a_model(public)}
    # fill_gradients takes nothing but a TasksForward as the accelerator has wrapped it.
    assert found - {fill_gradients, unwrapped} == {*TAKE_IT_WRAPPED, *MUST_COME_BEFORE, *EXPORTS}
