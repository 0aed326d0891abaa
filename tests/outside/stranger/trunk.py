"""A trunk: one plain copy of the backbone for each task."""

from torch import Tensor
from transformers import PreTrainedModel

from tsbn_hub.models.heads import Features
from tsbn_hub.models.hf import FeatureReader, Trunk, TsbnConfig, feature_layout_of, register_trunk
from tsbn_hub.norms import TaskModules, TaskSelector


@register_trunk("copies")
class Copies(Trunk):
    """One plain copy of the backbone for each task: as many single-task networks, in one model."""

    folds = True

    def __init__(self, config: TsbnConfig, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.layout = feature_layout_of(config)
        self.task_selector = TaskSelector(config.task_names)
        self.readers = {task: FeatureReader(config.backbone_config) for task in config.task_names}
        self.copies = TaskModules({task: reader.backbone for task, reader in self.readers.items()}, suffix="_copy")

    def _features(self, pixel_values: Tensor, maps: bool, **kwargs: object) -> Features:
        task = self.tasks[self.task_selector.current().index]
        return self.readers[task].features(self.layout, self.scale * pixel_values, maps, **kwargs)

    def backbones(self) -> list[PreTrainedModel]:
        return [self.copies.of(task) for task in self.tasks]

    def load_plain(self, plain: PreTrainedModel, keep_affine: bool | None) -> None:
        for backbone in self.backbones():
            backbone.load_state_dict(plain.state_dict())

    def _fold(self, row: int) -> PreTrainedModel:
        return self.backbones()[row]
