"""What trunks have in common that do their part between the stages of a network."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..models.heads import Features
from ..models.hf import FeatureReader, Trunk, TsbnConfig, feature_layout_of
from ..norms import TaskSelector
from .stages import run, stages_of


class Part(NamedTuple):
    """What a task gets of a pass.

    Attributes:
        row: Of the task.
        samples: Which samples of the batch are for it.
    """

    row: int
    samples: slice


class StagedTrunk(Trunk):
    """A trunk on networks that are cut into stages, of which one pass serves all tasks.

    Args:
        config: Of backbone and tasks. The backbone is a network of timm that `stages_of` can cut.

    Attributes:
        stages: How a network is cut.

    Raises:
        ValueError: if the network cannot be cut.
    """

    networks_by_task: ClassVar[bool]
    """Whether there is a network for each task; else one for all."""

    def __init__(self, config: TsbnConfig) -> None:
        super().__init__()
        self.layout = feature_layout_of(config)
        self.stages = stages_of(config)
        self.task_selector = TaskSelector(config.task_names)
        self.task_selector.shares_trunk = True  # one pass serves all tasks
        names = [f"{task}_network" for task in config.task_names] if self.networks_by_task else ["shared"]
        self.networks = nn.ModuleDict({name: FeatureReader(config.backbone_config).backbone for name in names})

    @abstractmethod
    def outputs(self, x: Tensor, parts: Sequence[Part]) -> list[list[Tensor]]:
        """What heads get of each stage, for each part: (B of the part, C, H, W).

        Args:
            x: The images, (B, C, H, W).
            parts: What the pass is for.
        """

    def network(self, row: int) -> nn.Module:
        """The network of timm for a task."""
        backbone = self.backbones()[row if self.networks_by_task else 0]
        network: nn.Module = backbone.timm_model
        return network

    def backbones(self) -> list[PreTrainedModel]:
        """The native networks."""
        return list(self.networks.values())

    def load_plain(self, plain: PreTrainedModel, keep_affine: bool | None) -> None:
        """See `Trunk.load_plain`."""
        for backbone in self.backbones():
            backbone.load_state_dict(plain.state_dict())

    def _features(self, pixel_values: Tensor, maps: bool, **kwargs: object) -> Features | dict[str, Features]:  # type: ignore[override]
        selection = self.task_selector.current()
        parts = self._parts()
        x = pixel_values.to(self.backbones()[0].dtype)
        features = []
        for part, outputs in zip(parts, self.outputs(x, parts), strict=True):
            network = self.network(part.row)
            pooled = network.forward_head(run(network, self.stages.rest, outputs[-1]))  # type: ignore[operator]
            by_state = {stage.state: output for stage, output in zip(self.stages.stages, outputs, strict=True)}
            features.append(Features([by_state[index] for index in self.layout.indices] if maps else [], pooled))
        if selection.chunks:
            by_map = zip(*(each.maps for each in features), strict=True)
            return Features([torch.cat(each) for each in by_map], torch.cat([each.pooled for each in features]))
        if selection.row is None:
            return {self.tasks[part.row]: each for part, each in zip(parts, features, strict=True)}
        return features[0]

    def _split_by_task(self, outputs: dict[str, Features]) -> dict[str, Features]:
        return outputs

    def _parts(self) -> list[Part]:
        selection = self.task_selector.current()
        if selection.chunks:
            ends = torch.tensor([samples for _, samples in selection.chunks]).cumsum(0).tolist()
            return [
                Part(row, slice(end - samples, end)) for (row, samples), end in zip(selection.chunks, ends, strict=True)
            ]
        if selection.row is None and selection.tensor is None:
            return [Part(row, slice(None)) for row, task in enumerate(self.tasks) if not self._rests(task)]
        return [Part(self.task_selector.current_row(), slice(None))]

    def _rests(self, task: str) -> bool:
        """Whether the modules of a task are in evaluation mode in a step that is not for it."""
        own = self.modules_of(task)
        return self.training and bool(own) and not any(module.training for module in own)
