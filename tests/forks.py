"""Python processes that start as forks of one which has imported already what all of them need.

A process imports for five seconds and then often works for one. This file is also the program that is forked.
"""

import functools
import gc
import importlib
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

# What a process may need that trains, evaluates and publishes, also what the package imports late.
ALL = (
    "tsbn_hub.cli.main", "tsbn_hub.training", "tsbn_hub.hub", "tsbn_hub.analysis", "timm.models", "torchmetrics",
    "matplotlib.figure",
)  # fmt: skip
# What the package imports of others. Nothing of these reads from the environment which Hub is spoken with, and where
# its cache is; by its version huggingface_hub has httpx or httpx2.
BESIDE_HUB = (
    "torch._dynamo", "torch.distributed.checkpoint", "torch.fx", "torch.utils.flop_counter",
    "torchvision.transforms.v2", "safetensors.torch", "httpx", "httpx2", "yaml", "typer", "rich.progress", "rich.table",
    "PIL.Image", "filelock", "jinja2", "matplotlib.figure", "psutil", "pydantic.json_schema", "regex", "scipy.optimize",
    "scipy.sparse", "tokenizers", "tqdm",
)  # fmt: skip
WITH_HUB = (
    "huggingface_hub.hf_api", "huggingface_hub.hub_mixin", "huggingface_hub.repocard", "accelerate", "timm.data",
    "timm.loss", "timm.models", "timm.optim", "timm.scheduler", "torchmetrics.classification",
    "transformers.backbone_utils", "transformers.modeling_utils", "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.modeling_auto", "transformers.models.bit.image_processing_bit",
    "transformers.models.timm_wrapper.modeling_timm_wrapper", "transformers.models.vit.image_processing_vit",
    "transformers.models.vit.modeling_vit",
)  # fmt: skip


class Forks:
    """`run(*arguments)` is `python *arguments`, begun with modules imported. Use as a context manager.

    They are imported at the first run, in the environment `env`, or in that of then.
    """

    def __init__(self, *modules: str, env: Mapping[str, str] | None = None) -> None:
        self._modules = modules
        self._env = env

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        if "_parent" in vars(self):
            self._parent.kill()  # it waits for a request, and frees nothing that matters
            self._parent.communicate()

    @functools.cached_property
    def _parent(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, *self._modules]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._env)

    def run(self, *arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run `-c code` or `-m module`, with further arguments; `env` is the whole environment."""
        with tempfile.TemporaryDirectory() as folder:
            printed = [f"{folder}/{name}" for name in ("stdout", "stderr")]
            request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "printed": printed}
            print(json.dumps(request), file=self._parent.stdin, flush=True)
            returncode = int(self._parent.stdout.readline())
            return subprocess.CompletedProcess(arguments, returncode, *(Path(name).read_text() for name in printed))


def request_of_a_fork() -> dict:
    """Fork at each request and write how the fork ended. It returns in forks alone: what one is asked for."""
    for line in sys.stdin:
        process = os.fork()
        if not process:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    sys.exit()


def run_python(arguments: list[str], cwd: str, env: Mapping[str, str], printed: list[str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, file in zip((1, 2), printed, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.path[0] = ""  # where this file is
    sys.path[1:1] = [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    option, code, *sys.argv[1:] = arguments
    if option == "-m":
        runpy.run_module(code, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = type(sys)("__main__")
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))


def exit_code_of(run: Callable[[], None]) -> int:
    """What Python would exit with, without the two seconds in which it frees what the fork shares with its parent."""
    try:
        run()
        code: object = 0
    except SystemExit as exited:
        code = exited.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - a process ends with any of them
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    for module in sys.argv[1:]:
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            importlib.import_module(module)
    gc.freeze()  # searches for garbage need not look at it, and forks share its memory
    request = request_of_a_fork()
    os._exit(exit_code_of(lambda: run_python(**request)))
