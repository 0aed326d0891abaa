"""Outputs by task: in one pass or several, the same."""

import pytest
import timm
import torch
from torch import nn

import tsbn_hub
from tsbn_hub import TsbnForMultiTask
from tsbn_hub.models.outputs import outputs_by_task

from .hf_backbones import BACKBONES, TASKS, randomized

CLASSES = {"z": 3, "a": 7, "m": 5}


def timm_model(norm):
    torch.manual_seed(0)
    return randomized(timm.create_model("test_resnet_tsbn", num_classes=CLASSES, norm=norm))


def hf_model(norm):
    torch.manual_seed(0)
    return randomized(TsbnForMultiTask.from_backbone(BACKBONES["resnet"].config, TASKS, norm=norm))


def any_model(norm):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))
    return randomized(tsbn_hub.convert(plain, tasks=list(CLASSES), norm=norm))


@pytest.mark.parametrize("norm", ["sigmoid", "affine", "statistics", "shared"])
@pytest.mark.parametrize("build", [timm_model, hf_model, any_model])
@torch.no_grad()
def test_any_tasks(build, norm):
    model, x = build(norm).eval(), torch.rand(2, 3, 64, 64)
    expected = {task: getattr(output := model(x, task=task), "logits", {task: output})[task] for task in model.tasks}
    for chosen in ([*model.tasks], [model.tasks[-1]], model.tasks[:0:-1]):
        for active in (None, model.tasks[0]):
            model.set_task(active)
            outputs = outputs_by_task(model, x, chosen)
            assert list(outputs) == chosen and model.task == active
            for task in chosen:  # all heads of timm together are one product of another shape
                torch.testing.assert_close(outputs[task], expected[task], rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_plain_model():
    model, x = timm.create_model("test_resnet").eval(), torch.rand(2, 3, 64, 64)
    assert torch.equal(outputs_by_task(model, x, ["default"])["default"], model(x))
