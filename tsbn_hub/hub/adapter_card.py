"""The card of a task adapter."""

from pathlib import Path

from huggingface_hub import ModelCardData

from ..models.saving import write_atomically
from ..models.task_parts import HEAD
from .adapter_files import read_adapter

_BODY = """\
# {name}

The task `{task}` ({kind}) for a multi-task model: its gates and statistics in every norm layer, and its head. The
network that it is for, with the features that all tasks share, is {base}.

## Use

```python
import tsbn_hub

model = tsbn_hub.load_task({base_code}, {name!r})  # the network, and this task
model(images, task={task!r})
tsbn_hub.merge([{name!r}, …])  # several adapters in one model
```

| | numbers |
| --- | --- |
| gates and statistics | {norms:,} |
| head | {head:,} |

Metrics were not recorded. The method is [TSσBN, arXiv 2512.20420](https://arxiv.org/abs/2512.20420).
"""


def write_adapter_card(folder: str | Path, name: str) -> None:
    """Write the README.md of a folder of `save_task`.

    Args:
        folder: The folder.
        name: Of the repo, "org/name", or of the folder.
    """
    folder = Path(folder)
    config, task, tensors = read_adapter(folder)
    base, revision = config.base_model_name_or_path, config.revision
    at = f"{base}@{revision}" if base and revision else base
    metadata = ModelCardData(
        library_name="tsbn_hub",
        base_model=base if base and base.count("/") == 1 and not Path(base).is_dir() else None,
        tags=["tsbn", "multi-task", "task-adapter", task.name],
    )
    sizes = dict.fromkeys((True, False), 0)
    for key, tensor in tensors.items():
        sizes[key.startswith(HEAD)] += tensor.numel()
    body = _BODY.format(
        name=name,
        task=task.name,
        kind=task.kind,
        base=f"`{at}`" if at else f"a {config.architecture} that was not recorded",
        base_code=repr(at or "the base"),
        norms=sizes[False],
        head=sizes[True],
    )
    write_atomically({folder / "README.md": lambda path: path.write_text(f"---\n{metadata}\n---\n\n{body}")})
