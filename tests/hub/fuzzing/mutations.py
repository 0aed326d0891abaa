"""Mutations of checkpoints, drawn by hypothesis: what somebody might write who knows what is in the files."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from . import tensors
from .edits import (
    OUTSIDE,
    Case,
    Cut,
    Divided,
    Document,
    Edit,
    HeaderLength,
    Insert,
    Missing,
    Path,
    Put,
    Remove,
    Rename,
    Tensor,
    Tensors,
    Twice,
)
from .known import KNOWN
from .seeds import Files, Seed

_ARCHITECTURES = [
    "resnet18", "resnet18_tsbn", "test_resnet", "test_vit_tsbn", "test_convnext_tsbn", "vit_base_patch16_224_tsbn",
    "convnext_xxlarge", "eva_giant_patch14_224_tsbn", "vgg16", "nfnet_f0", "swin_tiny_patch4_window7_224_tsbn",
    "deit_tiny_distilled_patch16_224_tsbn", "tf_efficientnet_b0_tsbn", "no_such_tsbn", "resnet18_tsbn_tsbn",
    "resnet18.a1_in1k", "hf-hub:org/name", f"local-dir:{OUTSIDE}", "naflexvit_base_patch16_gap_tsbn",
]  # fmt: skip
_MODEL_TYPES = [
    "vit", "swin", "resnet", "convnext", "dinov2", "dinov3_vit", "segformer", "beit", "timm_wrapper", "timm_backbone",
    "tsbn", "bert", "gpt2", "clip", "detr", "upernet", "vision-encoder-decoder", "no-such-type",
]  # fmt: skip
_CLASSES = [
    "TsbnForMultiTask", "TsbnModel", "TsbnBackbone", "TsbnConfig", "ViTModel", "ViTForImageClassification", "AutoModel",
    "PreTrainedModel", "BertModel", "TimmWrapperModel", "UperNetForSemanticSegmentation", "pipeline", "__name__",
]  # fmt: skip
_PATHS = [
    f"{OUTSIDE}/model.safetensors", f"{OUTSIDE}/pytorch_model.bin", OUTSIDE, "../outside/model.safetensors", "..", "/",
    "pytorch_model.bin", "./model.safetensors", "/etc/passwd", "/dev/zero", "model.safetensors\0", "~", "",
]  # fmt: skip
_URLS = ["http://127.0.0.1:9/weights.pth", f"file://{OUTSIDE}/pytorch_model.bin", "org/name", "org/name@main"]

_TASK = ("num_classes", "head", "head_args", "kind_args", "labels", "id2label")

_TASKS: list[Any] = [
    {"name": "z"},
    {"name": "z", "num_classes": 0},
    {"name": "z", "num_classes": 2, "head": "upernet"},
    {"name": "z", "kind": "depth"},
    {"name": "z", "kind": "depth", "kind_args": {"no_such": 1}},
    {"name": "z", "kind": "edges", "kind_args": {"positive_weight": 2}},
    {"name": "z", "kind": "edges", "kind_args": {"tolerance": -1}},
    {"name": "z", "kind": "regression", "kind_args": {"size": 0}},
    {"name": "z", "kind": "segmentation", "num_classes": 2, "kind_args": {"labels": ["a"]}},
    {"name": "z", "kind": "segmentation", "num_classes": 2, "head_args": {"channels": 10**6}},
    {"name": "z.a", "num_classes": 2},
    {"kind": "depth"},
    3,
]

# What a key may be given that means something there, or did once.
_MEANT: dict[str, list[Any]] = {
    "architecture": _ARCHITECTURES,
    "model_type": _MODEL_TYPES,
    "architectures": [[name] for name in _CLASSES] + [[], None, "ViTModel", [3], _CLASSES],
    "norm": ["sigmoid", "affine", "shared", "batch", "", None, ["sigmoid"]],
    "gated": ["*", "layer1.*,layer4.*", "nothing.*", "", ",", [], ["*norm1", "*norm2"], [3], None, "[", "*" * 1000],
    "keep_affine": [True, False, None, 0, "yes"],
    "gate_init": [0, 1, 0.3, 1e-320, -0.5, float("nan"), "0.5", True, None],
    "tasks": [
        [], ["z"], ["a", "z"], ["z", "z"], ["z", "a", "m"], ["z.a", "b"], ["", "a"], ["type", "keys"], "za", [3, 4],
        [["z"], ["a"]], None, {"z": 3}, [f"task {at}" for at in range(3000)], *([task] for task in _TASKS), _TASKS,
    ],
    "task": _TASKS,
    "task_classes": [[3], [3, 5, 7], [0, 0], [-1, 5], [3.5, 5], ["3", "5"], [3, 9], [1, 1], [], None, 5, [10**6, 1]],
    "num_classes": [0, 1, 2, 3, 5, 7, 1000, -1, 10**6, 10**7, None, "5", 2.5, [3, 5], {"z": 3, "a": 5}, True],
    "kind": ["depth", "normals", "edges", "saliency", "attributes", "regression", "segmentation", "colour", None, []],
    "head": ["linear", "small", "deeplabv3", "upernet", "segformer", "unet", "", 3, []],
    "head_args": [
        {}, {"channels": 8}, {"channels": 0}, {"channels": -1}, {"channels": 10**6}, {"channels": "8"}, {"outputs": 3},
        {"atrous_rates": [1] * 4000}, {"pool_scales": [1] * 4000}, {"dropout": 2}, {"features": None}, [], "channels",
    ],
    "kind_args": [{}, {"size": 3}, {"size": 10**6}, {"size": 0}, {"tolerance": -1}, {"positive_weight": 2}, 3, [["a"]]],
    "labels": [["a"], ["a", "a"], ["a", "b", "c"], "abc", [1, 2], [[1], [2]], {}, 3, [None] * 3],
    "id2label": [{"0": "a"}, {"1": "a", "0": "b"}, {"x": "a"}, {}, [], 3, {"0": "a", "00": "b"}, {"-1": "a", "2": "a"}],
    "name": ["z", "a", "new", "z.a", "", "type", "/", "..", "\0", 3, None, ["z"], "ü" * 5000],
    "layers": [[1, 1, 1, 1], [2, 1, 1, 1], [1, 1], [], [10**5] * 4, [0] * 4, [-1] * 4, "1111", 3, [1.5] * 4],
    "channels": [[8, 8, 8, 8], [16] * 4, [10**5] * 4, [0] * 4, [8, 8], [], 8, -1],
    "img_size": [32, 64, [32, 48], 0, -32, 10**5, "32", [32], 1e3],
    "hidden_size": [16, 17, 32, 0, -16, 10**5, 16.0, "16"],
    "num_hidden_layers": [0, 1, 2, 10**5, -1, "1", 1.5],
    "image_size": [32, 64, [32, 48], 0, -1, 10**5, 10**6, None, [32], 1],
    "patch_size": [8, 16, 0, -1, [8, 8], [4, 8, 2], 10**6, None, 1],
    "depths": [[1, 1], [1], [], [10**5, 1], [0, 0], "11"],
    "hidden_sizes": [[8, 8], [8], [], [10**5, 10**5], [0, 0], [8, -8]],
    "num_channels": [1, 3, 0, -1, 10**6],
    "hidden_act": ["gelu", "relu", "nothing", None, 3, {}],
    "feature_layout": [None, {}, [], {"indices": [0], "channels": [16], "strides": [4], "pooled": 16}],
    "indices": [[], [0], [-1], [99], [0, 1, 2, 3], "0", [1.5]],
    "pooled": [0, 8, 16, 10**6, -1, "16"],
    "out_features": [["stage1"], ["stage9"], [], "stage1", None],
    "peft_type": ["TSBN", "LORA", "tsbn", None, 3, ["TSBN"]],
    "library": ["timm", "transformers", "peft", "", None],
    "trunk_sha256": ["", "0" * 64, None, 3],
    "model_args": [{}, None, [], "x", 3],
    "pretrained_cfg": [{}, None, [], "a1_in1k", 3],
    "backbone_config": [{}, None, [], "vit", 3, {"model_type": "vit"}, {"model_type": "tsbn"}],
    "weight_map": [{}, None, [], 3, {"x": 3}, {"x": "model.safetensors"}, *({"x": path} for path in _PATHS)],
}  # fmt: skip

# What timm or transformers would take besides: as a keyword of the network, of the pretrained config, and of others.
_BESIDES: dict[str, dict[str, list[Any]]] = {
    "model_args": {
        "checkpoint_path": _PATHS,
        "cache_dir": _PATHS,
        "pretrained_cfg": [{"file": path} for path in _PATHS] + [{}, "a1_in1k"],
        "pretrained_cfg_overlay": [{"file": path} for path in _PATHS] + [{"url": url} for url in _URLS],
        "state_dict": [{}, {"fc.weight": [0.0]}, 3],
        "pretrained": [True, False],
        "pretrained_strict": [False],
        "pretrained_filter_fn": ["print", None],
        "pretrained_model_args": [{}, {"in_chans": 1}],
        "features_only": [True, "yes"],
        "out_indices": [[0], [-1, 99], 3],
        "feature_cls": ["fx", "hook", "getter", "list", "nothing"],
        "pruned": [True],
        "scriptable": [True],
        "num_classes": [0, 3, 9, {"z": 3}, {"z": 3, "a": 5}, {"z": 3, "b": 5}, "3", -1],
        "tasks": [["z"], ["z", "a", "m"], "z", [], ["z.a", "b"], ["z", "z"], {"z": 3}],
        "in_chans": [1, 0, -3, 10**6, "3"],
        "img_size": [32, 64, [32, 48], 0, -32, 10**5, "32", [32], 1e3],
        "global_pool": ["max", "", "nothing", 3],
        "output_stride": [8, 7, 0],
        "drop_rate": [0.5, 2, -1, "x"],
        "act_layer": ["relu", "nothing", 3],
        "norm_layer": ["batchnorm", "layernorm", "nothing", 3],
        "block": ["basic", 3],
        "device": ["meta", "cuda", "nothing"],
        "dtype": ["float16", "nothing", 3],
        "cfg": [{}, 3],
        "forward": [3],
    },
    "pretrained_cfg": {
        "file": _PATHS,
        "url": _URLS,
        "source": ["hf-hub", "local-dir", "timm", "torchvision", "", None, 3],
        "hf_hub_id": _URLS,
        "hf_hub_filename": _PATHS,
        "custom_load": [True, False, "hf", 3],
        "state_dict": [{}, {"fc.weight": [0.0]}, 3],
        "classifier": ["fc", "head", "conv1", "", "nothing", ["fc", "fc"], ["head", "fc"], None, 3, "layer1", "bn1"],
        "first_conv": ["conv1", "fc", "bn1", "nothing", ["conv1", "conv1"], None, 3, "", "patch_embed.proj"],
        "num_classes": [0, 3, 5, 1000, None, "3"],
        "label_offset": [0, 1, -1, 100, "1", None],
        "input_size": [[3, 32, 32], [1, 32, 32], [3, 10**6, 10**6], [3], [], None, "3", [0, 0, 0], [3, 0, 0]],
        "architecture": _ARCHITECTURES,
        "tag": ["a1_in1k", 3],
        "no_such_key": [3],
    },
    "": {
        "auto_map": [{"AutoConfig": "code.Config", "AutoModel": "code.Model"}, {"AutoModel": "org/name--code.Model"}],
        "quantization_config": [
            {"quant_method": "bitsandbytes", "load_in_8bit": True}, {"quant_method": "gptq", "bits": 4}, {}, 3,
            {"quant_method": "compressed-tensors"}, {"quant_method": "nothing"}, {"quant_method": "fp8"},
        ],
        "attn_implementation": ["eager", "sdpa", "flash_attention_2", "org/kernel", "kernels-community/flash-attn", 3],
        "_attn_implementation": ["eager", "org/kernel", 3],
        "_attn_implementation_internal": ["org/kernel", "flash_attention_3"],
        "_name_or_path": [*_PATHS, "org/name"],
        "_commit_hash": ["0" * 40, 3],
        "backbone": ["resnet18", "org/name", "hf-hub:org/name"],
        "use_timm_backbone": [True],
        "use_pretrained_backbone": [True],
        "model_args": [{"checkpoint_path": f"{OUTSIDE}/pytorch_model.bin"}, {}, None, [], "x", 3],
        "tie_word_embeddings": [True],
        "torch_dtype": ["float16", "nothing", 3],
        "dtype": ["float16", "bfloat16", "int8", "float8_e4m3fn", "torch.float32", "nn", "auto", 3, {}, "uint1"],
        "is_encoder_decoder": [True],
        "pruned_heads": [{"0": [0]}, {"9": [9]}, 3],
        "output_hidden_states": [True],
        "return_dict": [False],
        "problem_type": ["nothing"],
        "num_labels": [0, 3, -1, 10**6],
        "num_channels": [1, 3, 0, -1, 10**6],
        "gguf_file": _PATHS,
        "subfolder": _PATHS,
        "variant": ["fp16", "../outside"],
        "adapter_kwargs": [{"_adapter_model_path": OUTSIDE}],
        "transformers_weights": ["model.safetensors", *_PATHS],
        "base_model_tp_plan": [{"*": "colwise"}],
        "text_config": [{}, {"model_type": "bert"}],
        "kind_args": [{"size": 3}, {"size": 0}, {"size": 10**6}, {"tolerance": -1}, {"positive_weight": 2}, 3, [["a"]]],
        "labels": [["a"], ["a", "a"], ["a", "b", "c"], "abc", [1, 2], [[1], [2]], {}, 3, [None] * 3],
        "__class__": ["x"],
        "__init__": [3],
        "forward": [3],
        "to_dict": ["x"],
    },
}  # fmt: skip

_NUMBERS = [0, 1, 2, 3, 5, 7, 8, 16, 31, 1000, 10**6, 10**6 + 1, 2**31, 2**63, 2**64, 10**30]
_TEXTS = [
    "", " ", "\0", "a" * 20_000, "ü", "\ud800", "{}", "None", "null", "1e9", "default", *_PATHS, *_URLS, *_MODEL_TYPES,
]  # fmt: skip


def _deep(depth: int) -> Any:
    values: Any = 0
    for _ in range(depth):
        values = [values]
    return values


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([*_NUMBERS, *(-number for number in _NUMBERS)]),
    st.integers(-20, 200),
    st.sampled_from([0.0, -0.0, 0.5, -1.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")]),
    st.floats(-2, 2),
    st.sampled_from(_TEXTS),
)
_VALUES = st.one_of(
    _SCALARS,
    _SCALARS,
    st.lists(_SCALARS, max_size=4),
    st.dictionaries(st.sampled_from(["name", "0", "model_type", "", "x"]), _SCALARS, max_size=3),
    st.sampled_from([[], {}, [[]], [{}], _deep(50), _deep(900), [0] * 5000]),
)


def cases(seeds: dict[str, Seed]) -> SearchStrategy[Case]:
    """Mutated checkpoints, with one to three edits; some of them begin with a known one."""
    begun = st.sampled_from([*(Case(name, ()) for name in seeds for _ in range(40)), *KNOWN])
    edits = {name: _edits(seed.files) for name, seed in seeds.items()}
    return begun.flatmap(lambda case: edits[case.seed].map(lambda more: Case(case.seed, (*case.edits, *more))))


def _edits(files: Files) -> SearchStrategy[list[Edit]]:
    jsons = [name for name in files if name.endswith(".json")]
    weights = [name for name in files if name.endswith(".safetensors")]
    values = {name: json.loads(files[name]) for name in jsons}
    kinds = {
        "meant": (8, _meant_edits(values)),
        "besides": (6, _edits_besides(values)),
        "any": (4, _any_edits(values)),
        "tensors": (4, st.one_of([_tensor_edits(name, list(tensors.read(files[name]))) for name in weights])),
        "header": (1, st.one_of([_header_edits(name, files[name]) for name in weights])),
        "broken": (1, st.one_of([_breaking_edits(name) for name in files if not name.endswith(".bin")])),
    }
    by_weight = [name for name, (weight, _) in kinds.items() for _ in range(weight)]
    edit = st.sampled_from(by_weight).flatmap(lambda name: kinds[name][1])
    return st.one_of(st.lists(edit, min_size=1, max_size=1), st.lists(edit, min_size=0, max_size=3))


def _meant_edits(values: dict[str, Any]) -> SearchStrategy[Edit]:
    """Values that their key is for, more or less."""
    places: dict[str, list[tuple[str, Path]]] = {}
    for file, value in values.items():
        for path, _ in _leaves(value):
            if path[-1] in _MEANT:
                places.setdefault(str(path[-1]), []).append((file, path))
    at = st.sampled_from(sorted(places)).flatmap(lambda key: st.sampled_from(places[key]))
    tasks = [(file, path) for file, path in _objects(values) if path[-1:] == ("task",) or path[-2:-1] == ("tasks",)]
    return st.one_of(
        at.flatmap(lambda place: _put(*place, _MEANT[str(place[1][-1])])),
        st.tuples(_picked(tasks), st.sampled_from(["kind", *_TASK])).flatmap(
            lambda place: _put(place[0][0], (*place[0][1], place[1]), _MEANT[place[1]])
        ),
    )


def _edits_besides(values: dict[str, Any]) -> SearchStrategy[Edit]:
    """Values for keys that are not there."""
    objects: dict[str, list[tuple[str, Path]]] = {}
    for file, path in _objects(values):
        kind = str(path[-1]) if path and path[-1] in _BESIDES else ""
        objects.setdefault(kind, []).append((file, path))

    def put(kind: str) -> SearchStrategy[Edit]:
        return st.tuples(st.sampled_from(objects[kind]), st.sampled_from(sorted(_BESIDES[kind]))).flatmap(
            lambda at: _put(at[0][0], (*at[0][1], at[1]), _BESIDES[kind][at[1]])
        )

    return st.sampled_from(sorted(objects)).flatmap(put)


def _put(file: str, path: Path, values: list[Any]) -> SearchStrategy[Edit]:
    return st.builds(Put, st.just(file), st.just(path), st.sampled_from(values))


def _any_edits(values: dict[str, Any]) -> SearchStrategy[Edit]:
    places = _picked([(file, path) for file, value in values.items() for path, _ in _leaves(value)])
    keyed = [(file, path) for file, value in values.items() for path, _ in _leaves(value) if isinstance(path[-1], str)]
    known = st.sampled_from(sorted({*_MEANT, *_BESIDES[""], "", "..", "\0", "ü" * 1000}))
    outermost = _picked([(file, key) for file, value in values.items() for key in value])
    return st.one_of(
        places.flatmap(lambda place: st.builds(Put, *map(st.just, place), _VALUES)),
        places.flatmap(lambda place: st.builds(Put, *map(st.just, place), _VALUES)),
        places.map(lambda place: Remove(*place)),
        _picked(keyed).flatmap(lambda place: st.builds(Rename, *map(st.just, place), known)),
        outermost.flatmap(lambda place: st.builds(Twice, *map(st.just, place), _VALUES)),
    )


def _tensor_edits(file: str, names: list[str]) -> SearchStrategy[Edit]:
    """Tensors that the file has, and others; the file itself stays whole."""
    name = st.sampled_from(names)
    shapes = st.lists(st.integers(0, 9), max_size=4).map(tuple)
    endings = st.sampled_from(["", *sorted({each.rpartition(".")[2] for each in names})])
    others = st.one_of(name.map(lambda each: each + ".gate_logits"), name.map(str.upper), st.sampled_from(_TEXTS[:5]))
    return st.one_of(
        st.builds(Tensor, st.just(file), name, removed=st.just(True)),
        st.builds(Tensor, st.just(file), name, renamed=others),
        st.builds(Tensor, st.just(file), others, shape=shapes),
        st.builds(Tensor, st.just(file), name, dtype=st.sampled_from(sorted(tensors.SIZES))),
        st.builds(Tensor, st.just(file), name, shape=shapes),
        st.builds(Tensors, st.just(file), endings, prefix=st.sampled_from(["module.", "x", "norms.", "_"])),
        st.builds(Tensors, st.just(file), endings, removed=st.just(True)),
        st.builds(Divided, st.just(file)),
        st.builds(Tensors, st.just(file), endings, rows=st.integers(0, 9)),
    )


def _header_edits(file: str, content: bytes) -> SearchStrategy[Edit]:
    """Headers that say something else than the data."""
    header = json.loads(tensors.split(content)[0])
    places = _picked([path for path, _ in _leaves(header)])
    entries = [name for name in header if name != "__metadata__"]
    offsets = st.lists(st.sampled_from([-1, 0, 1, 4, 10**3, 2**31, 2**63, 2**64 - 1]), max_size=3)
    return st.one_of(
        st.builds(Put, st.just(file), places, _VALUES),
        st.builds(Remove, st.just(file), places),
        st.builds(Rename, st.just(file), places, st.sampled_from([*entries, "", "shape", "dtype", "\0"])),
        st.sampled_from(entries).flatmap(
            lambda name: st.builds(Put, st.just(file), st.just((name, "data_offsets")), offsets)
        ),
        st.builds(Put, st.just(file), st.just(("__metadata__",)), _VALUES),
        st.builds(HeaderLength, st.just(file), st.sampled_from([0, 1, 7, 10**6, 10**8, 2**31, 2**63, 2**64 - 1])),
    )


def _breaking_edits(file: str) -> SearchStrategy[Edit]:
    shares = st.floats(0, 1)
    contents = st.sampled_from([b"\0", b"\xff\xfe", b"}", b"[" * 2000, b"NaN", b'"', b"\xef\xbb\xbf", b"\n" * 9, b"-"])
    documents = st.sampled_from([[], [{}], "config", 3, None, True, {}, _deep(900)])
    return st.one_of(
        st.builds(Cut, st.just(file), shares),
        st.builds(Insert, st.just(file), shares, contents),
        st.builds(Document, st.just(file), documents),
        st.builds(Missing, st.just(file)),
    )


def _picked(places: Sequence[Any]) -> SearchStrategy[Any]:
    return st.sampled_from(places) if places else st.nothing()


def _leaves(values: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value in an object but itself, at any depth, with the path to it."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield (*path, key), value
        yield from _leaves(value, (*path, key))


def _objects(values: dict[str, Any]) -> list[tuple[str, Path]]:
    inner = [(file, path) for file, value in values.items() for path, each in _leaves(value) if isinstance(each, dict)]
    return [*((file, ()) for file in values), *inner]
