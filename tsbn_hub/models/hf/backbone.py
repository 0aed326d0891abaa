"""A backbone with task norms, for models of transformers that stand on a backbone."""

from typing import Any

from torch import Tensor
from transformers import AutoBackbone
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from ...norms.task_module import Tasks
from .config import TsbnConfig
from .model import TsbnModel


class TsbnBackbone(BackboneMixin, TsbnModel):
    """A backbone with task norms that returns its feature maps: those of the config's `out_features`, or the last.

    Args:
        config: Of backbone, tasks and gates. The stages are "stage1", "stage2", …, from fine to coarse.

    Raises:
        ValueError: if there is no such stage, or the backbone has no feature maps.

    Example:
        >>> import torch
        >>> from transformers import ResNetConfig
        >>> from tsbn_hub import TsbnBackbone, TsbnConfig
        >>> backbone = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1])
        >>> model = TsbnBackbone(TsbnConfig(backbone, tasks=["seg"], out_features=["stage1", "stage2"]))
        >>> [tuple(each.shape) for each in model(torch.rand(1, 3, 64, 64)).feature_maps], model.channels
        ([(1, 16, 16, 16), (1, 24, 8, 8)], [16, 24])
    """

    has_attentions = False
    # The native backbone has hooks of its own; further ones around it would record everything twice.
    _output_capturing_hooks_installed = True

    def __init__(self, config: TsbnConfig) -> None:
        super().__init__(config)
        if not self.layout.indices:
            raise ValueError(f"{type(self.backbone).__name__} gives no feature maps.")
        config.set_output_features_output_indices(config.out_features, config.out_indices)
        self.num_features = list(self.layout.channels)

    def forward(
        self, pixel_values: Tensor, task: Tasks | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> Any:
        """The feature maps, or, with several tasks and none set, a dict of them by task.

        Args:
            pixel_values: (B, C, H, W).
            task: As `TaskModule` says.
            return_dict: False: a tuple.
            **kwargs: Of the backbone. With output_hidden_states, the output has all of them, as maps.

        Raises:
            ValueError: if attentions are asked for.
        """
        return self._forward(TsbnBackbone._feature_maps, pixel_values, task=task, return_dict=return_dict, **kwargs)

    def _feature_maps(
        self,
        pixel_values: Tensor,
        return_dict: bool | None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BackboneOutput | tuple[Tensor, ...]:
        if output_attentions:
            raise ValueError("TsbnBackbone returns no attentions: TsbnModel(…, output_attentions=True) does.")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        states, _ = self.reader.read(pixel_values, **kwargs)
        assert states is not None  # maps are asked for
        maps = tuple(states[self.layout.indices[at]] for at in self.config.out_indices)
        outputs = BackboneOutput(feature_maps=maps, hidden_states=tuple(states) if output_hidden_states else None)
        return outputs.to_tuple() if return_dict is False else outputs


AutoBackbone.register(TsbnConfig, TsbnBackbone)
