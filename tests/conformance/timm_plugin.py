"""A pytest plugin that lets timm's own tests/test_models.py run on our names.

$TSBN_ARCHITECTURES: the plain names, separated by commas, or `all`. $TSBN_TASKS: the number of tasks; with several,
one is set, so that a model is that task's.
"""

import os

import pytest
import timm
import timm.models

import tsbn_hub  # noqa: F401

_all_models, _create = timm.list_models, timm.create_model
_chosen = os.environ.get("TSBN_ARCHITECTURES", "all")
_names = set(_all_models("*_tsbn"))
if _chosen != "all":
    _names = {f"{name}_tsbn" for name in _chosen.split(",")}
# The largest of the chosen ones, with fewer of the blocks that they repeat: half of the time was theirs.
_SHALLOW = {"swin_tiny_patch4_window7_224": {"depths": (1, 1, 2, 1)}, "xcit_nano_12_p8_224": {"depth": 4}}
_tasks = [f"task{number}" for number in range(int(os.environ.get("TSBN_TASKS", "1")))]


def _list_models(filter="", module="", *args, **kwargs):
    """timm's list, of the chosen names alone; a module's list has those of its architectures, too."""
    names = _all_models(filter, "", *args, **kwargs)
    if module:
        plain = set(_all_models("", module))
        names = [name for name in names if name.partition(".")[0].removesuffix("_tsbn") in plain]
    return [name for name in names if name.partition(".")[0] in _names]


def _create_model(name, *args, **kwargs):
    ours = name.partition(".")[0]
    if ours.endswith("_tsbn") and _chosen != "all":
        kwargs = {**_SHALLOW.get(ours.removesuffix("_tsbn"), {}), **kwargs}
    if not ours.endswith("_tsbn") or len(_tasks) == 1:
        return _create(name, *args, **kwargs)
    model = _create(name, *args, tasks=_tasks, **kwargs)
    model.set_task(_tasks[1])
    return model


def pytest_configure(config):
    # Before the suite is imported, and only where this is loaded as a plugin.
    timm.list_models = timm.models.list_models = _list_models
    timm.create_model = timm.models.create_model = _create_model
    import torch

    torch.set_num_threads(1)
    for marker in (
        "base",
        "forward",
        "backward",
        "cfg",
        "cfg_nonstd",
        "torchscript",
        "features",
        "fxforward",
        "fxbackward",
    ):
        config.addinivalue_line("markers", f"{marker}: timm's own")


def pytest_collection_modifyitems(config, items):
    ours = [item for item in items if _is_ours(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _is_ours(item)])
    items[:] = ours


def _is_ours(item: pytest.Item) -> bool:
    name = getattr(item, "callspec", None) and item.callspec.params.get("model_name", "")
    downloads = ("test_model_inference", "test_model_load_pretrained", "test_model_features_pretrained")
    return bool(name) and str(name).partition(".")[0] in _names and item.name.partition("[")[0] not in downloads
