"""The state file gives back what was written, bit for bit, or says that it cannot."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tsbn_hub.training.state.run_state import random_state, read_state, set_random_state, write_state

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = torch.tensor(draw(st.lists(st.floats(width=32), min_size=math.prod(shape), max_size=math.prod(shape))))
    return values.nan_to_num().clamp(-9, 9).reshape(shape).to(draw(st.sampled_from(DTYPES)))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | tensors()
keys = st.text() | st.integers() | st.booleans()
values = st.recursive(
    scalars,
    lambda each: st.lists(each, max_size=3) | st.lists(each, max_size=3).map(tuple) | st.dictionaries(keys, each),
    max_leaves=15,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=st.dictionaries(keys, values, max_size=4))
def test_what_is_written_is_read(state, tmp_path):
    write_state(tmp_path / "state", state)
    assert same(read_state(tmp_path / "state"), state)


def test_bits_are_kept(tmp_path):
    odd = torch.tensor([math.nan, -math.nan, math.inf, -0.0, 5e-324], dtype=torch.float64)
    floats = [math.nan, math.inf, -math.inf, -0.0, 0.1, 5e-324]
    parameter = nn.Parameter(torch.rand(4, 6).t()[1:, ::2])
    write_state(tmp_path / "state", {"odd": odd, "floats": floats, "parameter": parameter, "twice": [odd, odd]})
    state = read_state(tmp_path / "state")
    assert state["odd"].view(torch.int64).tolist() == odd.view(torch.int64).tolist()
    assert np.array(state["floats"]).tobytes() == np.array(floats).tobytes()
    assert torch.equal(state["parameter"], parameter) and not state["parameter"].requires_grad
    assert torch.equal(state["twice"][1][2:], odd[2:])


def test_an_optimizer_goes_on_from_it(tmp_path):
    def steps(optimizer, parameter, number):
        for _ in range(number):
            parameter.grad = parameter.detach() ** 2
            optimizer.step()

    def fresh():
        parameter = nn.Parameter(torch.linspace(-1, 1, 5))
        return parameter, torch.optim.AdamW([{"params": [parameter], "name": "all"}], lr=0.1, betas=(0.8, 0.99))

    whole, optimizer = fresh()
    steps(optimizer, whole, 7)
    first, optimizer = fresh()
    steps(optimizer, first, 3)
    write_state(tmp_path / "state", {"model": first, "optimizer": optimizer.state_dict()})
    second, again = fresh()
    state = read_state(tmp_path / "state")
    second.data.copy_(state["model"])
    again.load_state_dict(state["optimizer"])
    assert again.param_groups[0]["betas"] == (0.8, 0.99)
    steps(again, second, 4)
    assert torch.equal(second, whole)


def test_random_generators(tmp_path):
    def draws():
        return random.random(), random.gauss(0, 1), np.random.randn(3).tolist(), torch.randn(3).tolist()

    random.gauss(0, 1), np.random.randn(1)  # each keeps a second number for the next call
    write_state(tmp_path / "state", random_state(torch.device("cpu")))
    expected = draws()
    draws()
    set_random_state(read_state(tmp_path / "state"), torch.device("cpu"))
    assert draws() == expected


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", 1j, np.float64(1), Path("here"), object, torch.float32])
def test_what_it_cannot_hold(value, tmp_path):
    write_state(tmp_path / "state", {"step": 1})
    with pytest.raises(TypeError, match=f"cannot hold .*, a {type(value).__name__}"):
        write_state(tmp_path / "state", {"step": [value]})
    assert read_state(tmp_path / "state") == {"step": 1} and [path.name for path in tmp_path.iterdir()] == ["state"]


def test_others_can_read_it(tmp_path):
    write_state(tmp_path / "state", {"weights": torch.arange(3.0)})
    with safe_open(tmp_path / "state", "np") as file:
        assert [file.get_tensor(name).tolist() for name in file.keys()] == [[0, 1, 2]]  # noqa: SIM118


def test_every_truncation_is_seen(tmp_path):
    path = tmp_path / "state"
    write_state(path, {"step": 3, "weights": torch.rand(5), "nested": [({}, None)]})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"state is damaged, or not the state of a run.*restart"):
            read_state(path)


def test_every_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "state"
    write_state(path, {"step": 3, "weights": torch.rand(5), "seen": torch.tensor(7), "none": torch.zeros(0)})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for at in [*range(header, len(whole)), whole.index(b"step"), whole.index(b"3]")]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"state is damaged, or not the state of a run.*restart"):
            read_state(path)
    path.write_bytes(whole)
    assert read_state(path)["step"] == 3


@pytest.mark.parametrize(
    "tree",
    [None, "", "{", "[]", "3", '"text"', '{"set": []}', '{"dict": [1]}', '{"dict": 3}', '{"tensor": "1"}',
     '{"dict": [], "list": []}', "{}", '{"list": []}', '{"dict": [["a", {"tensor": ["0"]}]]}',
     '{"dict": [[{"list": []}, 1]]}'],
)  # fmt: skip
def test_a_foreign_tree(tree, tmp_path):
    save_file({"0": torch.ones(1)}, tmp_path / "state", metadata=None if tree is None else {"state": tree})
    with pytest.raises(ValueError, match=r"damaged, or not the state of a run.*restart"):
        read_state(tmp_path / "state")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64) | st.binary(max_size=64).map(lambda each: len(each).to_bytes(8, "little") + each))
def test_any_bytes(content, tmp_path):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged, or not the state of a run.*restart"):
        read_state(tmp_path / "state")
