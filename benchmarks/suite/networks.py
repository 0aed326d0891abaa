"""The networks of a case, and what is run of them."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec

import timm
import torch
from torch import Tensor, nn

from tsbn_hub.norms import TaskModule
from tsbn_hub.norms.execution import Execution
from tsbn_hub.norms.execution.trial import shared_part

from .cases import Case, gated_norms

PEFT_MODEL = "vit_small_patch16_224"
"""Where PEFT's LoRA is measured beside task norms."""

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class Measured:
    """What is run.

    Args:
        call: Runs it.
        networks: What it needs in memory.
        base: The name of the run that it is compared with; empty: it is one itself.
        passes: Of how many passes it holds the activations at once, at most.
    """

    call: Callable[[], object]
    networks: Sequence[nn.Module]
    base: str = ""
    passes: float = 1

    @property
    def weights(self) -> int:
        """The bytes of its parameters and buffers."""
        return sum(tensor.nbytes for net in self.networks for tensor in (*net.parameters(), *net.buffers()))

    def clear(self) -> None:
        """Free the gradients."""
        for net in self.networks:
            net.zero_grad(set_to_none=True)


class Networks:
    """The networks of a case: one with all tasks, and a plain one per task, with weights of its own.

    Args:
        case: The case.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        torch.manual_seed(0)
        plain: nn.Module = timm.create_model(case.model)
        shape = timm.data.resolve_data_config(model=plain)["input_size"]
        self.images = torch.randn(case.batch, *shape, device=case.device)
        self.tasks = [f"task{number}" for number in range(case.tasks)]
        gated = gated_norms(case.model, case.gated)
        model = timm.create_model(f"{case.model}_tsbn", tasks=self.tasks, gated=gated)
        assert isinstance(model, TaskModule)
        self.model = model
        self.plain: list[nn.Module] = [copy.deepcopy(plain) for _ in self.tasks]
        for net in (self.model, *self.plain):
            net.to(case.device).train(case.what == "step")

    @cached_property
    def shared_part(self) -> float:
        """The part of a pass that is before the first task-specific norm, in floating-point operations."""
        return shared_part(self.model, self.model.task_selector, lambda: self.model(self.images[:1]))

    def runs(self) -> dict[str, Measured]:
        """What is measured, by name. A base comes before what is compared with it."""
        case, x, ours = self.case, self.images, [self.model]
        compiled, step = case.mode == "compiled", case.what == "step"
        model: Forward = self.model
        plain: list[Forward] = list(self.plain)
        rows: Sequence[str | Tensor] = self.tasks
        if compiled:
            torch._dynamo.reset()
            model, plain = torch.compile(self.model), [torch.compile(net) for net in self.plain]
            rows = [torch.tensor(row) for row in range(case.tasks)]  # one graph serves all tasks

        def of_plain(number: int) -> object:
            return self._run(self.plain[number], lambda: [plain[number](x)])

        def of_tasks(execution: Execution) -> object:
            if compiled and execution == "sequential":
                return self._run(self.model, lambda: [model(x, task=row) for row in rows])
            self.model.execution = execution
            return self._run(self.model, lambda: model(x).values())

        first, each = "one plain model", "plain models"
        runs = {
            first: Measured(lambda: of_plain(0), self.plain[:1]),
            "one task": Measured(lambda: self._run(self.model, lambda: [model(x, task=rows[-1])]), ours, first),
        }
        if case.tasks == 1:
            return runs
        runs[each] = Measured(lambda: [of_plain(number) for number in range(case.tasks)], self.plain)
        together = case.tasks - self.shared_part * (case.tasks - 1)
        runs["sequential"] = Measured(partial(of_tasks, "sequential"), ours, each, case.tasks if step else 1)
        runs["batched"] = Measured(partial(of_tasks, "batched"), ours, each, together)
        if not compiled:  # there it is one of the two
            runs["auto"] = Measured(partial(of_tasks, "auto"), ours, each, together)
        if case.batch > 1 and not compiled and not step:
            of_samples = [self.tasks[at % case.tasks] for at in range(case.batch)]
            call = partial(self._run, self.model, lambda: [self.model(x, task=of_samples)])
            runs["a task per sample"] = Measured(call, ours, first)
            if case.model == PEFT_MODEL and case.gated == "all" and find_spec("peft"):
                lora = self._lora()
                call = partial(self._run, lora, lambda: [lora(x, adapter_names=of_samples)])
                runs["PEFT's LoRA per sample"] = Measured(call, [lora], first)
        return runs

    def _run(self, network: nn.Module, forward: Callable[[], Iterable[Tensor]]) -> object:
        """The outputs; in a step the gradients of their mean squares."""
        step = self.case.what == "step"
        if step:
            network.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(step):
            with torch.autocast(self.case.device, torch.bfloat16, enabled=self.case.dtype == "bfloat16"):
                outputs = list(forward())
            if not step:
                return outputs
            torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        return None

    def _lora(self) -> nn.Module:
        """A plain network with an adapter per task; each sample goes through that of its task."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=8, target_modules=["qkv"])
        lora = get_peft_model(copy.deepcopy(self.plain[0]), config, adapter_name=self.tasks[0])
        for task in self.tasks[1:]:
            lora.add_adapter(task, config)
        return lora.to(self.case.device).eval()
