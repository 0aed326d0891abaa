"""What heads get from a native backbone: its feature maps, and the vector that its own classifier gets."""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import timm
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, Swinv2Model, TimmWrapperConfig, TimmWrapperModel

from ...files.checkpoints import CheckpointError
from ..heads import FeatureInfo, Features
from .architectures import backbone_class_of, classification_class_of, refusal
from .norms import register_norms_of


@dataclass
class FeatureLayout:
    """Which of a backbone's hidden states are its feature maps.

    Args:
        indices: Of the hidden states: the last one of each resolution, or, where all have one resolution (a plain
            ViT), four that are evenly spaced.
        channels: Of each map.
        strides: Pixels of the image for one of each map.
        pooled: The size of the vector that the backbone's own classifier gets.
    """

    indices: list[int]
    channels: list[int]
    strides: list[int]
    pooled: int

    @property
    def info(self) -> FeatureInfo:
        """What a head needs to know."""
        return FeatureInfo(self.channels, self.strides, self.pooled)


def feature_layout(config: PreTrainedConfig) -> FeatureLayout:
    """The layout of the backbone of a native configuration, from a run without data: once for what says the same.

    Raises:
        ValueError: if the architecture cannot be a backbone.
    """
    code: object = backbone_class_of(config)
    if isinstance(config, TimmWrapperConfig) and timm.is_model(config.architecture):
        code = timm.model_entrypoint(config.architecture)  # who develops one may register it again
    return deepcopy(_layout_of(_Described(code, config.to_json_string(use_diff=False), config)))


@dataclass(frozen=True)
class _Described:
    """A configuration, which is equal to another one that says the same of the same code."""

    code: object
    said: str
    config: PreTrainedConfig = field(compare=False)


@lru_cache(maxsize=128)
def _layout_of(described: _Described) -> FeatureLayout:
    config = described.config
    with torch.device("meta"):
        reader = FeatureReader(deepcopy(config))
        channels, height, width = image_shape_of(config)
        image = torch.zeros(2, channels, height, width)
    reader.backbone.eval()
    # What a forward makes anew may be kept for all models (BEiT's positions are): it must have values.
    with torch.device("cpu"), torch.no_grad():
        states, pooled = _read_for(config, reader, image)
    if states is None:
        return FeatureLayout([], [], [], pooled.shape[-1])
    strides = [_stride(height, state.shape[-2]) for state in states]
    # The image itself is no feature map: DINOv3's ConvNeXt has it among its hidden states.
    indices = [at for at, stride in enumerate(strides) if stride > 1]
    if not indices:
        raise ValueError(refusal(config, "its hidden states are all of the size of the image"))
    if len({strides[at] for at in indices}) > 1:
        # A pyramid begins at stride 4, as decoders expect; what is finer is the stem's.
        last_of_stride = {strides[at]: at for at in indices if strides[at] >= min(4, max(strides))}
        indices = sorted(last_of_stride.values())
    else:
        blocks = len(indices) - (not isinstance(reader.backbone, TimmWrapperModel))  # without the embeddings
        first = indices[-1] - blocks
        indices = sorted({first + max(1, round(blocks * part / 4)) for part in (1, 2, 3, 4)})
    return FeatureLayout(
        indices, [states[at].shape[1] for at in indices], [strides[at] for at in indices], pooled.shape[-1]
    )


def _read_for(config: PreTrainedConfig, reader: "FeatureReader", image: Tensor) -> tuple[list[Tensor] | None, Tensor]:
    name = type(reader.backbone).__name__
    try:
        states, pooled = reader.read(image)
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # what an architecture asks of its input can fail anywhere in it
        told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        without = "without data, which would tell the sizes of its features," if "meta" in told else "alone"
        said = f"a forward of {name} with images {tuple(image.shape[1:])} {without} fails: {told}"
        raise ValueError(refusal(config, said)) from error
    if any(len(each) != len(image) for each in [pooled, *(states or [])]):
        raise ValueError(refusal(config, f"{name} does not keep the images of a batch apart"))
    return states, pooled


class FeatureReader:
    """A native backbone, and how to read what heads need from it.

    The vector for linear heads is what transformers' own `…ForImageClassification` gives to its classifier, so that a
    classification task can be folded into that class.

    Args:
        config: The backbone's native configuration. The backbone is built from it.

    Attributes:
        backbone: What AutoModel builds.
        classification: The native `…ForImageClassification` around it, with the vector for its logits; None where the
            architecture has none that is the backbone and one linear layer.
        layers: Those of the `…ForImageClassification` that are not the backbone's, such as a dropout. The model holds
            them, so that they follow its mode.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        self.backbone: PreTrainedModel = backbone_class_of(config)(config, **pooler_of_classification(config))
        self.classification = None if isinstance(self.backbone, TimmWrapperModel) else _classification(self.backbone)
        self.layers = [] if self.classification is None else _layers_behind(self.classification)
        register_norms_of(self.backbone)

    def idle_parameters(self) -> list[nn.Parameter]:
        """Those that no head is reached by.

        A pooler that `…ForImageClassification` builds its backbone without; what stands for masked patches.
        """
        idle = [parameter for name, parameter in self.backbone.named_parameters() if name.endswith(".mask_token")]
        pooler = getattr(self.backbone, "pooler", None)
        if self.classification is None or self.classification.reads_pooler or pooler is None:
            return idle
        return [*idle, *pooler.parameters()]

    def missing_in(self, plain: PreTrainedModel) -> list[nn.Parameter]:
        """Those that a plain backbone may lack: what no head is reached by, and a pooler that it was built without."""
        pooler: nn.Module | None = getattr(self.backbone, "pooler", None)
        if pooler is None or getattr(plain, "pooler", None) is not None:
            return self.idle_parameters()
        return [*self.idle_parameters(), *pooler.parameters()]

    def read(self, pixel_values: Tensor, maps: bool = True, **kwargs: Any) -> tuple[list[Tensor] | None, Tensor]:
        """All hidden states as maps (B, C, H, W), None if they are not asked for, and the pooled vector (B, D)."""
        if isinstance(self.backbone, TimmWrapperModel):
            return self._read_timm(self.backbone, pixel_values, maps)
        if isinstance(self.backbone, Swinv2Model) and maps:
            return self._read_swinv2(self.backbone, pixel_values)
        if maps and "output_hidden_states_before_downsampling" in _parameters(getattr(self.backbone, "encoder", None)):
            kwargs["output_hidden_states_before_downsampling"] = True
        if "interpolate_pos_encoding" in _parameters(self.backbone):
            kwargs.setdefault("interpolate_pos_encoding", self._interpolates(pixel_values))
        model = self.backbone if self.classification is None else self.classification
        with _as_traced() if self._is_for_any_size(pixel_values) else nullcontext():
            outputs = model(pixel_values, output_hidden_states=maps, **kwargs)
        pooled = _pooled(outputs) if self.classification is None else outputs.logits
        if not maps:
            return None, pooled
        states = getattr(outputs, "reshaped_hidden_states", None) or getattr(outputs, "hidden_states", None)
        if states is None or not all(isinstance(state, Tensor) for state in states):
            raise ValueError(f"{type(self.backbone).__name__} shows no hidden states: no head of maps can stand on it.")
        return as_maps(states, pixel_values, self.backbone.config), pooled

    def _interpolates(self, pixel_values: Tensor) -> bool:
        """Whether position embeddings are interpolated: for images of another size, and in graphs for any size."""
        _, *usual = image_shape_of(self.backbone.config)
        return self._is_for_any_size(pixel_values) or list(pixel_values.shape[-2:]) != usual

    def _is_for_any_size(self, pixel_values: Tensor) -> bool:
        """Whether torch.export makes a graph for images of any size.

        Windows, as of Swin, are cut by the very numbers of patches: a graph of them is for one size.
        """
        if torch.compiler.is_dynamo_compiling() or not torch.compiler.is_exporting():
            return False
        is_open = any(isinstance(length, torch.SymInt) for length in pixel_values.shape[-2:])
        return is_open and not hasattr(self.backbone.config, "window_size")

    def _read_timm(
        self, backbone: TimmWrapperModel, pixel_values: Tensor, maps: bool
    ) -> tuple[list[Tensor] | None, Tensor]:
        model, x = backbone.timm_model, pixel_values.to(backbone.dtype)
        if not maps or not hasattr(model, "forward_intermediates"):
            return None, model.forward_head(model.forward_features(x))
        last, states = model.forward_intermediates(x)
        return states, model.forward_head(last)

    def _read_swinv2(self, backbone: Swinv2Model, pixel_values: Tensor) -> tuple[list[Tensor], Tensor]:
        # Its own forward does not ask the encoder for the maps before their downsampling, as Swin's does.
        tokens, grid = backbone.embeddings(pixel_values, interpolate_pos_encoding=self._interpolates(pixel_values))
        outputs = backbone.encoder(
            tokens, grid, output_hidden_states=True, output_hidden_states_before_downsampling=True
        )
        pooled = backbone.pooler(backbone.layernorm(outputs.last_hidden_state).transpose(1, 2))
        return list(outputs.reshaped_hidden_states), pooled.flatten(1)

    def features(self, layout: FeatureLayout, pixel_values: Tensor, maps: bool = True, **kwargs: Any) -> Features:
        """The feature maps of a layout, from fine to coarse, and the pooled vector."""
        states, pooled = self.read(pixel_values, maps, **kwargs)
        return Features([] if states is None else [states[at] for at in layout.indices], pooled)


@contextmanager
def _as_traced() -> Iterator[None]:
    """Within the block transformers' networks interpolate position embeddings for the usual size, too.

    They do so where torch.jit traces, so that a graph is for any size; of torch.export they do not know. At the usual
    size, what is interpolated is what was there.
    """
    is_tracing = torch.jit.is_tracing
    torch.jit.is_tracing = lambda: True
    try:
        yield
    finally:
        torch.jit.is_tracing = is_tracing


def pooler_of_classification(config: PreTrainedConfig) -> dict[str, bool]:
    """The keyword with which AutoModel builds the pooler that `…ForImageClassification` reads, where it has none."""
    base_class, classification_class = backbone_class_of(config), classification_class_of(config)
    pooler = inspect.signature(base_class.__init__).parameters.get("add_pooling_layer")
    if pooler is None or pooler.default is not False or classification_class is None:
        return {}
    with torch.device("meta"):
        base = classification_class(deepcopy(config)).base_model
    return {} if getattr(base, "pooler", None) is None else {"add_pooling_layer": True}


def classifier_name(model: PreTrainedModel) -> str | None:
    """The name of the linear layer that makes a classification model's logits; None if it is not all behind its trunk.

    A further layer with weights, as a norm is, would be one that neither the backbone nor a linear head has.
    """
    own = {id(module) for module in model.base_model.modules()}
    behind = {name: module for name, module in model.named_modules() if id(module) not in own}
    weighted = [name for name, module in behind.items() if list(module.parameters(recurse=False))]
    return weighted[0] if len(weighted) == 1 and isinstance(behind[weighted[0]], nn.Linear) else None


def _layers_behind(model: PreTrainedModel) -> list[nn.Module]:
    """The layers of a classification model that are not its backbone's."""
    return [child for child in model.children() if child is not model.base_model]


def _classification(backbone: PreTrainedModel) -> PreTrainedModel | None:
    """The `…ForImageClassification` around a backbone, with its pooled vector for logits, where that is all of it."""
    classification_class = classification_class_of(backbone.config)
    if classification_class is None:
        return None
    with torch.device("meta"):
        model = classification_class(backbone.config)
    classifier = classifier_name(model)
    if classifier is None:
        return None
    model.reads_pooler = getattr(model.base_model, "pooler", None) is not None
    parent, _, child = classifier.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    setattr(model, model.base_model_prefix, backbone)
    return model


def _stride(height: int, rows: int) -> int:
    """Pixels for one row of a map; the next power of two where the map was rounded up."""
    return height // rows if height % rows == 0 else 2 ** round(math.log2(height / rows))


def as_maps(states: Sequence[Tensor], pixel_values: Tensor, config: PreTrainedConfig) -> list[Tensor]:
    """Hidden states as maps: tokens (B, N, C), without those that stand for no patch, in the grid of their patches."""
    patch = getattr(config, "patch_size", None)
    patch = patch[0] if isinstance(patch, list | tuple) else patch
    size = (pixel_values.shape[-2], pixel_values.shape[-1])
    maps: list[Tensor] = []
    for state in states:
        grid = (size[0] // patch, size[1] // patch) if isinstance(patch, int) else None
        if state.ndim == 3 and (grid is None or (maps and state.shape[1] < math.prod(grid))):
            grid = _grid_of(state.shape[1], size)  # a pyramid of tokens
        if state.ndim != 4 and (state.ndim != 3 or grid is None or not 0 < math.prod(grid) <= state.shape[1]):
            raise ValueError(
                f"No feature map can be made of a hidden state {tuple(state.shape)} of {config.model_type}, for images "
                f"of {size} pixels and patches of {patch}: its tokens are not those of all patches."
            )
        maps.append(state if state.ndim == 4 else _as_map(state, grid or size))
    return maps


def _as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    patches = tokens[:, tokens.shape[1] - math.prod(grid) :]
    return patches.transpose(1, 2).unflatten(-1, grid)


def _grid_of(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of tokens that are the patches of an image, and one for its class at most."""
    grids = ((size[0] // stride, size[1] // stride) for stride in range(1, min(size) + 1))
    return next((grid for grid in grids if tokens - 1 <= math.prod(grid) <= tokens), None)


def _pooled(outputs: Any) -> Tensor:
    pooled = getattr(outputs, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    last = getattr(outputs, "last_hidden_state", None)
    if last is None and "feature_maps" in outputs:
        last = outputs.feature_maps[-1]
    if last is None:
        raise ValueError(f"what it returns, {type(outputs).__name__}, has no vector of the image, and no last state")
    return last.mean(1) if last.ndim == 3 else last.flatten(2).mean(-1)  # tokens (B, N, C), or a map


def _parameters(module: nn.Module | None) -> Any:
    return () if module is None else inspect.signature(module.forward).parameters


def image_shape_of(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images that the backbone of a native configuration is for."""
    if isinstance(config, TimmWrapperConfig):
        known = timm.get_pretrained_cfg(config.architecture)
        channels, *size = (3, 224, 224) if known is None else known.input_size
        arguments = config.model_args or {}
        channels, size = arguments.get("in_chans", channels), arguments.get("img_size", size)
    else:
        channels, size = getattr(config, "num_channels", 3), getattr(config, "image_size", 224)  # type: ignore[arg-type]
    height, width = (size, size) if isinstance(size, int) else size
    return channels, height, width
