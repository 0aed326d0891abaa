"""Code of the user's own for tests, and a process that knows nothing of it."""

import sys
from contextlib import contextmanager
from pathlib import Path

from tsbn_hub.data.sets.registry import data_sets
from tsbn_hub.models.heads.head import heads
from tsbn_hub.norms import kernels
from tsbn_hub.tasks.kind import kind_classes
from tsbn_hub.training.balancing.balancing import balancings

KIND = """
from pathlib import Path
from tsbn_hub.tasks import Regression
from tsbn_hub.tasks.kind import register_kind

Path(__file__).with_suffix(".imported").touch()

@register_kind("weight")
class Weight(Regression):
    pass
"""

HEAD = """
from pathlib import Path
from torch import nn
from tsbn_hub.models.heads import Head, register_head

Path(__file__).with_suffix(".imported").touch()

@register_head("mean", dense=False)
class MeanHead(Head):
    def __init__(self, outputs, features):
        super().__init__()
        self.scale = nn.Linear(1, outputs)

    def forward(self, features, size):
        return self.scale(features.pooled.mean(1, keepdim=True))
"""


def _tables():
    registries = [registry._entries for registry in (kind_classes, heads, data_sets, balancings)]
    return [sys.modules, *registries, kernels._kernels, kernels._batch_norms]


def working_directory(tmp_path, monkeypatch, files):
    """Go to a new folder with files, whose contents are given by their paths."""
    folder = tmp_path / "here"
    (folder / "src").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for path, content in files.items():
        Path(path).write_text(content)
    return folder


@contextmanager
def nothing_imported():
    """What is imported and registered in the block is forgotten at its end, as if another process had done it."""
    path, tables = list(sys.path), _tables()
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        sys.path[:] = path
        for table, entries in zip(tables, before, strict=True):
            for key in [key for key in table if key not in entries and _is_own(table[key])]:
                del table[key]


def _is_own(entry):
    """Not a module of a library that is imported late, which would not bear to be imported twice."""
    file = getattr(entry, "__file__", None) or "" if type(entry) is type(sys) else "/tmp/"
    return "site-packages" not in file and "tsbn_hub/" not in file and "/lib/python" not in file and bool(file)
