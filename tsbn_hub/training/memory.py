"""The memory that a step of training takes."""

import gc
import weakref
from collections import Counter
from itertools import chain

import torch
from torch import Tensor, nn


class PeakMemory:
    """Within the block, measure the highest memory in bytes: `.bytes`.

    On an accelerator: what its allocator handed out at the highest, everything included. On the CPU, where torch has
    no counter: what autograd saved for a backward at the highest, but for what is the model's own (parameters and
    buffers), and what gradient checkpointing recomputes.

    Several blocks may follow one another, but not lie in one another: of these, the outer one misses what the inner
    one measures.

    Args:
        model: The model that the block trains.

    Example:
        >>> import timm, torch
        >>> from tsbn_hub.training import PeakMemory
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> with PeakMemory(model) as of_one:
        ...     model(torch.rand(2, 3, 64, 64), task="left").sum().backward()
        >>> with PeakMemory(model) as of_all:
        ...     sum(output.sum() for output in model(torch.rand(2, 3, 64, 64)).values()).backward()
        >>> 1.5 < of_all.bytes / of_one.bytes < 2.1
        True
    """

    def __init__(self, model: nn.Module) -> None:
        self.bytes = 0
        self._device = next(model.parameters()).device
        self._saved: Counter[int] = Counter()  # how many saved tensors lie in a storage
        self._held = 0
        tensors = chain(model.parameters(), model.buffers())
        self._of_model = {tensor.untyped_storage().data_ptr() for tensor in tensors}

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if self._device.type == "cpu":
            self.bytes = self._held
            self._hooks = torch.autograd.graph.saved_tensors_hooks(self._save, lambda saved: saved.tensor)
            self._hooks.__enter__()
        else:
            torch.accelerator.reset_peak_memory_stats(self._device)
        return self

    def __exit__(self, *error: object) -> None:
        if self._device.type == "cpu":
            self._hooks.__exit__(*error)
        else:
            self.bytes = torch.accelerator.max_memory_allocated(self._device)

    def _save(self, tensor: Tensor) -> "_Saved":
        saved = _Saved(tensor.detach())  # with its graph, it would be part of what holds it
        storage = tensor.untyped_storage()
        where, size = storage.data_ptr(), storage.nbytes()
        if where not in self._of_model:
            self._saved[where] += 1
            if self._saved[where] == 1:
                self._held += size
                self.bytes = max(self.bytes, self._held)
            weakref.finalize(saved, self._release, where, size)
        return saved

    def _release(self, where: int, size: int) -> None:
        self._saved[where] -= 1
        if not self._saved[where]:
            self._held -= size


class _Saved:
    """A tensor saved for a backward, which autograd drops when it has run."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
