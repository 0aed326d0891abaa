"""One network, many vision tasks: task-specific normalization with sigmoid gates for timm and the Hugging Face Hub.

Importing this package registers an `<arch>_tsbn` name with timm for every architecture that has a norm layer.
"""

from typing import TYPE_CHECKING

from .lazy import lazy_names
from .models import register_timm_architectures
from .version import __version__

if TYPE_CHECKING:
    from .analysis import importance_matrix as importance_matrix
    from .hub import load_task as load_task
    from .hub import merge as merge
    from .hub import push_task_to_hub as push_task_to_hub
    from .hub import push_to_hub as push_to_hub
    from .hub import save_task as save_task
    from .models import CheckpointError as CheckpointError
    from .models import HubError as HubError
    from .models import from_pretrained as from_pretrained
    from .models import register as register
    from .models import save_pretrained as save_pretrained
    from .models.hf import TsbnBackbone as TsbnBackbone
    from .models.hf import TsbnConfig as TsbnConfig
    from .models.hf import TsbnForMultiTask as TsbnForMultiTask
    from .models.hf import TsbnModel as TsbnModel
    from .norms import convert as convert
    from .tasks import Task as Task
    from .training.hf import TsbnTrainer as TsbnTrainer
    from .training.optimization.freezing import freeze_trunk as freeze_trunk
    from .training.optimization.param_groups import param_groups as param_groups

_HOMES = {
    "CheckpointError": "models",
    "HubError": "models",
    "Task": "tasks",
    "TsbnBackbone": "models.hf",
    "TsbnConfig": "models.hf",
    "TsbnForMultiTask": "models.hf",
    "TsbnModel": "models.hf",
    "TsbnTrainer": "training.hf",
    "convert": "norms",
    "freeze_trunk": "training",
    "from_pretrained": "models",
    "importance_matrix": "analysis",
    "load_task": "hub",
    "merge": "hub",
    "param_groups": "training",
    "push_task_to_hub": "hub",
    "push_to_hub": "hub",
    "register": "models",
    "save_pretrained": "models",
    "save_task": "hub",
}

__all__ = [*_HOMES, "__version__"]


__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__


register_timm_architectures()
