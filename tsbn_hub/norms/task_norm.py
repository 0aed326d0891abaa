"""Task norms: norm layers with a gate per task and channel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from .execution import each_task
from .kernels import kernel_of
from .selection import Selection, TaskSelector
from .task_parameters import StateDict, TaskParameters, copy_members, device_of, parameter, pick

Style = Literal["sigmoid", "affine", "statistics", "shared"]

_LEAST_GATE = 0.001


@dataclass(frozen=True)
class NormOptions:
    """What a task norm keeps per task.

    Args:
        style: "sigmoid": a gate per channel, sigma(a_t) (TSσBN). "affine": a weight and bias per channel (TSBN).
            "statistics": the running statistics of BatchNorms alone. "shared": nothing (hard sharing).
        keep_affine: Whether the shared weight and bias stay beside the gates.
        gate_init: A gate's value at the start, from 0.001 to 0.999. Nearer to 0 or 1 a gate hardly learns, and an
            affine that is divided by it does not fit half precision.
        affine_dropped_on_request: The user asked for `keep_affine=False`: loading a plain checkpoint may drop its
            affine without an error.

    Raises:
        ValueError: if an option is none of these.
    """

    style: Style = "sigmoid"
    keep_affine: bool = True
    gate_init: float = 0.5
    affine_dropped_on_request: bool = False

    def __post_init__(self) -> None:
        if self.style not in get_args(Style):
            raise ValueError(
                f'norm={self.style!r} is unknown. Known: "sigmoid" (TSσBN), "affine" (TSBN), "statistics", "shared".'
            )
        is_number = isinstance(self.gate_init, int | float) and not isinstance(self.gate_init, bool)
        if not is_number or not _LEAST_GATE <= self.gate_init <= 1 - _LEAST_GATE:
            raise ValueError(
                f"gate_init={self.gate_init!r} is no gate's value to start at: it must lie in (0, 1), and no nearer to "
                f"its ends than {_LEAST_GATE}, where a gate hardly learns and weights overflow."
            )

    @property
    def logit_init(self) -> float:
        """The gate logit at the start."""
        return math.log(self.gate_init / (1.0 - self.gate_init))


def check_same_affine(asked: bool | None, own: bool | None) -> None:
    """Refuse to load a checkpoint with another `keep_affine` than its own: it would be another function.

    Raises:
        ValueError: if both are given and differ.
    """
    if asked is not None and own is not None and asked is not own:
        raise ValueError(f"keep_affine={asked}: the checkpoint was saved with {own}. Load it with its own.")


class TaskNorm(TaskParameters):
    r"""A norm layer with a gate per task and channel, in place of a plain one.

    .. math:: y = \sigma(a_t) \odot (\gamma \odot \hat x + \beta)

    It is computed as :math:`(\sigma(a_t)\gamma) \odot \hat x + \sigma(a_t)\beta`: the native kernel of the plain norm
    gets the gated affine, so a gate costs nothing. Input and output are those of the plain norm.

    Args:
        norm: The plain norm. Its parameters move into this module, under the names that they have.
        selector: Says which task a forward is for; shared by the whole model.
        options: What is kept per task.
        like: Gives the gates of a norm without tensors of its own their device and dtype.

    Attributes:
        gate_logits: (T, C), one row a task, for style "sigmoid"; else None.
        weight: (C,) if the affine is kept, (T, C) for style "affine"; ones that nothing reads if it is dropped, for
                code that asks a norm's weight for its device. The plain norm's for style "statistics".
        bias: (C,) if the affine is kept, (T, C) for style "affine"; else None. The plain norm's for "statistics".

    Source: arXiv 2512.20420, section 3.
    """

    gate_logits: nn.Parameter | None
    weight: Tensor
    bias: Tensor | None
    plain_class: type[nn.Module]
    plain_affine: tuple[bool, bool]
    options: NormOptions

    def __init__(
        self, norm: nn.Module, selector: TaskSelector, options: NormOptions, like: Tensor | None = None
    ) -> None:
        super().__init__()
        copy_members(norm, self)
        vars(self).pop("bias", None)  # a norm without one may have None in its place
        weight: Tensor | None = norm._parameters.get("weight")
        bias: Tensor | None = norm._parameters.get("bias")
        # Networks have hundreds of norms, and nn.Module takes long to set what is no parameter.
        vars(self).update(
            plain_class=type(norm),
            plain_affine=(weight is not None, bias is not None),
            selector=selector,
            options=options,
        )
        self._find_kernel()
        own = [*norm.parameters(recurse=False), *norm.buffers(recurse=False)]
        like = own[0] if own else torch.zeros(()) if like is None else like
        ones = torch.ones(_channels(norm), device=like.device, dtype=_floating(like))
        trained = weight is None or weight.requires_grad

        def of_every_task(row: Tensor) -> nn.Parameter:
            return parameter(row.expand(len(selector.tasks), -1), trained)

        # New parameters throughout: the plain norm keeps its own.
        self._parameters.update(weight=None, bias=None, gate_logits=None)
        if options.style == "affine":
            self.weight = of_every_task(ones if weight is None else weight)
            self.bias = None if bias is None else of_every_task(bias)
            return
        if options.style == "statistics":
            for name, shared in (("weight", weight), ("bias", bias)):
                self.register_parameter(name, None if shared is None else parameter(shared, shared.requires_grad))
            return
        self.gate_logits = of_every_task(ones * options.logit_init)
        if options.keep_affine:
            # A norm without an affine gets a weight: else its function would not stay.
            weight = ones if weight is None else weight
            self.weight = parameter(weight / self._gate_at_start(weight), trained)
            self.bias = None if bias is None else parameter(bias / self._gate_at_start(bias), trained)
        elif weight is not None:
            del self.weight
            self.register_buffer("weight", ones, persistent=False)

    def _gate_at_start(self, like: Tensor) -> Tensor:
        return torch.sigmoid(torch.tensor(self.options.logit_init, dtype=like.dtype, device=like.device))

    def _find_kernel(self) -> None:
        self.kernel = kernel_of(self.plain_class)

    def __prepare_scriptable__(self) -> nn.Module:
        # In a feature graph, where a task norm is one node. Models and their parts see to this themselves.
        return self.fold(self.selector.current_row())

    def __getstate__(self) -> dict[str, Any]:
        # A kernel is found again by the class: some are closures, which do not pickle.
        return {key: value for key, value in super().__getstate__().items() if key not in ("kernel", "after")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._find_kernel()

    @property
    def keeps_affine(self) -> bool:
        """Whether the shared weight and bias stay beside the gates."""
        return self.options.style == "sigmoid" and self.options.keep_affine

    @property
    def gates(self) -> Tensor:
        """The gates sigma(a), (T, C), in (0, 1).

        Raises:
            RuntimeError: if this norm has something else per task (style "affine", "statistics").
        """
        if self.gate_logits is None:
            own = "a weight and bias" if self.options.style == "affine" else "running statistics"
            raise RuntimeError(f"A norm of style {self.options.style!r} has no gates, but {own} per task.")
        return torch.sigmoid(self.gate_logits)

    def gated_affine(self, index: int | Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The weight and bias, both (C,) or None, that the native kernel gets for a task."""
        logits = self.gate_logits
        if logits is None:
            if self.options.style == "statistics":
                return self.weight, self.bias
            return pick(self.weight, index), None if self.bias is None else pick(self.bias, index)
        gate = torch.sigmoid(pick(logits, index))
        if not self.options.keep_affine:
            return gate, None
        return gate * self.weight, None if self.bias is None else gate * self.bias

    def normalize(self, x: Tensor, index: int | Tensor) -> Tensor:
        """The norm of samples that are all for one task."""
        return self.kernel(self, x, *self.gated_affine(index))

    def normalize_by_sample(self, x: Tensor, selection: Selection) -> Tensor:
        """The norm of samples whose rows a tensor says."""
        return selection.choose([self.normalize(x, row) for row in range(len(self.selector.tasks))])

    def normalize_batched(self, x: Tensor, selection: Selection) -> Tensor:
        """The norm of a task's samples in a batched pass that is compiled, by operations that vmap knows."""
        assert selection.batched_row is not None
        return self.kernel(self, x, *self.gated_affine(selection.batched_row))

    def forward(self, x: Tensor) -> Tensor:
        selection = self.selector.current()
        selection.fork()
        index = selection.index
        if isinstance(index, int):
            return self.normalize(x, index)
        if selection.batched_row is not None:
            if torch.compiler.is_dynamo_compiling():
                return self.normalize_batched(x, selection)
            return each_task(x, selection, self.normalize)
        if selection.chunks:
            return torch.cat([self.normalize(part, row) for row, part in selection.split(x)])
        if selection.differs_by_sample:
            return self.normalize_by_sample(x, selection)
        return self.normalize(x, index)  # type: ignore[arg-type]

    def stacked_names(self) -> list[str]:
        """The parameters of all tasks: the gate logits, or the weight and bias of style "affine"."""
        names = {"sigmoid": ["gate_logits"], "affine": ["weight", "bias"]}.get(self.options.style, [])
        return [name for name in names if getattr(self, name) is not None]

    def new_rows(self) -> dict[str, Tensor]:
        """The rows of a task that has learned nothing yet."""
        return {name: values[:1] for name, values in self.at_start().items() if name in self.stacked_names()}

    def at_start(self, device: torch.device | None = None) -> dict[str, Tensor]:
        """The parameters and statistics where no task has learned anything, nor the plain norm that it was made of.

        Args:
            device: Where they are to be; None: where its own are.
        """
        one = 1 / self._gate_at_start(torch.ones((), dtype=self.weight.dtype)).item() if self.keeps_affine else 1
        values = {"gate_logits": self.options.logit_init, "weight": one, "bias": 0}
        own = [(name, self._parameters.get(name)) for name in values]
        return {
            name: torch.full_like(tensor, values[name], device=device) for name, tensor in own if tensor is not None
        }

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start anew, as the plain norm does: every task has learned nothing yet."""
        for name, value in self.at_start().items():
            getattr(self, name).copy_(value)

    @torch.no_grad()
    def fold(self, row: int) -> nn.Module:
        """The plain norm that computes what this one does for one task."""
        plain = self.plain_class.__new__(self.plain_class)
        copy_members(self, plain)
        for name in ("selector", "options", "plain_class", "plain_affine", "kernel", "after"):
            vars(plain).pop(name, None)
        for name in ("gate_logits", "weight", "bias"):
            plain._parameters.pop(name, None)
            plain._buffers.pop(name, None)
        plain._non_persistent_buffers_set.discard("weight")
        weight, bias = self.gated_affine(row)
        had_weight, had_bias = self.plain_affine
        if not had_weight and weight is not None:
            # The gate is an affine that the plain class is built without.
            plain.affine = plain.elementwise_affine = True  # type: ignore[assignment]
        if had_bias and bias is None:
            bias = torch.zeros_like(weight)  # type: ignore[arg-type]
        plain.register_parameter("weight", None if weight is None else parameter(weight))
        plain.register_parameter("bias", None if bias is None else parameter(bias))
        return plain

    def _load_from_state_dict(self, state_dict: StateDict, prefix: str, *args: Any) -> None:
        self._adapt_plain(state_dict, prefix, error_messages=args[-1])
        super()._load_from_state_dict(state_dict, prefix, *args)
        ones = self._buffers.get("weight")
        if ones is not None and self.gate_logits is not None and ones.device != self.gate_logits.device:
            # Assigned to a norm on the meta device, the gates have left it: no checkpoint has these ones.
            self._buffers["weight"] = torch.ones_like(ones, device=self.gate_logits.device)

    def _adapt_plain(self, state_dict: StateDict, prefix: str, error_messages: list[str]) -> None:
        """Turn the entries of a plain norm, where these are, into those of this one that keep its function."""
        tasks = len(self.selector.tasks)
        weight, bias = state_dict.get(prefix + "weight"), state_dict.get(prefix + "bias")
        if self.options.style == "affine":
            for key, value in ((prefix + "weight", weight), (prefix + "bias", bias)):
                if value is not None and value.ndim == 1:
                    state_dict[key] = value.expand(tasks, -1).clone()
            if weight is None and not self.plain_affine[0] and self.is_plain(state_dict, prefix):
                state_dict[prefix + "weight"] = self.at_start(device_of(state_dict))["weight"]
            return
        if self.options.style == "statistics":
            return
        if prefix + "gate_logits" in state_dict or not self.is_plain(state_dict, prefix):
            return
        assert self.gate_logits is not None
        start = self.at_start(device_of(state_dict))
        state_dict[prefix + "gate_logits"] = start["gate_logits"]
        if self.options.keep_affine:
            if not self.plain_affine[0]:
                state_dict[prefix + "weight"] = start["weight"]
            for key, value in ((prefix + "weight", weight), (prefix + "bias", bias)):
                if value is not None:
                    # In the model's precision: a checkpoint in half precision would be rounded once more.
                    value = value.to(self.gate_logits.dtype)
                    state_dict[key] = value / self._gate_at_start(value)
        elif self.options.affine_dropped_on_request:
            state_dict.pop(prefix + "weight", None)
            state_dict.pop(prefix + "bias", None)
        elif weight is not None:
            error_messages.append(
                f"{prefix[:-1]} has no shared affine to hold the plain checkpoint's weight and bias. Build the model "
                "with keep_affine=True to keep the checkpoint's function, or with keep_affine=False to drop its affine."
            )

    @property
    def had_tensors(self) -> bool:
        """Whether the plain norm has entries in a state dict."""
        return any(self.plain_affine)

    def is_plain(self, state_dict: Mapping[str, Tensor], prefix: str) -> bool:
        """Whether a state dict has the entries of a plain norm here. Those of ours without gates may look the same."""
        return any(self.plain_affine) and prefix + "weight" in state_dict

    def has_learned(self) -> bool:
        """Whether a gate is not as at the start."""
        gates = self.gate_logits
        return gates is not None and not gates.is_meta and bool((gates != self.options.logit_init).any())

    def extra_repr(self) -> str:
        kept = ", affine dropped" if self.options.style == "sigmoid" and not self.options.keep_affine else ""
        return f"{self.plain_class.__name__}({_channels(self)}), tasks={len(self.selector.tasks)}{kept}"


def _channels(norm: nn.Module) -> int:
    """The number of channels C of a norm."""
    if getattr(norm, "weight", None) is not None:
        return int(norm.weight.shape[-1])  # type: ignore[index]
    for name in ("num_features", "num_channels", "normalized_shape"):
        size = getattr(norm, name, None)
        if size is not None:
            return size if isinstance(size, int) else math.prod(size)
    raise TypeError(f"{type(norm).__name__} says nowhere how many channels it has: no weight, no num_features.")


def _floating(tensor: Tensor) -> torch.dtype:
    return tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype()
