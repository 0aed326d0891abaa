"""Cutting a network into stages, between which a rival does its part."""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import TimmWrapperModel

from ..models.hf import FeatureReader, TsbnConfig
from ..models.hf.features import image_shape_of

_COARSEST_STEM = 4


@dataclass(frozen=True)
class Stage:
    """A part of a network, up to one of its feature maps.

    Args:
        modules: The names of its modules, which run one after another.
        channels: Of its output.
        before_last: How many of the modules come before the last block: what they give has the shape of the output.
            All of them, where no block does.
        state: Which of the network's feature maps its output is.
    """

    modules: tuple[str, ...]
    channels: int
    before_last: int
    state: int


@dataclass(frozen=True)
class Stages:
    """How a network is cut.

    Args:
        stages: In order. The stem, what is finer than a quarter of the image, belongs to the first one.
        rest: The names of the modules behind the last stage and before the pooling, such as a norm.
    """

    stages: tuple[Stage, ...]
    rest: tuple[str, ...]


def run(network: nn.Module, modules: Sequence[str], x: Tensor) -> Tensor:
    """What modules of a network give, one after another."""
    for name in modules:
        x = network.get_submodule(name)(x)
    return x


def network_of(reader: FeatureReader) -> nn.Module:
    """The network of timm in a reader.

    Raises:
        ValueError: if it is of another library.
    """
    if not isinstance(reader.backbone, TimmWrapperModel):
        raise ValueError(_cannot(type(reader.backbone).__name__, "it is no network of timm"))
    network: nn.Module = reader.backbone.timm_model
    return network


def stages_of(config: TsbnConfig) -> Stages:
    """How the backbone of a config is cut into stages, from a run without data.

    Raises:
        ValueError: if it cannot be: its modules do not run one after another, each on what the one before gives.
    """
    with torch.device("meta"):
        network = network_of(FeatureReader(deepcopy(config.backbone_config))).eval()
        image = torch.zeros(2, *image_shape_of(config.backbone_config))
    name = str(getattr(config.backbone_config, "architecture", type(network).__name__))
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(_cannot(name, "it has no feature maps"))
    trace = _Trace(network)
    last, states = trace.run(image)
    chain = list(trace.unfolded(trace.chain("", image, last), states))
    # Of several modules with one output, such as an activation in place, the last one ends the stage.
    ends = [max((at for at, call in enumerate(chain) if call.output is state), default=-1) for state in states]
    if not chain or -1 in ends or sorted(ends) != ends:
        raise ValueError(_cannot(name, "its feature maps are not what a chain of its modules gives"))
    coarse = [at for at, state in enumerate(states) if image.shape[-2] >= _COARSEST_STEM * state.shape[-2]]
    coarse = coarse or [len(states) - 1]
    stages, start = [], 0
    for state in coarse:
        end = ends[state] + 1
        inner = [block for call in chain[start:end] for block in trace.blocks(call)]
        before = _before_last(inner, states[state])
        names = tuple(call.name for call in inner)
        stages.append(Stage(names, states[state].shape[1], before, state))
        start = end
    return Stages(tuple(stages), tuple(call.name for call in chain[start:]))


@dataclass(frozen=True)
class _Call:
    name: str
    input: Tensor
    output: Tensor
    convolves: bool


class _Trace:
    """Which modules a forward calls, and on what."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.calls: dict[str, _Call] = {}
        self.times: Counter[str] = Counter()

    def run(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last features of an image, and the feature maps."""
        hooks = [
            module.register_forward_hook(self._hook(name)) for name, module in self.network.named_modules() if name
        ]
        try:
            with torch.no_grad(), torch.device("cpu"):
                last, states = self.network.forward_intermediates(image)  # type: ignore[operator]
        finally:
            for hook in hooks:
                hook.remove()
        return last, list(states)

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.times[name] += 1
            if len(inputs) == 1 and isinstance(output, Tensor):
                convolves = any(isinstance(part, nn.Conv2d) for part in module.modules())
                self.calls[name] = _Call(name, inputs[0], output, convolves)

        return note

    def chain(self, parent: str, x: Tensor, output: Tensor) -> list[_Call]:
        """The calls within a module that lead from its input to its output; none, if they are no chain."""
        calls = [name for name in self.times if self._caller(name) == parent]
        found: list[_Call] = []
        for name in calls:
            call = self.calls.get(name)
            if call is None or call.input is not x or self.times[name] > 1:
                return []
            found, x = [*found, call], call.output
        return found if x is output else []

    def _caller(self, name: str) -> str:
        """The nearest module around one that was called itself: a list of modules is not."""
        outer = name.rpartition(".")[0]
        while outer and outer not in self.times:
            outer = outer.rpartition(".")[0]
        return outer

    def unfolded(self, chain: list[_Call], states: Sequence[Tensor]) -> Iterator[_Call]:
        """A chain, with the parts of those modules that have a feature map within."""
        for call in chain:
            inside = [other for name, other in self.calls.items() if name.startswith(f"{call.name}.")]
            holds = any(other.output is state for other in inside for state in states if state is not call.output)
            parts = self.chain(call.name, call.input, call.output) if holds else []
            yield from self.unfolded(parts, states) if parts else [call]

    def blocks(self, call: _Call) -> list[_Call]:
        """The parts of a call of several blocks, each with a convolution; else the call itself."""
        parts = self.chain(call.name, call.input, call.output)
        if not parts or not all(part.convolves for part in parts):
            return [call]
        is_row = {part.name: isinstance(self.network.get_submodule(part.name), nn.Sequential) for part in parts}
        return [block for part in parts for block in (self.blocks(part) if is_row[part.name] else [part])]


def _before_last(calls: Sequence[_Call], output: Tensor) -> int:
    fitting = [
        at
        for at, call in enumerate(calls[:-1], 1)
        if call.convolves and call.output is not output and call.output.shape == output.shape
    ]
    return fitting[-1] if fitting else len(calls)


def _cannot(name: str, why: str) -> str:
    return (
        f"{name} cannot be cut into stages: {why}. Networks of timm that can: timm/resnet50, timm/regnety_002, "
        "timm/efficientnet_b0, timm/convnext_tiny and their families."
    )
