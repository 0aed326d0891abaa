"""transformers' Trainer for models with tasks: what it does not know of them."""

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from transformers import Trainer, TrainingArguments

from ...data import Collate
from ...files.names import CONFIG
from ...models import surface_of
from ...models.hf.loading import check_order_of_tasks
from ...models.hf.several_outputs import no_label_smoothing
from ...norms import TaskModule
from ...tasks import Kind
from ..optimization.optimizer import check_tasks_stay_apart
from ..optimization.param_groups import ParamGroup, param_groups
from ..step.idle_tasks import rest_idle_tasks_in_steps

Batch = Mapping[str, Any]
"""`pixel_values` (B, …), and `labels` by task."""


class TsbnTrainer(Trainer):
    """transformers' Trainer, for a `TsbnForMultiTask`.

    Samples are `{"pixel_values": (C, H, W), "labels": {task: …}}`; any sample may lack any label.

    - Gates learn faster than the trunk, without weight decay: the optimizer has our `param_groups`.
    - A step is for the tasks that have a label in it. What belongs to the others stays as it is, bit for bit: rows,
      statistics, heads and their optimizer state. A step without any label moves nothing.
    - The loss of a task is the mean over all its labels in the step, those of all accumulated batches and processes:
      as if they were one batch. The loss is their sum.
    - Each task's loss is logged beside the sum, as `loss_<task>` and, in evaluation, as `eval_loss_<task>`.

    Args:
        model: The model, or one that PEFT has made of it.
        args: As transformers has it.
        data_collator: As transformers has it; None: a label that a sample lacks is filled in by what its kind ignores.
        gate_lr_scale: How much faster than the trunk gates learn; None: as `param_groups` has it.
        **kwargs: Of transformers' Trainer.

    Raises:
        TypeError: if the model has no tasks with losses.
        ValueError: if something is asked for that tasks cannot be kept apart in, or that the tasks' losses do not have:
            label smoothing, another loss, sharded parameters, several GPUs in one process.

    Example:
        >>> import tempfile, torch
        >>> from transformers import ResNetConfig, TrainingArguments
        >>> from tsbn_hub import Task, TsbnForMultiTask, TsbnTrainer
        >>> backbone = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1])
        >>> model = TsbnForMultiTask.from_backbone(backbone, [Task("wool", num_classes=2), Task("age", "regression")])
        >>> labels = [{"wool": 1}, {"age": torch.tensor([0.5])}] * 4
        >>> samples = [{"pixel_values": torch.rand(3, 32, 32), "labels": each} for each in labels]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     options = dict(use_cpu=True, max_steps=2, logging_steps=1, report_to=[], disable_tqdm=True)
        ...     trainer = TsbnTrainer(model, TrainingArguments(folder, **options), train_dataset=samples)
        ...     [group["name"] for group in trainer.create_optimizer().param_groups]  # trainer.train() does it, too
        ['weights', 'biases and norms', 'gates of BatchNorms']
    """

    optimizer: Any  # of torch, then within Accelerate's

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[..., Mapping[str, object]] | None = None,
        *,
        gate_lr_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("compute_loss_func") is not None:
            raise ValueError("The losses are those of the tasks' kinds: register a kind of your own for another one.")
        if args is not None and args.label_smoothing_factor:
            raise ValueError(no_label_smoothing(args.label_smoothing_factor))
        super().__init__(model, args, data_collator, **kwargs)
        self.task_model = _with_losses(self.model)
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise ValueError(
                "DeepSpeed and FSDP shard the rows of the tasks, and idle tasks would move: leave them out."
            )
        if self.args.n_gpu > 1:
            raise ValueError(
                f"One process has {self.args.n_gpu} GPUs, which transformers would use by DataParallel: start one "
                "process for each with accelerate launch, or choose one by CUDA_VISIBLE_DEVICES."
            )
        self.kinds: dict[str, Kind] = surface_of(self.task_model).kinds()
        if data_collator is None:
            self.data_collator = LabelCollate({name: kind.missing for name, kind in self.kinds.items()})
        self.gate_lr_scale = gate_lr_scale
        self.model_accepts_loss_kwargs = True  # compute_loss takes the mean over the accumulated batches
        self._active: Collection[str] = ()
        self._training, self._evaluation = _Means(self.kinds), _Means(self.kinds)
        self._evaluated: set[str] | None = None
        self._resting: tuple[Optimizer | None, list[RemovableHandle]] = (None, [])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **kwargs: Any) -> None:
        # transformers' Trainer loads rows by their position, and the optimizer's state, too.
        if Path(resume_from_checkpoint, CONFIG).is_file():
            check_order_of_tasks(self.task_model.tasks, Path(resume_from_checkpoint), None)
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)

    # --- the optimizer ---

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """As transformers has it, of our `param_groups`. Idle tasks rest in its steps, also if it was given.

        Raises:
            ValueError: if it mixes the tasks, or lacks a trainable parameter.
        """
        if self.optimizer is None:
            self.optimizer = self._new_optimizer(self.task_model)
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)  # without Accelerate's wrapper
        if self._resting[0] is not optimizer:
            for handle in self._resting[1]:
                handle.remove()
            self._resting = optimizer, rest_idle_tasks_in_steps(self.task_model, optimizer, lambda: self._active)
        return self.optimizer

    def _new_optimizer(self, model: nn.Module) -> Optimizer:
        args, name = self.args, str(getattr(self.args.optim, "value", self.args.optim))
        given = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(args, model)
        optimizer_class, options = given[0], dict(given[1])
        is_optimizer = isinstance(optimizer_class, type) and issubclass(optimizer_class, Optimizer)
        if not is_optimizer or options.keys() & {"params", "model", "optimizer_dict"}:
            raise ValueError(f"optim={name} makes parameter groups of its own. Take another one, such as adamw_torch.")

        def build(groups: list[ParamGroup]) -> Optimizer:
            return optimizer_class(groups, **options)

        groups = param_groups(model, args.learning_rate, args.weight_decay, self.gate_lr_scale)
        if len(self.kinds) > 1:
            check_tasks_stay_apart(model, groups, build, name)
        return build(groups)

    # --- a step ---

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], dict[str, int]]:
        """The batches of a step, and how many labels each task has in all of them, on all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = [list(self._counts(batch).values()) for batch in batches]
        here = torch.tensor(counts, dtype=torch.int64).reshape(-1, len(self.kinds)).sum(dim=0)
        joined: Tensor = self.accelerator.reduce(here.to(self.args.device)).cpu()
        totals = {name: count for name, count in zip(self.kinds, joined.tolist(), strict=True) if count}
        self._active = totals.keys()
        self._training.count(dict.fromkeys(totals, 1))
        return batches, totals

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: dict[str, int] | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        """The sum of the tasks' losses. In a step, what a batch adds to the means over all labels of the step."""
        counts, outputs = self._counts(inputs), model(**inputs)
        if not model.training:
            self._add_evaluated(outputs.logits, inputs)
            # Processes gather it: of one type, whether a batch has labels or none.
            loss = torch.zeros((), device=self.args.device) if outputs.loss is None else outputs.loss.float()
            return (loss, outputs) if return_outputs else loss
        processes = self.args.world_size  # DistributedDataParallel takes a mean where this is a sum
        totals = num_items_in_batch or {}
        shares = {name: loss * (counts[name] * processes / totals[name]) for name, loss in outputs.losses.items()}
        self._training.add({name: share.detach() for name, share in shares.items()})
        loss = torch.stack(list(shares.values())).sum() if shares else outputs.loss
        return (loss, outputs) if return_outputs else loss

    def _add_evaluated(self, logits: Mapping[str, Tensor], inputs: Batch) -> None:
        """Add a batch to the losses over the data, without the samples that fill up the last one over processes."""
        state, batch = self.accelerator.gradient_state, len(inputs["pixel_values"])
        fills_up = self.args.world_size > 1 and state.end_of_dataloader and state.remainder > 0
        own = max(0, state.remainder - self.args.process_index * batch) if fills_up else batch
        for name in logits.keys() & inputs.get("labels", {}).keys():
            kind, labels = self.kinds[name], inputs["labels"][name][:own]
            count = int(kind.count(labels))
            self._evaluation.add({name: kind.loss(logits[name][:own], labels).detach() * count})
            self._evaluation.count({name: count})

    def _counts(self, inputs: Batch) -> dict[str, int]:
        """How many labels a batch has of each task."""
        labels = inputs.get("labels", {})
        if not isinstance(labels, Mapping):
            raise TypeError(f"The labels of a batch are a {type(labels).__name__}: give a dict of tensors by task.")
        return {name: int(kind.count(labels[name])) if name in labels else 0 for name, kind in self.kinds.items()}

    # --- what is reported ---

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As transformers has it, with each task's loss: its mean over the steps, since the last time, that it had."""
        if "loss" in logs:
            losses = self._training.take(self.accelerator)
            logs |= {f"loss_{name}": loss for name, loss in losses.items()}
        super().log(logs, *args, **kwargs)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """As transformers has it, with each task's loss, its mean over all labels of the data, and their sum."""
        self._evaluation, self._evaluated = _Means(self.kinds), None
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        losses = self._evaluation.take(self.accelerator)
        if losses:
            output.metrics[f"{metric_key_prefix}_loss"] = sum(losses.values())
            output.metrics.update({f"{metric_key_prefix}_loss_{name}": loss for name, loss in losses.items()})
        return output

    def prediction_step(
        self, model: nn.Module, inputs: Batch, prediction_loss_only: bool, *args: Any, **kwargs: Any
    ) -> object:
        """As transformers has it.

        Raises:
            ValueError: if labels are gathered that are not of the same tasks in every batch: they would not be as many
                as the predictions.
        """
        labels = inputs.get("labels")
        if not prediction_loss_only and labels is not None:
            self._evaluated = set(labels) if self._evaluated is None else self._evaluated
            if set(labels) != self._evaluated:
                raise ValueError(
                    f"A batch has labels for {sorted(labels)}, one before it for {sorted(self._evaluated)}, and "
                    "compute_metrics needs as many labels as predictions: give each sample labels for the same tasks, "
                    "with what the task's kind ignores where there is none (model.kinds[task].missing)."
                )
        return super().prediction_step(model, inputs, prediction_loss_only, *args, **kwargs)


def _with_losses(model: nn.Module) -> TaskModule:
    """The model with tasks in a model, which may be wrapped."""
    for part in model.modules():
        if isinstance(part, TaskModule) and "labels" in inspect.signature(part.forward).parameters:
            return part
    raise TypeError(
        f"{type(model).__name__} has no tasks with losses: take a TsbnForMultiTask. timm's models are trained by "
        "tsbn train, or by timm's loop with tsbn_hub.training.timm."
    )


class LabelCollate:
    """Stack samples of transformers, any of which may lack any label.

    Args:
        missing: As of `tsbn_hub.data.Collate`.
    """

    def __init__(self, missing: Mapping[str, float]) -> None:
        self._collate = Collate(missing)

    def __call__(self, samples: Sequence[Batch]) -> Batch:
        """The images, `pixel_values`, (B, …), and `labels` of the tasks that at least one sample has a label for."""
        labels = [sample.get("labels", {}) for sample in samples]
        if wrong := [type(each).__name__ for each in labels if not isinstance(each, Mapping)]:
            raise TypeError(f"The labels of a sample are a {wrong[0]}: give a dict by task, {{task: …}}.")
        batch = self._collate(
            [{"image": sample["pixel_values"], "targets": each} for sample, each in zip(samples, labels, strict=True)]
        )
        return {"pixel_values": batch["image"], "labels": batch["targets"]}


class _Means:
    """The mean of each task's loss, as sums that stay on the device."""

    def __init__(self, tasks: Collection[str]) -> None:
        self._tasks = list(tasks)
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()

    def add(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss

    def count(self, terms: Mapping[str, int]) -> None:
        self._counts.update(terms)

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over all processes, of the tasks that have had terms; it begins anew then."""
        zero = torch.zeros((), device=accelerator.device)
        rows = [[self._sums.get(name, zero).float(), zero + self._counts[name]] for name in self._tasks]
        joined: Tensor = accelerator.reduce(torch.stack([torch.stack(row) for row in rows]))
        self._sums, self._counts = {}, Counter()
        return {name: total / count for name, (total, count) in zip(self._tasks, joined.tolist(), strict=True) if count}
