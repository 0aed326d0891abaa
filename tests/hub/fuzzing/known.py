"""Known mutations: what was found once, and what chance seldom comes upon. The fuzzer begins with them."""

import json

from .edits import (
    OUTSIDE,
    Case,
    Divided,
    Document,
    Missing,
    Put,
    Remove,
    Rename,
    Tensor,
    Tensors,
    Twice,
)
from .seeds import PICKLE

CONFIG, WEIGHTS, ADAPTER = "config.json", "model.safetensors", "task_adapter.json"
ELSEWHERE = "a checkpoint may not ask for that"

_OTHER_PICKLE = f"{OUTSIDE}/{PICKLE}"

REFUSED: dict[str, tuple[Case, str]] = {
    # another file than the checkpoint's
    "pickle-by-shards": (Case("plain timm", (Divided(WEIGHTS),)), "timm reads no other safetensors"),
    "pickle-by-shards-of-ours": (Case("timm resnet", (Divided(WEIGHTS),)), "timm reads no other safetensors"),
    "pickle-without-weights": (Case("timm vit", (Missing(WEIGHTS),)), "Pickled weights .* are not read"),
    "pickle-of-transformers": (Case("folded vit", (Missing(WEIGHTS),)), "Pickled weights .* are not read"),
    "pickle-of-a-task": (
        Case("task of timm", (Missing("task_adapter.safetensors"),)),
        "Pickled weights .* are not read",
    ),
    "pickle-for-timm-in-transformers": (
        Case("multi-task timm", (Put(CONFIG, ("backbone_config", "model_args", "checkpoint_path"), _OTHER_PICKLE),)),
        r"backbone_config\.model_args\.checkpoint_path=.*" + ELSEWHERE,
    ),
    "pickle-for-a-wrapped-model": (
        Case(
            "folded vit",
            (
                Put(CONFIG, ("architectures",), ["TimmWrapperModel"]),
                Put(CONFIG, ("model_type",), "timm_wrapper"),
                Put(CONFIG, ("architecture",), "resnet18"),
                Put(CONFIG, ("model_args",), {"checkpoint_path": _OTHER_PICKLE}),
            ),
        ),
        ELSEWHERE,
    ),
    "pickle-by-a-task": (
        Case("task on plain timm", (Put("task/task_adapter.json", ("model_args", "checkpoint_path"), _OTHER_PICKLE),)),
        ELSEWHERE,
    ),
    "file-of-an-overlay": (
        Case("timm resnet", (Put(CONFIG, ("model_args", "pretrained_cfg_overlay"), {"file": f"{OUTSIDE}/{WEIGHTS}"}),)),
        ELSEWHERE,
    ),
    "pickle-of-an-index": (
        Case("backbone in shards", (Put(f"{WEIGHTS}.index.json", ("weight_map", "x"), PICKLE),)),
        r"names the files \['pytorch_model.bin'\]",
    ),
    "file-of-an-index": (
        Case("backbone in shards", (Put(f"{WEIGHTS}.index.json", ("weight_map",), {"x": f"../outside/{WEIGHTS}"}),)),
        "names the files",
    ),
    # a repo, or code
    "repo-as-architecture": (
        Case("multi-task timm", (Put(CONFIG, ("backbone_config", "architecture"), "hf-hub:org/name"),)),
        ELSEWHERE,
    ),
    "repo-as-backbone": (
        Case(
            "folded vit",
            (
                Put(CONFIG, ("architectures",), ["UperNetForSemanticSegmentation"]),
                Put(CONFIG, ("model_type",), "upernet"),
                Put(CONFIG, ("backbone",), "org/name"),
            ),
        ),
        ELSEWHERE,
    ),
    "repo-of-a-kernel": (
        Case(
            "multi-task vit", (Put(CONFIG, ("backbone_config", "attn_implementation"), "kernels-community/flash-attn"),)
        ),
        ELSEWHERE,
    ),
    "code-of-a-base": (
        Case(
            "task on plain vit",
            (
                Put("base/config.json", ("model_type",), "its-own"),
                Put("base/config.json", ("auto_map",), {"AutoConfig": "code.Config", "AutoModel": "code.Model"}),
            ),
        ),
        "trust_remote_code",
    ),
    "device": (Case("plain timm", (Put(CONFIG, ("model_args", "device"), "meta"),)), ELSEWHERE),
    # weights that are made up
    "other-classes": (
        Case("timm resnet", (Put(CONFIG, ("model_args", "task_classes"), [3, 9]),)),
        "num_classes=5, .* make a model of 9",
    ),
    "classes-of-the-config": (
        Case("timm resnet", (Put(CONFIG, ("num_classes",), 3),)),
        "num_classes=3, .* make a model of 5",
    ),
    "classes-of-a-plain-model": (
        Case("plain timm", (Put(CONFIG, ("model_args", "num_classes"), 9),)),
        "num_classes=4, .* make a model of 9",
    ),
    "loading-in-part": (
        Case(
            "timm resnet",
            (
                Put(CONFIG, ("model_args", "pretrained_strict"), False),
                Tensor(WEIGHTS, "conv1.weight", removed=True),
            ),
        ),
        ELSEWHERE,
    ),
    # memory and time
    "names-for-classes": (
        Case("multi-task timm", (Put(CONFIG, ("backbone_config", "num_classes"), 10**6),)),
        "no size of a network",
    ),
    "nested": (Case("task of timm", (Put(ADAPTER, ("task",), json.loads("[" * 90 + "]" * 90)),)), "nested"),
    "vast-head-of-a-task": (
        Case(
            "task of transformers",
            (
                Put(ADAPTER, ("task", "head"), "deeplabv3"),
                Put(ADAPTER, ("task", "head_args"), {"atrous_rates": [1] * 10**4}),
            ),
        ),
        "many more layers",
    ),
    "vast-plain-base": (
        Case(
            "task on plain vit",
            (
                Put("base/config.json", ("hidden_size",), 20_000),
                Put("base/config.json", ("num_attention_heads",), 1),
            ),
        ),
        "describes a model of",
    ),
    # errors that were not ours
    "base-of-two-kinds": (
        Case(
            "task on plain vit",
            (
                Put("base/config.json", ("architecture",), "resnet18_tsbn"),
                Remove("task/task_adapter.json", ("norm",)),
            ),
        ),
        r"lacks \['norm'\]",
    ),
    "base-without-heads": (
        Case("task on multi-task vit", (Put("base/config.json", ("architectures",), ["TsbnModel"]),)),
        "has a TsbnModel, without heads",
    ),
    "other-task-for-the-tensors": (
        Case("task of transformers", (Put(ADAPTER, ("task", "kind"), ["depth"]),)),
        "unhashable",
    ),
    # by the way, all others
    "no-config": (Case("timm resnet", (Missing(CONFIG),)), "has no config.json"),
    "no-object": (Case("timm resnet", (Document(CONFIG, []),)), "holds no object, but a list"),
    "other-count-of-tasks": (
        Case("timm resnet", (Tensors(WEIGHTS, ".gate_logits", rows=3),)),
        "The checkpoint has 3 tasks",
    ),
    "foreign-weights": (Case("timm resnet", (Tensors(WEIGHTS, "", prefix="x"),)), "no entry of this TsbnResNet"),
    "twice": (
        Case(
            "timm resnet",
            (
                Rename(CONFIG, ("architecture",), "x"),
                Twice(CONFIG, "architecture", 3),
            ),
        ),
        "the architecture 3, which timm does not know",
    ),
    "bias-of-one-task": (
        Case("timm resnet", (Tensor(WEIGHTS, "fc.bias", shape=(3,)),)),
        "size mismatch for fc.bias",
    ),
    "layout-of-nothing": (
        Case("multi-task vit", (Put(CONFIG, ("feature_layout",), None),)),
        "has no feature_layout",
    ),
    "regression-of-nothing": (
        Case(
            "multi-task vit",
            (Put(CONFIG, ("tasks", 1), {"name": "a", "kind": "regression", "kind_args": {"size": 0}}),),
        ),
        "size=0 must be at least 1",
    ),
    "weight-of-edges": (
        Case(
            "multi-task vit",
            (Put(CONFIG, ("tasks", 1), {"name": "a", "kind": "edges", "kind_args": {"positive_weight": 2}}),),
        ),
        "positive_weight=2 must lie between 0 and 1",
    ),
    "tasks-in-a-backbone": (
        Case("multi-task vit", (Put(CONFIG, ("backbone_config", "model_type"), "tsbn"),)),
        "has task norms already",
    ),
    "tasks-in-a-backbone-of-timm": (
        Case("multi-task timm", (Put(CONFIG, ("backbone_config", "architecture"), "resnet18_tsbn"),)),
        "has task norms already",
    ),
    "twice-a-task": (Case("timm resnet", (Put(CONFIG, ("model_args", "tasks"), ["z", "z"]),)), r"\['z'\] are repeated"),
    "task-with-a-dot": (
        Case("timm resnet", (Put(CONFIG, ("model_args", "tasks"), ["z", "a.b"]),)),
        "'a.b' cannot be a task's name",
    ),
    "tasks-in-a-text": (Case("timm resnet", (Put(CONFIG, ("model_args", "tasks"), "za"),)), "not the string 'za'"),
    "no-tasks": (Case("multi-task vit", (Put(CONFIG, ("tasks",), []),)), "tasks is empty"),
    "classes-of-other-tasks": (
        Case("timm resnet", (Put(CONFIG, ("model_args", "num_classes"), {"z": 3, "b": 5}),)),
        r"unknown are \['b'\]; missing are \['a'\]",
    ),
    "plain-weights-for-tasks": (
        Case("timm resnet", (Tensors(WEIGHTS, ".gate_logits", removed=True),)),
        "The plain checkpoint's fc.weight is for 8 classes",
    ),
    "maps-for-a-head": (
        Case("multi-task vit", (Put(CONFIG, ("feature_layout", "channels"), []),)),
        "needs feature maps, and this backbone has none",
    ),
    "maps-of-a-backbone": (
        Case(
            "backbone in shards", (Put(CONFIG, ("feature_layout", "indices"), []), Put(CONFIG, ("out_features",), None))
        ),
        "gives no feature maps",
    ),
    "labels-of-a-kind": (
        Case("multi-task vit", (Put(CONFIG, ("tasks", 1, "kind_args"), {"labels": ["a"]}),)),
        "num_classes=3, but there are 1 labels",
    ),
    "trunk-of-nobody": (
        Case("multi-task vit", (Put(CONFIG, ("trunk",), "nobodys"), Put(CONFIG, ("trunk_args",), {}))),
        "There is no trunk 'nobodys'",
    ),
    "other-trunk-args": (
        Case("multi-task vit", (Put(CONFIG, ("trunk_args",), {"width": 3}),)),
        "The trunk 'tsbn' cannot take trunk_args",
    ),
    "code-in-an-object": (
        Case("multi-task vit", (Put(CONFIG, ("imports",), {"kinds.py": 1}),)),
        "must be a list of files and modules",
    ),
    "code-of-nobody": (
        Case("timm resnet", (Put(CONFIG, ("imports",), ["kinds.py"]), Put(CONFIG, ("architecture",), "x_tsbn"))),
        "not imported without being asked: kinds.py",
    ),
    "tolerance-of-edges": (
        Case(
            "task of transformers",
            (Put(ADAPTER, ("task",), {"name": "z", "kind": "edges", "kind_args": {"tolerance": -1}}),),
        ),
        "tolerance=-1 must be a number of pixels",
    ),
}
"""What the refusal says, as a regular expression."""

LOADED: dict[str, Case] = {
    "base-of-two-kinds": Case("task on plain vit", (Put("base/config.json", ("architecture",), "resnet18_tsbn"),)),
    "file-in-the-pretrained-config": Case(
        "plain timm",
        (
            Put(CONFIG, ("pretrained_cfg", "file"), _OTHER_PICKLE),
            Put(CONFIG, ("pretrained_cfg", "source"), "timm"),
        ),
    ),
    "attention": Case("multi-task vit", (Put(CONFIG, ("backbone_config", "attn_implementation"), "eager"),)),
}
"""What is odd, and no reason to refuse."""

KNOWN = [*(case for case, _ in REFUSED.values()), *LOADED.values()]
