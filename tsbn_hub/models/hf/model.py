"""A backbone of transformers, or of timm, with task norms: transformers' base class for it."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, TimmWrapperPreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import IMAGE_PROCESSOR_NAME
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from ...files.permission import code_named_in
from ...norms import NormOptions, SharedBatchNorm, TaskNorm, TaskSelector
from ...norms.convert import convert_norms
from ...norms.execution import Execution
from ...norms.folding import block_what_loses_gates, folded
from ...norms.gating import gated_norms
from ...norms.merging import refuse_to_save
from ...norms.selection.recomputation import Checkpoint, remembering_task
from ...norms.task_module import Tasks
from ...tasks import Task
from ..heads import Features
from ..own_code import imports_of_checkpoint, own_code_of
from .config import TASK_NORMS, TsbnConfig, refuse_labels_of_a_model
from .features import FeatureReader
from .loading import check_loaded, check_order_of_tasks
from .norms import initialize_norm
from .several_outputs import ModelOfSeveralOutputs
from .sources import (
    check_folder,
    code_of,
    image_processor_of,
    named,
    native_model,
    note_commit,
    safely,
    saved_image_processor,
)
from .timm_images import describe_folded
from .trunk import Trunk, feature_layout_of, register_trunk


class TsbnPreTrainedModel(ModelOfSeveralOutputs):
    """What the models of transformers have in common: loading, saving, the plain model of a task.

    Its state-dict keys are those of the native backbone, and the gates'; a saved folder has the names that the native
    architecture has on the disk.

    Attributes:
        image_processor: What prepares images for the backbone, if it came with one. It is saved with the model.
    """

    config: TsbnConfig
    base_model_prefix = "tsbn"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    # What the backbone does not support, it refuses by itself.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    image_processor: Any = None

    @classmethod
    def from_backbone(
        cls,
        backbone: str | Path | PreTrainedModel | PreTrainedConfig | nn.Module,
        tasks: Any = None,
        *,
        pretrained: bool = True,
        keep_affine: bool | None = None,
        execution: Execution = "auto",
        **kwargs: Any,
    ) -> Any:
        """A multi-task model on a plain backbone. With pretrained weights, every task starts with their function.

        Args:
            backbone: A model, of transformers or timm; a Hub repo ("org/name@revision") or a folder of one; `timm/…`
                with the name of an architecture; a configuration, or the name of a model type ("vit", "swin"), for
                random weights.
            tasks: The tasks, each a `Task` or a name, in the order of the gates' rows; None: one, "default".
            pretrained: False: take the architecture of a name alone, with random weights.
            keep_affine: Keep the backbone's own weight and bias beside the gates; None: if it has weights to keep.
            execution: How all tasks are run: "auto", "batched" or "sequential"; see `TaskModule.execution`.
            **kwargs: Of `TsbnConfig`: norm, gated, gate_init, trunk, trunk_args; of the backbone's `from_pretrained`:
                revision, token, attn_implementation, dtype; for random weights, values of its configuration. With a
                model or a configuration that is given, only those that its image processor is found by: revision,
                token. (If it does not say which commit of a repo it is of, it has no image processor without a
                revision.)

        Returns:
            The model, in evaluation mode.

        Raises:
            ValueError: if the backbone has no norm layer, a value is not allowed, or its image processor is damaged.
            TypeError: if there is no such keyword.
            OSError: if there is no such repo or folder.

        Example:
            >>> import torch
            >>> from transformers import ViTConfig, ViTModel
            >>> from tsbn_hub import TsbnModel
            >>> size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8)
            >>> plain = ViTModel(ViTConfig(**size), add_pooling_layer=False).eval()
            >>> model, x = TsbnModel.from_backbone(plain, tasks=["seg", "depth"]), torch.rand(1, 3, 32, 32)
            >>> torch.equal(model(x, task="depth").last_hidden_state, plain(x).last_hidden_state)
            True
        """
        refuse_labels_of_a_model(kwargs)
        of_config = ("norm", "gated", "gate_init", "trunk", "trunk_args")
        options = {name: kwargs.pop(name) for name in of_config if name in kwargs}
        backbone, kwargs = named(backbone, kwargs)
        plain = native_model(backbone, pretrained=pretrained, **kwargs)
        has_weights = not isinstance(plain, PreTrainedConfig)
        config = TsbnConfig(
            plain.config if has_weights else plain,
            tasks,
            keep_affine=has_weights if keep_affine is None else keep_affine,
            dtype=plain.dtype if has_weights else None,
            **options,
        )
        model: Any = cls(config)
        model.execution = execution
        if isinstance(plain, PreTrainedModel):
            model.to(plain.dtype)
            model.base_model.load_plain(plain, keep_affine)
        model.image_processor = image_processor_of(backbone, model.base_model.backbones()[0], **kwargs)
        return model.eval()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any,
        *args: Any,
        output_loading_info: bool = False,
        trust: bool = False,
        execution: Execution = "auto",
        **kwargs: Any,
    ) -> Any:
        """As transformers has it, but a checkpoint that is not whole in what tasks have of their own is an error.

        With `trust` the files and modules that the checkpoint names, such as those of a task's kind, are imported.
        `execution` says how all tasks are run: see `TaskModule.execution`.

        Raises:
            ValueError: if it is not this model's checkpoint.
            OSError: if there is none in safetensors.
        """
        ignore_mismatched_sizes = kwargs.pop("ignore_mismatched_sizes", False)
        model: Any
        info: Any
        source, kwargs = named(pretrained_model_name_or_path, kwargs)
        if source is not None:
            check_folder(source)
            kwargs = safely(source, kwargs)
        folder, code = code_of(source, kwargs)
        with code_named_in(folder or Path(), code, trust):
            model, info = super().from_pretrained(
                source, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
            )
        check_loaded(model, source, info, ignore_mismatched_sizes)
        model.execution = execution
        check_order_of_tasks(model.tasks, folder, kwargs.get("state_dict"))
        if source is not None:  # None: the weights are in a state_dict
            model.image_processor = saved_image_processor(source, **kwargs)
            note_commit(model, source, kwargs)
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: Any, is_main_process: bool = True, *args: Any, **kwargs: Any) -> None:
        """As transformers has it, with the image processor.

        Raises:
            RuntimeError: if there are quantized layers in it, or layers of PEFT that are not merged, and that
                transformers has not added: it saves those of its own `add_adapter`, alone.
        """
        if not getattr(self, "_hf_peft_config_loaded", False):
            refuse_to_save(self, "save_pretrained")
        if self.image_processor is not None and is_main_process:
            self.image_processor.save_pretrained(save_directory)
        config = self.config.backbone_config
        architecture = str(getattr(config, "architecture", config.model_type))
        own_code = own_code_of(self, architecture, self.registered_parts())
        self.config.imports = imports_of_checkpoint(own_code)
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)

    def _get_files_timestamps(self, working_dir: Any) -> Any:
        # What is not older than these is uploaded by save_pretrained(push_to_hub=True); the image processor was saved
        # before they are taken.
        timestamps = super()._get_files_timestamps(working_dir)
        if self.image_processor is not None:
            timestamps.pop(IMAGE_PROCESSOR_NAME, None)
        return timestamps

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch has it; it takes the names on the disk, too, which transformers' Trainer gives it on resuming."""
        own = self.state_dict()
        if not state_dict.keys() <= own.keys():
            on_disk = {disk: name for name in own for disk in revert_weight_conversion(self, {name: own[name]})}
            state_dict = {on_disk.get(name, name): tensor for name, tensor in state_dict.items()}
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    # --- initial values: what is missing from a checkpoint is uninitialised memory until here ---

    def initialize_weights(self) -> None:
        """As transformers has it, after the task norms: it would ask the native backbone, which does not know them."""
        for module in self.modules():
            if isinstance(module, TaskNorm | SharedBatchNorm) and not getattr(module, "_is_hf_initialized", False):
                initialize_norm(module)
                vars(module)["_is_hf_initialized"] = True
        super().initialize_weights()

    def _init_weights(self, module: nn.Module) -> None:
        # Of the heads: as torch initialises them. The backbone's modules are its own affair.
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            super()._init_weights(module)  # leaves the statistics that the checkpoint has
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]

    # --- gradient checkpointing ---

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        function: Checkpoint = kwargs.pop("gradient_checkpointing_func", torch.utils.checkpoint.checkpoint)
        trunk: Any = self.base_model
        for backbone in trunk.backbones():
            if not backbone.supports_gradient_checkpointing:
                raise ValueError(f"{type(backbone).__name__} does not support gradient checkpointing.")
            remembering = _reaching_parameters(remembering_task(function), function)
            backbone._set_gradient_checkpointing(enable, gradient_checkpointing_func=remembering, **kwargs)

    # --- the tasks ---

    def registered_parts_of(self, task: str) -> list[type]:
        """The classes of a task's parts that were found by their names: none of a backbone alone."""
        return []

    def registered_parts(self) -> list[type]:
        """The classes of all parts that were found by their names."""
        return [type(self.base_model), *(part for task in self.tasks for part in self.registered_parts_of(task))]

    def fold(self, task: str | None = None) -> PreTrainedModel:
        """The plain model that computes what this one does for a task, loadable without this package.

        Args:
            task: The task; it may be left out where there is one, or one is set.

        Returns:
            Of a `TsbnForMultiTask`, for classification with a linear head, where the architecture has it, a
            `…ForImageClassification`, logits and all. Otherwise the native backbone: `fold_head` gives the head. A
            copy, with memory of its own, and with this model's image processor, which `tsbn_hub.save_pretrained` saves
            with it.

        Raises:
            ValueError: if there is no such task.
            RuntimeError: if it is not said which task.
        """
        plain: Any = super().fold(task)
        plain.image_processor = deepcopy(self.image_processor)
        if isinstance(plain, TimmWrapperPreTrainedModel):
            describe_folded(plain, plain.image_processor)
        return plain

    def _record_tasks(self, tasks: Any) -> None:
        self.config.tasks = list(tasks)


@register_trunk(TASK_NORMS)
class TsbnModel(Trunk, TsbnPreTrainedModel):
    """A native backbone with task norms. What it returns is what the backbone returns.

    Args:
        config: Of backbone, tasks and gates.

    Attributes:
        backbone: The native model, with task norms in the places of its own.

    Example:
        >>> import torch
        >>> from transformers import ResNetConfig
        >>> from tsbn_hub import TsbnConfig, TsbnModel
        >>> backbone = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1])
        >>> model = TsbnModel(TsbnConfig(backbone, tasks=["seg", "depth"]))
        >>> model(torch.rand(2, 3, 64, 64), task="depth").last_hidden_state.shape
        torch.Size([2, 24, 8, 8])
    """

    folds = True
    changes_tasks = True
    # Of a `TsbnForMultiTask`'s checkpoint this takes the backbone alone.
    _keys_to_ignore_on_load_unexpected: ClassVar = [r"^heads\."]

    def __init__(self, config: TsbnConfig) -> None:
        super().__init__(config)
        self.layout = feature_layout_of(config)
        config.stage_names = [f"stage{number + 1}" for number in range(len(self.layout.indices))]
        self.reader = FeatureReader(config.backbone_config)
        self.backbone = self.reader.backbone
        self.layers_behind = nn.ModuleList(self.reader.layers)  # without weights, but with a mode
        self.task_selector = TaskSelector(config.task_names)
        options = NormOptions(config.norm, config.keep_affine, config.gate_init)
        convert_norms(self.backbone, self.task_selector, options, gated_norms(self.backbone, config.gated, config.norm))
        self.task_selector.shares_trunk = not any(isinstance(module, TaskNorm) for module in self.modules())
        block_what_loses_gates(self)
        # Else it is done in the first forward, under a lock, which breaks a compiled graph.
        maybe_install_capturing_hooks(self.backbone)
        self.post_init()  # type: ignore[operator]

    def forward(self, pixel_values: Tensor, task: Tasks | None = None, **kwargs: Any) -> Any:
        """The backbone's outputs.

        Args:
            pixel_values: (B, C, H, W).
            task: As `TaskModule` says; None, with several tasks and none set: a dict with the outputs of each.
            **kwargs: Of the backbone: output_hidden_states, interpolate_pos_encoding, …
        """
        return self._forward(TsbnModel._forward_backbone, pixel_values, task=task, **kwargs)

    def _forward_backbone(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        return self.backbone(pixel_values, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's, if it has them."""
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the backbone's, if it has them."""
        self.backbone.set_input_embeddings(value)

    def _features(self, pixel_values: Tensor, maps: bool, **kwargs: object) -> Features:
        return self.reader.features(self.layout, pixel_values, maps, **kwargs)

    def backbones(self) -> list[PreTrainedModel]:
        """The native backbone."""
        return [self.backbone]

    def idle_parameters(self) -> list[nn.Parameter]:
        """See `FeatureReader.idle_parameters`."""
        return self.reader.idle_parameters()

    def add_task(self, task: str, like: str | None = None) -> None:
        """See `TaskModule.add_task`."""
        super().add_task(task, like)
        self._record_tasks([*self.config.tasks, Task(task)])

    def remove_task(self, task: str) -> None:
        """See `TaskModule.remove_task`."""
        super().remove_task(task)
        self._record_tasks(each for each in self.config.tasks if each.name != task)

    def _fold(self, row: int) -> PreTrainedModel:
        return folded(self.backbone, row)

    def load_plain(self, plain: PreTrainedModel, keep_affine: bool | None) -> None:
        """See `Trunk.load_plain`."""
        for module in self.modules():
            if isinstance(module, TaskNorm) and keep_affine is False:
                module.options = NormOptions(**{**asdict(module.options), "affine_dropped_on_request": True})
        may_lack_of = [id(parameter) for parameter in self.reader.missing_in(plain)]
        for module in self.modules():
            if isinstance(module, TaskNorm) and not module.had_tensors:
                may_lack_of += [id(parameter) for parameter in module.parameters()]  # as at the start
        may_lack = {name for name, parameter in self.backbone.named_parameters() if id(parameter) in may_lack_of}
        missing, unexpected = self.backbone.load_state_dict(plain.state_dict(), strict=False)
        if not set(missing) <= may_lack or unexpected:
            raise ValueError(
                f"This {type(plain).__name__} does not fit its own configuration: it lacks {missing[:3]}, and has "
                f"{unexpected[:3]} besides."
            )


def _reaching_parameters(checkpoint: Checkpoint, given: Checkpoint) -> Checkpoint:
    """Re-entrant recomputation has no gradient unless an input asks for one: behind what is frozen none does."""
    if not getattr(given, "keywords", {}).get("use_reentrant"):
        return checkpoint

    def reaching(function: Checkpoint, x: Tensor, *args: Any) -> object:
        asks = not torch.is_grad_enabled() or any(
            isinstance(each, Tensor) and each.requires_grad for each in (x, *args)
        )
        return checkpoint(function, x if asks else x.detach().requires_grad_(), *args)

    return reaching


AutoConfig.register(TsbnConfig.model_type, TsbnConfig)
AutoModel.register(TsbnConfig, TsbnModel)
