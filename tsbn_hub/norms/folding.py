"""From a network with task norms back to the plain network of one task."""

import copy
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .batch_norm import SharedBatchNorm
from .blocking import unblock
from .task_parameters import TaskParameters


def folded(module: nn.Module, row: int) -> nn.Module:
    """A copy of a network, with the plain norms and classifiers of a task's row in the places of ours."""
    plain = copy.deepcopy(module, _detached_caches(module))
    new: dict[int, nn.Module] = {}
    for name, part in list(plain.named_modules(remove_duplicate=False)):
        if isinstance(part, TaskParameters | SharedBatchNorm):
            if id(part) not in new:
                new[id(part)] = part.fold(row)
            parent, _, child = name.rpartition(".")
            plain.get_submodule(parent)._modules[child] = new[id(part)]
    for part in plain.modules():
        unblock(part)
    return plain


def _detached_caches(module: nn.Module) -> dict[int, Any]:
    """A memo for deepcopy, which refuses tensors of a graph: some architectures cache these from forward to forward."""
    values = [value for each in module.modules() for key, value in vars(each).items() if not key.startswith("_")]
    tensors = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor) and not leaf.is_leaf]
    return {id(tensor): tensor.detach().clone() for tensor in tensors}
