"""The gradients of one optimizer step, over micro-batches, tasks and processes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ...data.images import as_input
from ...data.sample import Batch
from ...models.outputs import outputs_by_task
from ...norms.wrappers import unwrapped_to_change
from ...tasks import Kind
from ..balancing import StepWeights
from ..optimization.freezing import parameters_of_single_tasks
from ..recipe.config import Backward

Aggregator = Callable[[Tensor], Tensor]


class TasksForward(nn.Module):
    """One forward for some tasks of a model: DistributedDataParallel must see a single one before a backward.

    Args:
        model: Takes `task=`, and returns a dict by task, or, for one task, its output.

    Raises:
        ValueError: if the model is in DistributedDataParallel: this goes between the two.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        unwrapped_to_change(model, "TasksForward")
        self.model = model

    def forward(self, images: Tensor, tasks: Sequence[str], repeated: bool = False) -> dict[str, Tensor]:
        """The outputs of these tasks. Images that are bytes (uint8) are divided by 255. See `outputs_by_task`."""
        try:
            return outputs_by_task(self.model, as_input(images, self.model), tasks, repeated)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):  # torch's words
                error.add_note(
                    f"A BatchNorm has one value to normalise, of a batch of {len(images)} and a map of 1x1: take a "
                    "batch_size of at least 2, larger images, or tsbn_hub.norms.freeze_batch_norm(model)."
                )
            raise


def label_counts(batches: Sequence[Batch], kinds: Mapping[str, Kind], accelerator: Accelerator) -> Tensor:
    """How many terms each micro-batch has, on all processes together, in the mean of each task's loss.

    Returns:
        (micro-batches, tasks), int64, on the CPU. A task without any target in a step is not part of it.
    """
    counts = [
        [int(kind.count(batch["targets"][name])) if name in batch["targets"] else 0 for name, kind in kinds.items()]
        for batch in batches
    ]
    if accelerator.num_processes == 1:  # no way to the device and back
        return torch.tensor(counts)
    joined: Tensor = accelerator.reduce(torch.tensor(counts, device=accelerator.device))
    return joined.cpu()


def fill_gradients(
    network: nn.Module,
    batches: Sequence[Batch],
    kinds: Mapping[str, Kind],
    counts: Mapping[str, Sequence[int]],
    weights: StepWeights,
    accelerator: Accelerator,
    backward: Backward = "all",
    aggregator: Aggregator | None = None,
) -> dict[str, Tensor]:
    """Add the gradients of `sum(weights[t] * loss_t)` to `.grad`: the same on every process.

    loss_t is the mean over all targets of the step, those of all processes and micro-batches: as if they were one
    batch, also where samples lack targets.

    Args:
        network: A `TasksForward`, prepared by the accelerator.
        batches: The micro-batches of this process, `{"image": (B, C, H, W), "targets": {task: …}}`, on its device.
        kinds: The kind of each task.
        counts: For each task of this step, the entries of `label_counts`.
        weights: The weight of each task of this step, a scalar. Or what gives them of the losses by task, which are
            means over all processes, as `LossScalarization.weights_of` does: it takes one backward for all tasks, of
            one micro-batch.
        accelerator: Of this process.
        backward: "all": one backward for all tasks, fast. "task": a forward and a backward for each task; the peak
            memory is that of one task, however many there are.
        aggregator: Makes one gradient, (P,), of those of the tasks, (T, P), for the P shared parameters, as TorchJD's
            aggregators do; parameters of a single task keep their gradient. It takes a backward for each task. None:
            the sum. Where a gradient is not finite, the sum is taken, too: no solver gets it.

    Raises:
        ValueError: if weights are asked for that depend on losses which are not there at once.

    Returns:
        The loss of each task of this step on this process: its share of the joined mean. Their sum over processes is
        the loss.
    """
    if not isinstance(weights, Mapping) and (backward == "task" or aggregator is not None or len(batches) > 1):
        raise ValueError(
            "The weights depend on all losses of the step: they take one micro-batch, backward='all' and no aggregator."
        )
    terms = {name: _Term(kinds[name], column) for name, column in counts.items()}
    groups = [[name] for name in terms] if backward == "task" or aggregator is not None else [list(terms)]
    passes = [
        (index, tasks)
        for group in groups
        for index in range(len(batches))
        if (tasks := [name for name in group if terms[name].counts[index]])
    ]
    losses: dict[str, Tensor] = {}
    passed: set[int] = set()
    jacobian = _Jacobian(network) if aggregator is not None else None
    for number, (index, tasks) in enumerate(passes, start=1):
        # Every pass reaches every parameter, for tasks are rows of them: the last pass can carry all gradients over.
        reduces = number == len(passes) and jacobian is None
        with nullcontext() if reduces else accelerator.no_sync(network):
            chosen = {name: terms[name] for name in tasks}
            shares = _backward(network, batches[index], chosen, weights, accelerator, repeated=index in passed)
        passed.add(index)
        for name, share in shares.items():
            losses[name] = losses[name] + share if name in losses else share
        if jacobian is not None and (number == len(passes) or passes[number][1] != tasks):
            jacobian.take_row()
    if passes and jacobian is not None and aggregator is not None:
        jacobian.fill(aggregator, accelerator)
    return losses


@dataclass(frozen=True)
class _Term:
    """A task's term of a step's loss: the mean over its targets in all micro-batches."""

    kind: Kind
    counts: Sequence[int]

    def share(self, output: Tensor, target: Tensor | None) -> Tensor:
        """What a micro-batch of this process adds to the mean."""
        if target is None:
            return zero_of(output)
        return self.kind.loss(output, target) * (self.kind.count(target) / sum(self.counts))


def _backward(
    network: nn.Module,
    batch: Batch,
    terms: Mapping[str, _Term],
    weights: StepWeights,
    accelerator: Accelerator,
    repeated: bool,
) -> dict[str, Tensor]:
    """One forward and backward; each task's share of its loss."""
    outputs = network(batch["image"], list(terms), repeated)
    shares = {name: term.share(outputs[name], batch["targets"].get(name)) for name, term in terms.items()}
    if not isinstance(weights, Mapping):
        joined: Tensor = accelerator.reduce(torch.stack([share.detach() for share in shares.values()]))
        weights = weights(dict(zip(shares, joined, strict=True)))
    # The loss is a sum over processes and micro-batches; DistributedDataParallel and accelerator.backward take means.
    scale = accelerator.num_processes * accelerator.gradient_accumulation_steps
    accelerator.backward(sum(weights[name] * share for name, share in shares.items()) * scale)
    return {name: share.detach() for name, share in shares.items()}


def gradient_norm(network: nn.Module) -> Tensor:
    """The norm of all gradients together, a scalar, float32."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).float()


def zero_of(output: Tensor) -> Tensor:
    """The loss of a task without a target on this process: every process has the same gradients to sum."""
    return output.float().sum() * 0.0  # a sum in half precision may be infinite


class _Jacobian:
    """The gradients of single tasks with respect to the parameters that they share."""

    def __init__(self, network: nn.Module) -> None:
        of_single_tasks = {id(parameter) for parameter in parameters_of_single_tasks(network)}
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._shared = [parameter for parameter in parameters if id(parameter) not in of_single_tasks]
        self._of_single_tasks = [parameter for parameter in parameters if id(parameter) in of_single_tasks]
        self._rows: list[Tensor] = []

    def take_row(self) -> None:
        """Move the shared parameters' gradients, those of one task, into a row."""
        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in self._shared
        ]
        self._rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter in self._shared:
            parameter.grad = None

    def fill(self, aggregator: Aggregator, accelerator: Accelerator) -> None:
        """Give the shared parameters the aggregate of all rows."""
        for parameter in self._of_single_tasks:
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, "mean")
        rows: Tensor = accelerator.reduce(torch.stack(self._rows), "mean")
        scale = 1.0 if accelerator.scaler is None else accelerator.scaler.get_scale()
        gradient = aggregator(rows / scale) * scale if rows.isfinite().all() else rows.sum(dim=0)
        parts = gradient.split([parameter.numel() for parameter in self._shared])
        for parameter, part in zip(self._shared, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
