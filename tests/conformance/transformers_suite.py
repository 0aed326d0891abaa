"""transformers' own tests, of the installed version's source distribution, as modules to import."""

import importlib
import sys
from types import ModuleType
from typing import Any
from unittest.mock import patch

from .sources import files_of_source

_PACKAGE = "tests_of_transformers"
_FILES = ["test_modeling_common", "test_backbone_common", "test_configuration_common"]
# What these files import, and the source distribution leaves out: tests of export and of text generation.
_STUBS: dict[str, dict[str, Any]] = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {"config_common_kwargs": {}},
}


def suite(file: str) -> ModuleType:
    """One of the files of transformers' tests.

    Raises:
        FileNotFoundError: if PyPI cannot be reached.
    """
    if _PACKAGE not in sys.modules:
        first, *_ = files_of_source("transformers", [f"tests/{each}.py" for each in _FILES])
        _add_package(_PACKAGE, [str(first.parent)])
        for name, content in _STUBS.items():
            _add_package(f"{_PACKAGE}.{name.partition('.')[0]}", [])
            vars(_add_package(f"{_PACKAGE}.{name}", [])).update(content)
    # A file of theirs would execute their repository's own package in the place of the installed one.
    with patch("transformers.utils.direct_transformers_import"):
        return importlib.import_module(f"{_PACKAGE}.{file}")


def _add_package(name: str, path: list[str]) -> ModuleType:
    sys.modules[name] = package = ModuleType(name)
    package.__path__ = path
    return package
