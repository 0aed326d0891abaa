"""transformers' Trainer over two processes, with labels that lie unevenly, is that of one process on joined batches.

Run as a script, this file is one of the processes.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training import processes
from tests.training.test_hf_trainer import VIT, new_model, samples, trained


def run(folder, processes):
    """Train, and evaluate on data that do not divide by the processes."""
    data = samples(("a", "c"), ("b",), ("a",), ("a",), ("b",), (), ("c",), ("c", "a"), (), ())
    model = new_model(VIT).double()
    for sample in data:
        sample["pixel_values"] = sample["pixel_values"].double()
    options = dict(per_device_train_batch_size=8 // processes, max_steps=5, logging_steps=1, max_grad_norm=0)
    if processes > 1:
        options["ddp_backend"] = "gloo"
    trainer = trained(model, data, folder, optim="sgd", optim_args="momentum=0.9", evaluation=data, **options)
    scores = trainer.evaluate()
    if trainer.is_world_process_zero():
        losses = [{key: value for key, value in line.items() if "loss" in key} for line in trainer.state.log_history]
        torch.save((trainer.model.state_dict(), losses, scores["eval_loss"]), Path(folder) / "result.pt")


def start_with_torchrun(folder):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run([*launch, "-m", __name__, str(folder)], check=True, capture_output=True)


def start_as_torchrun_does(folder):
    codes = processes.train(folder, 2, target=run, arguments=[2])
    assert codes == [0, 0], [processes.printed(folder, rank) for rank in range(2)]


@pytest.mark.parametrize(
    "start", [pytest.param(start_with_torchrun, marks=pytest.mark.nightly), start_as_torchrun_does]
)
def test_two_processes_are_one(tmp_path, start):
    run(tmp_path / "one", 1)
    start(tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "result.pt") for name in ("one", "two"))
    for key, tensor in one[0].items():
        torch.testing.assert_close(two[0][key], tensor, msg=key, rtol=1e-5, atol=1e-7)
    assert len(one[1]) == len(two[1]) and two[2] == pytest.approx(one[2], rel=1e-5)
    for line, other in zip(one[1], two[1], strict=True):
        assert other == pytest.approx(line, rel=1e-4)


if __name__ == "__main__":
    run(sys.argv[1], 2)
