"""Small models to export, and what they say of a photo."""

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn
from transformers import BitImageProcessor, ResNetConfig, SwinConfig, TimmWrapperConfig, ViTConfig

from tests.models.hf_backbones import randomized
from tsbn_hub import Task, TsbnForMultiTask

SMALL = {"channels": 8}
KINDS = [
    Task("place", labels=["room", "hall", "yard"]),
    Task("what is there", "attributes", labels=["lamp", "door"], kind_args={"thresholds": [0.25, 0.5]}),
    Task("age", "regression", kind_args={"size": 2, "mean": [40.0, 9.0], "scale": [10.0, 2.0]}),
    Task("seg/parts", "segmentation", labels=["floor", "wall", "chair"], head_args=SMALL),
    Task("relu", "depth", head_args=SMALL),  # as a value in the graph may be called
    Task("disparity", "disparity", head_args=SMALL),
    Task("images", "normals", head_args=SMALL),  # as the input is called
    Task("edges", "edges", head_args=SMALL),
    Task("saliency", "saliency", head_args=SMALL),
]
FEW = [KINDS[0], KINDS[3]]
CONFIGS = {
    "resnet": (ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1]), (64, 96)),
    "vit": (
        ViTConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
        ),
        (32, 32),
    ),
    "swin": (
        SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[1], num_heads=[2], window_size=4),
        (64, 64),
    ),
    "timm/test_resnet": (TimmWrapperConfig(architecture="test_resnet"), (64, 96)),
}


def timm_model(classes=None, **kwargs):
    """A model of timm with classifiers, for images that its preprocessing leaves in their size."""
    overlay = {"input_size": (3, 64, 96), "crop_pct": 1.0, "crop_mode": "squash"}
    torch.manual_seed(0)
    model = timm.create_model(
        "test_resnet_tsbn",
        num_classes=classes or {"gender": 2, "age": 8},
        pretrained_cfg_overlay=overlay | {"mean": (0.3, 0.4, 0.5), "std": (0.2, 0.3, 0.4)},
        **kwargs,
    )
    return randomized(model).eval()


def transformers_model(name, tasks=FEW, **options):
    """A TsbnForMultiTask, for images that its image processor leaves in their size."""
    config, (height, width) = CONFIGS[name]
    torch.manual_seed(0)
    model = randomized(TsbnForMultiTask.from_backbone(config, tasks, **options)).eval()
    model.image_processor = BitImageProcessor(
        size={"height": height, "width": width}, do_center_crop=False, image_mean=[0.3, 0.4, 0.5], image_std=[0.2] * 3
    )
    return model


def photo(height, width, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def as_batch(*photos, values="uint8"):
    """(B, 3, H, W), as a server has it."""
    images = np.stack([np.asarray(each).transpose(2, 0, 1) for each in photos])
    return images if values == "uint8" else images.astype(np.float32) / 255


class Untraceable(nn.Module):
    """A part whose graph hangs on what the values are."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class WithoutLastOfOddRows(nn.Module):
    """A part whose graph is for even numbers of rows, or for odd ones."""

    def forward(self, x):
        return x if x.shape[-2] % 2 == 0 else 2 * x[..., :-1, :]
