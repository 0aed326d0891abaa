"""What is read of a checkpoint, whoever has written it."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import tsbn_hub
from tsbn_hub import CheckpointError


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
@pytest.mark.parametrize("name", ["bn1.gate_logits", "bn1.running_var", "layer1.0.conv1.weight", "fc.bias"])
def test_gates_and_weights_are_floating_point_numbers(name, dtype, tmp_path):
    tsbn_hub.save_pretrained(timm.create_model("test_resnet_tsbn", tasks=["a", "b"], num_classes=3), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {name: state[name].to(dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"must be floating-point numbers and are not: .*{name}"):
        tsbn_hub.from_pretrained(tmp_path)
    with pytest.raises((CheckpointError, RuntimeError), match=f"must be floating-point numbers and are not: .*{name}"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)


def test_half_of_a_character_is_no_name():
    with pytest.raises(ValueError, match="cannot be a task's name: it has half of a character"):
        timm.create_model("test_resnet_tsbn", tasks=["a", "b\ud800"])
