"""The method: norms with gates and statistics per task, and how a network gets and loses them."""

from .batch_norm import SharedBatchNorm, TaskBatchNorm
from .convert import convert
from .gating import gated_norms
from .kernels import register_batch_norm, register_norm
from .selection import TaskSelector
from .selection.recomputation import remembering_task
from .statistics import convert_sync_batchnorm, freeze_batch_norm, reestimate_statistics
from .task_module import TaskModule
from .task_norm import NormOptions, TaskNorm
from .task_parameters import TaskModules, TaskParameters
from .wrappers import unwrapped

__all__ = [
    "NormOptions",
    "SharedBatchNorm",
    "TaskBatchNorm",
    "TaskModule",
    "TaskModules",
    "TaskNorm",
    "TaskParameters",
    "TaskSelector",
    "convert",
    "convert_sync_batchnorm",
    "freeze_batch_norm",
    "gated_norms",
    "reestimate_statistics",
    "register_batch_norm",
    "register_norm",
    "remembering_task",
    "unwrapped",
]
