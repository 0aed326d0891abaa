"""A backbone with task norms and a head for each task."""

from copy import deepcopy

from torch import nn
from transformers import PreTrainedModel, TimmWrapperModel

from .architectures import classification_class_of
from .config import TsbnConfig
from .features import classifier_name
from .model import TsbnModel
from .trunk import make_trunk
from .with_heads import ModelWithHeads, MultiTaskOutput

__all__ = ["MultiTaskOutput", "TsbnForMultiTask"]


class TsbnForMultiTask(ModelWithHeads):
    """One backbone with task norms, a head for each task, and their losses.

    Args:
        config: Of backbone, tasks and gates.

    Attributes:
        tsbn: The trunk: a `TsbnModel`, or another that the config names.
        heads: The heads, by task; see `head`.
        kinds: What the targets of each task are, by task.

    Raises:
        ValueError: if a task's kind or head is unknown, or a head does not fit the backbone.

    Example:
        >>> import torch
        >>> from tsbn_hub import Task, TsbnForMultiTask
        >>> tasks = [Task("seg", kind="segmentation", num_classes=13), Task("depth", kind="depth")]
        >>> model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)
        >>> x, depth = torch.rand(2, 3, 64, 96), torch.rand(2, 64, 96) + 1
        >>> out = model(x, labels={"depth": depth})
        >>> out.logits["seg"].shape, out.logits["depth"].shape, list(out.losses)
        (torch.Size([2, 13, 64, 96]), torch.Size([2, 1, 64, 96]), ['depth'])
    """

    def __init__(self, config: TsbnConfig) -> None:
        super().__init__(config)
        self.tsbn = make_trunk(config)
        self._build_heads(config)
        self.post_init()  # type: ignore[operator]
        # transformers takes over what the backbone ignores. Here heads that have no place are a mistake.
        self._keys_to_ignore_on_load_unexpected.difference_update(  # type: ignore[union-attr,operator]
            TsbnModel._keys_to_ignore_on_load_unexpected
        )

    def _fold(self, row: int) -> PreTrainedModel:
        plain = self.tsbn._fold(row)
        described = self.config.tasks[row]
        kind, head = self.kinds[described.name], self.fold_head(described.name)
        classification_class = classification_class_of(plain.config)
        if described.kind == "classification" and (described.head or kind.head) == "linear" and classification_class:
            linear = head.linear
            if type(linear) is not nn.Linear:
                raise RuntimeError(_replaced(f"The head of task {described.name!r}", head))
            return _classifier(classification_class, plain, linear, kind.labels) or plain
        return plain


def _classifier(
    classification_class: type[PreTrainedModel], backbone: PreTrainedModel, linear: nn.Linear, labels: list[str] | None
) -> PreTrainedModel | None:
    """The native classification model of a folded backbone and a linear layer; None if it needs more than these."""
    labels = labels or [str(number) for number in range(linear.out_features)]
    config = deepcopy(backbone.config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.num_labels = len(labels)  # some configurations have it beside the names, as PVT's
    config.problem_type = "single_label_classification"
    model = classification_class(config).to(backbone.dtype)
    if isinstance(backbone, TimmWrapperModel):
        classifier = model.timm_model.get_classifier()
    else:
        name = classifier_name(model)
        if name is None:
            return None
        classifier = model.get_submodule(name)
    plain = backbone.timm_model if isinstance(backbone, TimmWrapperModel) else backbone
    missing, unexpected = model.base_model.load_state_dict(plain.state_dict(), strict=False)
    own = {id(parameter) for parameter in classifier.parameters()}
    named = model.base_model.named_parameters()
    missing = set(missing) - {name for name, parameter in named if id(parameter) in own}
    is_another = missing or not all(name.startswith("pooler.") for name in unexpected)
    if is_another or not _computes_as(model.base_model, plain):
        raise RuntimeError(_replaced("The backbone", plain))
    classifier.load_state_dict(linear.state_dict())
    return model.to(next(backbone.parameters()).device).train(backbone.training)


def _computes_as(built: nn.Module, module: nn.Module) -> bool:
    """Whether the layers of a module have the forwards that those of the built one have."""
    layers = dict(built.named_modules())
    return all(
        type(layer).forward is type(layers.get(name, layer)).forward
        for name, layer in module.named_modules()
        if layer._parameters
    )


def _replaced(what: str, module: nn.Module) -> str:
    layers = {type(part).__name__ for part in module.modules() if not list(part.children())}
    return (
        f"{what} has other layers than its architecture ({', '.join(sorted(layers))}): some were replaced or "
        "parametrized. Fold a task first, and quantize or parametrize the plain model."
    )
