"""What models cost, against sums by hand and the saved files."""

from math import prod

import pytest
import timm
import torch
from safetensors import safe_open
from torch import nn

import tsbn_hub
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.analysis import cost_table, model_cost

D, HIDDEN, LAYERS, TOKENS, PATCH = 16, 24, 3, 17, 8  # a ViT of one head on images of 32 x 32


def vit(tasks: list[Task], **options: object) -> TsbnForMultiTask:
    from transformers import ViTConfig

    config = ViTConfig(
        hidden_size=D, intermediate_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=1, image_size=32,
        patch_size=PATCH,
    )  # fmt: skip
    return TsbnForMultiTask.from_backbone(config, tasks, **options)


def test_a_vision_transformer_by_hand():
    cost = model_cost(vit([Task("b", num_classes=5), Task("a", "attributes", num_classes=9)], keep_affine=True))
    embedding = 3 * PATCH * PATCH * D
    layer = 4 * D * D + 2 * D * HIDDEN
    pooling = D * D  # the backbone's own pooler sees one token
    flops = 2 * ((TOKENS - 1) * embedding + LAYERS * (TOKENS * layer + 2 * TOKENS * TOKENS * D) + pooling)
    assert cost.image_shape == (3, 32, 32)
    for task, classes in zip(cost.tasks, (5, 9), strict=True):
        assert task.head_parameters == (D + 1) * classes and task.classes == classes
        assert task.norm_parameters == 2 * LAYERS * D, "two gated norms a block"
        assert task.buffers == 0
        assert task.flops == flops + 2 * D * classes
    assert [task.kind for task in cost.tasks] == ["classification", "attributes"]
    positions, final_norm = (TOKENS + 1) * D, 2 * D
    plain_layer = layer + 5 * D + HIDDEN + 4 * D
    assert cost.shared_parameters == embedding + D + positions + LAYERS * plain_layer + final_norm + pooling + D
    assert cost.shared_buffers == 0
    assert cost.flops == sum(task.flops for task in cost.tasks)


def by_hooks(model: nn.Module, image: torch.Tensor) -> int:
    """The FLOPs of the convolutions and linear layers that a plain model calls."""
    counted = []

    def count(module, inputs, output):
        counted.append(2 * output.numel() * module.weight[0].numel())

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(image)
    return sum(counted)


@pytest.mark.parametrize("norm", ["sigmoid", "affine", "statistics", "shared"])
@pytest.mark.parametrize("classes", [{"b": 3, "a": 7}, {"a": 7}], ids=["two tasks", "one task"])
def test_a_timm_model_against_its_plain_ones(norm, classes):
    model = timm.create_model("test_resnet_tsbn", num_classes=classes, norm=norm)
    cost, image = model_cost(model), torch.zeros(1, 3, 160, 160)
    for task in cost.tasks:
        assert task.flops == by_hooks(model.fold(task.name).eval(), image)
        assert task.head_parameters == 97 * classes[task.name] and task.head == "linear"
    channels = [module.num_features for module in timm.create_model("test_resnet").modules() if hasattr(module, "eps")]
    per_channel = {"sigmoid": 1, "affine": 2, "statistics": 0, "shared": 0}[norm]
    assert {task.norm_parameters for task in cost.tasks} == {per_channel * sum(channels)}
    statistics = 2 * sum(channels) + len(channels)
    assert {task.buffers for task in cost.tasks} == {0 if norm == "shared" else statistics}
    assert cost.shared_buffers == (statistics if norm == "shared" else 0)
    trunk = by_hooks(timm.create_model("test_resnet", num_classes=0).eval(), image)
    all_heads = sum(2 * 96 * size for size in classes.values())
    assert cost.flops == trunk * (1 if norm == "shared" else len(classes)) + all_heads


@pytest.mark.parametrize("build", ["timm", "kept affine", "transformers"])
def test_what_is_counted_is_what_is_saved(build, tmp_path):
    model = {
        "timm": lambda: timm.create_model("test_resnet_tsbn", num_classes={"b": 3, "a": 7}),
        "kept affine": lambda: timm.create_model("test_resnet_tsbn", num_classes={"b": 3, "a": 7}, keep_affine=True),
        "transformers": lambda: TsbnForMultiTask.from_backbone(
            "timm/test_resnet", [Task("d", "depth"), Task("s", "segmentation", num_classes=3)], pretrained=False
        ),
    }[build]()
    cost = model_cost(model)
    tsbn_hub.save_pretrained(model, tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        saved = sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    assert cost.parameters + cost.buffers == saved
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    of_tasks = sum(task.head_parameters + task.norm_parameters for task in cost.tasks)
    assert cost.parameters == cost.shared_parameters + of_tasks
    assert cost.buffers == cost.shared_buffers + sum(task.buffers for task in cost.tasks)


def test_dense_heads():
    tasks = [Task("d", "depth", head_args={"channels": 8}), Task("s", "segmentation", num_classes=3, head="deeplabv3")]
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)
    cost = model_cost(model)
    assert [task.head for task in cost.tasks] == ["small channels=8", "deeplabv3"]
    for task in cost.tasks:
        assert task.head_parameters == sum(parameter.numel() for parameter in model.head(task.name).parameters())
    trunk = model_cost(timm.create_model("test_resnet_tsbn")).tasks[0].buffers
    assert cost.tasks[0].buffers == trunk + 2 * 8 + 1, "the head's BatchNorm"
    assert cost.tasks[0].classes is None and cost.tasks[1].flops > cost.tasks[0].flops


def test_resnet50_as_published():
    cost = model_cost(timm.create_model("resnet50_tsbn", num_classes={"b": 1000, "a": 1000}))
    task = cost.tasks[0]
    plain = timm.create_model("resnet50")
    assert task.norm_parameters == 26_560 and task.buffers == 2 * 26_560 + 53
    # Without the gates, and with the weight and bias that the gates replace: 25.56 M, of the model's paper.
    affine = 2 * task.norm_parameters
    assert cost.shared_parameters + task.head_parameters + affine == sum(p.numel() for p in plain.parameters())
    assert 100 * task.norm_parameters / cost.shared_parameters == pytest.approx(0.113, abs=0.001)
    assert task.flops / 2 == pytest.approx(4.1e9, rel=0.01)  # multiply-adds


def test_the_table_fits_a_terminal():
    from rich.console import Console

    model = timm.create_model("resnet50_tsbn", num_classes={"a_task_of_a_long_name": 1000, "b": 10})
    console = Console(width=100, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(cost_table(model_cost(model)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100 and "…" not in text
    for expected in ("2,049,000", "26,560", "0.11%", "53,173", "3x224x224"):
        assert expected in text, expected


def test_a_plain_model_and_a_headless_one():
    cost = model_cost(timm.create_model("test_resnet", num_classes=7))
    assert [(task.name, task.norm_parameters, task.head_parameters) for task in cost.tasks] == [("default", 0, 97 * 7)]
    with pytest.raises(ValueError, match="no heads"):
        model_cost(tsbn_hub.TsbnModel.from_backbone("timm/test_resnet", ["a"], pretrained=False))


@pytest.mark.parametrize("name", ["cait_xxs24_224", "pit_ti_224"])
def test_a_network_whose_blocks_are_given_a_part_of_a_parameter(name):
    """The hooks of torch's own counter fail on the class token of these without gradients."""
    with torch.inference_mode():
        cost = model_cost(timm.create_model(f"{name}_tsbn", tasks=["a", "b"], num_classes=10))
    assert cost.flops == 2 * cost.tasks[0].flops > 0
