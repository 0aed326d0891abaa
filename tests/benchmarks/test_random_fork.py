"""The trunk that forks at random: which gates run in evaluation, and which learn."""

import pytest
import torch

from benchmarks.random_fork import ForkedNorm
from tsbn_hub import Task, TsbnForMultiTask

STAGES = 4


@pytest.mark.parametrize("task_stages", [0, 1, STAGES])
def test_the_fork(task_stages, monkeypatch):
    tasks = [Task("near", kind="depth"), Task("far", kind="depth")]
    arguments = {"trunk": "random-fork", "trunk_args": {"task_stages": task_stages}}
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False, **arguments).eval()
    norms = [norm for norm in model.modules() if isinstance(norm, ForkedNorm)]
    ran = []
    for norm in norms:
        norm.register_forward_hook(lambda norm, *_: ran.append(norm.task))
    images = torch.rand(2, 3, 32, 32)
    together = model(images).logits
    assert (None in ran) == (task_stages < STAGES) and ("far" in ran) == (task_stages > 0)
    for task, output in together.items():
        torch.testing.assert_close(model(images, task=task).logits[task], output)

    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(STAGES - task_stages))
    sum(output.sum() for output in model.train()(images).logits.values()).backward()
    learned = [norm.of_tasks.of("far").gate_logits.grad is not None for norm in norms]
    assert learned == [norm.shared.gate_logits.grad is None for norm in norms]
    assert any(learned) == (task_stages < STAGES)
