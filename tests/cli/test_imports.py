"""What starting costs: the package imports what timm imports, and the command line little more."""

import json
import sys

import pytest

SCRIPT = """
import json, runpy, sys
stages = []
import timm
stages.append(list(sys.modules))
import tsbn_hub
stages.append(list(sys.modules))
sys.argv = ["tsbn", "train", "--help"]
try:
    runpy.run_module("tsbn_hub.cli", run_name="__main__")
except SystemExit as ended:
    assert not ended.code
stages.append(list(sys.modules))
print(json.dumps(stages))
"""


@pytest.fixture(scope="module")
def stages(python):
    """The modules that a process has after `import timm`, then after `import tsbn_hub`, then after a command's help."""
    done = python(SCRIPT)
    return [set(modules) for modules in json.loads(done.stdout.splitlines()[-1])]


def packages(modules):
    return {name.partition(".")[0] for name in modules}


def rooms(modules):
    return {name.split(".")[1] for name in modules if name.startswith("tsbn_hub.")}


def test_the_package_imports_what_timm_does(stages):
    timm, package, _ = stages
    assert packages(package) - packages(timm) - sys.stdlib_module_names == {"tsbn_hub"}
    # Of these two, timm has imported other modules. They are small.
    assert packages(package - timm) - sys.stdlib_module_names <= {"tsbn_hub", "huggingface_hub", "safetensors"}
    assert rooms(package) <= {"files", "models", "norms", "tasks", "version", "lazy"}
    assert "tsbn_hub.models.hf" not in package


def test_the_command_line_imports_little(stages):
    _, package, command = stages
    assert "tsbn_hub.cli.train" in command and rooms(command - package) == {"cli"}
    heavy = {"transformers", "accelerate", "torchmetrics", "torchjd", "sklearn", "matplotlib"}
    assert not packages(command) & heavy
