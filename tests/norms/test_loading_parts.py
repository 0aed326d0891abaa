"""Loading a part of a state dict changes what the part names and nothing else; a plain network's is taken whole."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tsbn_hub.norms import TaskModule, TaskNorm, convert

TASKS = ["second", "first"]
NORMS = {
    "BatchNorm": lambda: nn.BatchNorm2d(8),
    "BatchNorm without affine": lambda: nn.BatchNorm2d(8, affine=False),
    "BatchNorm without anything": lambda: nn.BatchNorm2d(8, affine=False, track_running_stats=False),
    "GroupNorm": lambda: nn.GroupNorm(2, 8),
    "GroupNorm without affine": lambda: nn.GroupNorm(2, 8, affine=False),
    "LayerNorm without affine": lambda: nn.LayerNorm(6, elementwise_affine=False),
}
STYLES = {
    "gates": {},
    "gates at 0.3": {"gate_init": 0.3},
    "without affine": {"keep_affine": False},
    "affine": {"norm": "affine"},
}


def plain(name: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), NORMS[name](), nn.ReLU(), nn.Conv2d(8, 4, 1))


def build(name: str, **style: object) -> TaskModule:
    return convert(plain(name), TASKS, gated="*", **style)


def trained(net: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
        for buffer in net.buffers():
            buffer.fill_(3)
    return net.eval()


def images() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(4, 3, 8, 8)


def others(net: nn.Module) -> dict[str, Tensor]:
    """What is not the norm's."""
    return {name: torch.rand_like(value) for name, value in net.state_dict().items() if not name.startswith("1.")}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("name", NORMS)
def test_a_part_changes_nothing_else(name, style):
    net = trained(build(name, **style))
    before, part = copy.deepcopy(net.state_dict()), others(net)
    missing, unexpected = net.load_state_dict(part, strict=False)
    assert not unexpected
    assert set(missing) == {key for key in before if key.startswith("1.") and "num_batches" not in key}
    for key, value in net.state_dict().items():
        assert torch.equal(value, part.get(key, before[key])), key


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("name", [name for name in NORMS if "without" in name])
def test_a_whole_plain_state_dict_resets_what_was_trained(name, style):
    """Also where the plain norm has no entry that could say so; and on the device of the checkpoint."""
    source, x = trained(plain(name)), images()
    with torch.device("meta"):
        sketch = build(name, **style)
    for net, assign in ((trained(build(name, **style)), False), (sketch.eval(), True)):
        net.load_state_dict(source.state_dict(), assign=assign)
        for output in net(x).values():
            expected = source(x)
            if style.get("keep_affine") is not False:
                torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("name", ["BatchNorm", "BatchNorm without affine", "GroupNorm"])
def test_an_own_state_dict_is_not_completed(name):
    net, other = trained(build(name, norm="affine")), build(name, norm="affine")
    other.load_state_dict(net.state_dict())
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in other.state_dict().items())
    lacking = {key: value for key, value in net.state_dict().items() if key != "1.weight"}
    with pytest.raises(RuntimeError, match=r'Missing key.*"1\.weight"'):
        other.load_state_dict(lacking)


def test_all_but_the_gates_is_ambiguous():
    """A plain network's weights look the same. Of a BatchNorm the statistics tell."""
    net = trained(build("GroupNorm"))
    before = copy.deepcopy(net.state_dict())
    part = {key: torch.rand_like(value) for key, value in before.items() if "gate" not in key}
    with pytest.raises(RuntimeError, match=r"1\.weight and no gates.*strict=True.*\*\*model\.state_dict\(\)"):
        net.load_state_dict(part, strict=False)
    with pytest.raises(RuntimeError, match="no gates"):
        nn.Sequential(net).load_state_dict({f"0.{key}": value for key, value in part.items()}, strict=False)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    net.load_state_dict({**before, **part})  # the ways out
    assert torch.equal(net[1].gate_logits, before["1.gate_logits"]) and torch.equal(net[1].weight, part["1.weight"])
    net.load_state_dict(part)
    assert not net[1].gate_logits.any() and torch.equal(net[1].weight, 2 * part["1.weight"])
    net.load_state_dict(part, strict=False)  # nothing is lost now

    net = trained(build("BatchNorm"))
    before = copy.deepcopy(net.state_dict())
    part = {key: torch.rand_like(value) for key, value in before.items() if "gate" not in key and "num" not in key}
    net.load_state_dict(part, strict=False)
    assert torch.equal(net[1].gate_logits, before["1.gate_logits"]) and torch.equal(net[1].weight, part["1.weight"])


def test_what_is_no_state_dict():
    with pytest.raises(TypeError, match="maps names to tensors; this is list"):
        build("BatchNorm").load_state_dict([])


def test_norms_know_whether_they_have_learned():
    net = build("BatchNorm", gate_init=0.3)
    norm = net[1]
    assert isinstance(norm, TaskNorm) and not norm.has_learned() and trained(net)[1].has_learned()
