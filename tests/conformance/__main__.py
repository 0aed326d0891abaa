"""Run timm's own tests/test_models.py on our names: `python -m tests.conformance [--tasks 3] few|many|all`."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from .sources import file_of_source

FOLDER = Path(__file__).parent
FEW = [
    "test_resnet", "test_efficientnet", "test_vit", "test_convnext", "test_byobnet", "test_mambaout", "resnetv2_18",
    "levit_128s",
]  # fmt: skip
MANY = [
    *FEW, "starnet_s050", "edgenext_xx_small", "swin_tiny_patch4_window7_224", "xcit_nano_12_p8_224", "test_vit2",
    "test_vit3", "test_coatnet", "test_maxvit", "test_vit_relpos", "regnetx_002", "repvit_m1", "repghostnet_050",
    "mobilenetv3_small_050", "mobilevit_xxs", "ghostnet_050", "fastvit_t8", "efficientvim_m1", "efficientvit_b0",
    "efficientvit_m0", "shvit_s1", "iformer_t", "lcnetv2_small", "lowformer_b0", "hgnetv2_b0", "dla46x_c",
    "densenet121", "cs3darknet_focus_s", "ese_vovnet19b_slim_dw", "pvt_v2_b0", "coat_tiny", "pit_ti_224",
    "deit_tiny_distilled_patch16_224", "poolformerv2_s12", "skresnet18", "resnest14d", "legacy_seresnet18",
]  # fmt: skip


def run(architectures: list[str] | None, tasks: int = 1, workers: int = 2) -> int:
    """Run the suite; None: every architecture. Returns pytest's exit code."""
    suite = file_of_source("timm", "tests/test_models.py")
    environment = {
        **os.environ,
        "TSBN_ARCHITECTURES": "all" if architectures is None else ",".join(architectures),
        "TSBN_TASKS": str(tasks),
        "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, FOLDER.parents[1]))),  # the plugin; this checkout's package
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "pytest", str(suite), "-p", "timm_plugin", "-q", "-n", str(workers)]
    options = [
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(suite.parent),
        "-c",
        os.devnull,
        "--import-mode=importlib",
        "-W",
        "ignore",
    ]
    return subprocess.run([*command, *options], cwd=suite.parent, env=environment).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["few", "many", "all"])
    parser.add_argument("--tasks", type=int, default=1)
    arguments = parser.parse_args()
    sys.exit(run({"few": FEW, "many": MANY, "all": None}[arguments.which], arguments.tasks))
