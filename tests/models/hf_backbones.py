"""A tiny model, with random weights, of every architecture of transformers and timm that these tests are for."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from transformers import (
    AutoModel,
    BeitConfig,
    ConvNextConfig,
    ConvNextV2Config,
    DeiTConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ConvNextConfig,
    DINOv3ViTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    SegformerConfig,
    SwinConfig,
    Swinv2Config,
    TimmWrapperConfig,
    ViTConfig,
)

from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask, TsbnModel

NAMES = ["z", "a", "m"]  # not in alphabetical order
TASKS = [
    Task("z", "segmentation", labels=["floor", "wall", "chair"], head_args={"channels": 8}),
    Task("a", "classification", labels=["wool", "cotton", "silk", "jute"]),
    Task("m", "depth", head_args={"channels": 8}),
]


class Tiny(NamedTuple):
    """A tiny backbone.

    Attributes:
        config: Its native configuration.
        size: Height and width of its images.
        checkpoints: Whether it supports gradient checkpointing.
    """

    config: PreTrainedConfig
    size: tuple[int, int]
    checkpoints: bool = True

    def plain(self, **options: Any) -> PreTrainedModel:
        """The native model, in evaluation mode, with no two channels alike."""
        torch.manual_seed(0)
        return randomized(AutoModel.from_config(copy.deepcopy(self.config), **options)).eval()

    def backbone(self, tasks: Any = NAMES, **options: Any) -> TsbnModel:
        """With task norms, no two tasks alike, which run one after another: bit for bit as the plain model."""
        return randomized(TsbnModel.from_backbone(self.plain(), tasks, **{"execution": "sequential", **options}))

    def multi_task(self, tasks: Any = TASKS, **options: Any) -> TsbnForMultiTask:
        """The same, with heads."""
        return randomized(TsbnForMultiTask.from_backbone(self.plain(), tasks, **{"execution": "sequential", **options}))

    def images(self, batch: int = 2) -> Tensor:
        """The same ones for the same size of the batch."""
        return torch.randn(batch, 3, *self.size, generator=torch.Generator().manual_seed(batch))

    def labels(self, batch: int = 2) -> dict[str, Tensor]:
        """Of `TASKS`, with values that stand for no target among them."""
        generator = torch.Generator().manual_seed(batch)
        classes = torch.randint(-1, 3, (batch, *self.size), generator=generator)
        return {
            "z": classes.where(classes >= 0, -100),
            "a": torch.randint(0, 4, (batch,), generator=generator),
            "m": (4 * torch.rand(batch, *self.size, generator=generator) - 1).clamp(min=0),
        }


_TOKENS = dict(
    hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=48, image_size=32, patch_size=8
)
_WINDOWS = dict(image_size=64, patch_size=4, embed_dim=16, depths=[1, 2, 1], num_heads=[2, 2, 4], window_size=4)
_STAGES = dict(hidden_sizes=[16, 24, 32, 40], depths=[1, 2, 1, 1])

BACKBONES = {
    "vit": Tiny(ViTConfig(**_TOKENS), (32, 32)),
    "deit": Tiny(DeiTConfig(**_TOKENS), (32, 32)),
    "beit": Tiny(BeitConfig(**_TOKENS, use_relative_position_bias=True), (32, 32)),
    "swin": Tiny(SwinConfig(**_WINDOWS), (64, 64)),
    "swinv2": Tiny(Swinv2Config(**_WINDOWS), (64, 64)),
    "dinov2": Tiny(Dinov2Config(**_TOKENS, mlp_ratio=2), (32, 32)),
    "dinov2_with_registers": Tiny(Dinov2WithRegistersConfig(**_TOKENS, mlp_ratio=2), (32, 32)),
    "dinov3_vit": Tiny(DINOv3ViTConfig(**_TOKENS, num_register_tokens=2), (32, 48)),
    "convnext": Tiny(ConvNextConfig(**_STAGES), (64, 96), checkpoints=False),
    "convnextv2": Tiny(ConvNextV2Config(**_STAGES), (64, 96), checkpoints=False),
    "dinov3_convnext": Tiny(DINOv3ConvNextConfig(**_STAGES), (64, 96), checkpoints=False),
    "resnet": Tiny(
        ResNetConfig(embedding_size=8, hidden_sizes=[16, 24, 32], depths=[1, 2, 1]), (64, 96), checkpoints=False
    ),
    "segformer": Tiny(
        SegformerConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 2, 1, 1], num_attention_heads=[1, 2, 2, 4]), (64, 96)
    ),
    "timm/test_resnet": Tiny(TimmWrapperConfig(architecture="test_resnet"), (64, 96)),
    "timm/test_vit": Tiny(TimmWrapperConfig(architecture="test_vit"), (160, 160)),
    "timm/test_convnext": Tiny(TimmWrapperConfig(architecture="test_convnext"), (64, 96)),
    "timm/test_efficientnet": Tiny(TimmWrapperConfig(architecture="test_efficientnet"), (64, 96)),
    "timm/mobilenetv3_small_050": Tiny(TimmWrapperConfig(architecture="mobilenetv3_small_050"), (64, 96)),
}
SHALLOW = BACKBONES | {"vit": Tiny(ViTConfig(**{**_TOKENS, "num_hidden_layers": 1}), (32, 32))}
"""For graphs, which take time by the layer."""
FEW = ["vit", "swin", "convnext", "resnet", "timm/test_resnet"]  # of every kind one, for what no architecture changes
FEWEST = ["vit", "resnet", "timm/test_resnet"]  # each day: norms of tokens and of maps, and a model of timm

SOME = cases_of(BACKBONES, FEWEST)  # nightly all


def each_of(names: Iterable[str], table: Mapping[str, Tiny] = BACKBONES) -> pytest.MarkDecorator:
    """Run a test with each of these backbones, as `tiny`."""
    names = list(names)
    return pytest.mark.parametrize("tiny", [table[name] for name in names], ids=names)


def each_day(part: int, parts: int = 4) -> list[str]:
    """The fewest backbones, and one part of the others: a test has one part of them, and another test the next."""
    return [*FEWEST, *[name for name in BACKBONES if name not in FEWEST][part::parts]]


def backbones(part: int) -> pytest.MarkDecorator:
    """Run a test with each backbone, each day with one part of them."""
    return each_of(cases_of(BACKBONES, each_day(part)))


some_backbones, few_backbones = each_of(SOME), each_of(cases_of(FEW, FEWEST))


@torch.no_grad()
def randomized(model: Any) -> Any:
    """The model, with random gates and statistics, and no parameter left whose rows, or values, all start alike."""
    torch.manual_seed(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        kind = name.rpartition(".")[2]
        if kind == "gate_logits":
            tensor.normal_()
        elif kind == "running_mean":
            tensor.normal_(0, 0.2)
        elif kind == "running_var":
            tensor.uniform_(0.5, 2)
        elif isinstance(tensor, nn.Parameter) and tensor.ndim and (tensor == tensor[:1]).all():
            tensor += 0.3 * torch.randn_like(tensor)
    return model


def leaves(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def assert_equal(actual: Any, expected: Any, what: object = "", bound: float = 0.0) -> None:
    """No tensor of the two outputs differs by more than `bound` of its largest value; a NaN fails."""
    assert len(leaves(actual)) == len(leaves(expected)) > 0, what
    for one, other in zip(leaves(actual), leaves(expected), strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype, what
        error = (one.double() - other.double()).abs().max().item()
        assert error <= bound * other.double().abs().max().item(), f"{what}: error {error}"


def assert_states_equal(model: nn.Module, other: nn.Module) -> None:
    """Parameters and buffers, those that are not saved, too, bit for bit."""
    for mine, theirs in (
        (model.state_dict(), other.state_dict()),
        (dict(model.named_buffers()), dict(other.named_buffers())),
    ):
        assert mine.keys() == theirs.keys()
        for key, tensor in theirs.items():
            assert mine[key].dtype == tensor.dtype and torch.equal(mine[key], tensor), key
