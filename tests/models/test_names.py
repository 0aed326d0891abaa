"""The names in timm's registry, and what passes through them."""

from collections import deque

import pytest
import timm
import torch
from timm.models import register_model
from timm.models._pretrained import DefaultCfg, PretrainedCfg

import tsbn_hub
from tsbn_hub.models.timm import names as timm_names
from tsbn_hub.norms import TaskNorm


def unregister(name: str) -> None:
    timm.models._registry._clear_model_entries(name)
    timm.models._registry._model_entrypoints.pop(name, None)
    timm_names.default_cfgs.pop(name, None)


# --- the import ---


@pytest.fixture
def run(python):
    """Run code in a process of its own; what it printed."""

    def run(code: str) -> str:
        result = python(code)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_importing_registers_every_name(run):
    """Of timm 1.0.31: 1371 names less 36 of nfnet, 4 of vgg and 4 of resmlp. Without building one model."""
    output = run(
        "import timm\n"
        "from torch import nn\n"
        "plain = timm.list_models()\n"
        "def fail(*args, **kwargs): raise AssertionError('a module was built')\n"
        "init, nn.Module.__init__ = nn.Module.__init__, fail\n"
        "import tsbn_hub\n"
        "nn.Module.__init__ = init\n"
        "ours = timm.list_models('*_tsbn')\n"
        "assert {name.removesuffix('_tsbn') for name in ours} <= set(plain)\n"
        "assert set(timm.list_models()) == {*plain, *ours}\n"
        "print(timm.__version__, len(ours))\n"
        "print(*sorted(set(plain) - {name.removesuffix('_tsbn') for name in ours}))"
    )
    version_and_number, without = output.splitlines()
    version, number = version_and_number.split()
    if version != "1.0.31":
        pytest.skip(f"the number of names is known for timm 1.0.31, not for {version}")
    assert int(number) == 1327
    assert len(without.split()) == 44
    kinds = ("nfnet", "nf_", "resmlp", "vgg")
    assert all(any(kind in name for kind in kinds) and not name.endswith("_bn") for name in without.split())


def test_importing_imports_little(run):
    heavy = ["transformers", "accelerate", "matplotlib", "sklearn", "torchmetrics", "rich"]
    loaded = run(
        "import sys, timm\n"
        "before = set(sys.modules)\n"
        "import tsbn_hub, tsbn_hub.models, tsbn_hub.norms\n"
        "timm.create_model('test_resnet_tsbn', tasks=['a', 'b']).fold('a')\n"
        f"print(*[name for name in {heavy} if name in sys.modules and name not in before])"
    )
    assert loaded.split() == []


def test_the_public_names_are_there():
    for name in tsbn_hub.__all__:
        assert getattr(tsbn_hub, name) is not None
    assert set(dir(tsbn_hub)) >= {"convert", "from_pretrained", "register", "save_pretrained"}
    with pytest.raises(AttributeError, match="no_such_name"):
        tsbn_hub.no_such_name  # noqa: B018


# --- the registry ---


def test_lists():
    names = timm.list_models("*_tsbn")
    assert {"resnet50_tsbn", "vit_base_patch16_224_tsbn", "vgg11_bn_tsbn"} <= set(names)
    assert not {"vgg11_tsbn", "nfnet_l0_tsbn", "resmlp_12_224_tsbn"} & set(names)
    assert all(timm.is_model(name) for name in names)
    assert timm.is_model("resnet50_tsbn.a1_in1k")
    assert timm.list_models("resnet18*") == sorted(
        timm.list_models("resnet18*", exclude_filters="*_tsbn") + timm.list_models("resnet18*_tsbn"),
        key=timm.models._registry._natural_key,
    )


@pytest.mark.parametrize("pretrained", [False, True])
def test_tags_and_pretrained_are_the_bases(pretrained):
    """Of every name: its tags, and which of them have weights."""
    listed = timm.list_models(pretrained=pretrained, include_tags=True)
    ours = {name.replace("_tsbn", "", 1) for name in listed if name.partition(".")[0].endswith("_tsbn")}
    theirs = {name for name in listed if not name.partition(".")[0].endswith("_tsbn")}
    registered = {name.removesuffix("_tsbn") for name in timm.list_models("*_tsbn")}
    assert len(ours) > 1000
    assert ours == {name for name in theirs if name.partition(".")[0] in registered}
    for name in registered & set(timm.list_models()):
        assert timm.models.is_model_pretrained(f"{name}_tsbn") == timm.models.is_model_pretrained(name), name


def test_list_pretrained():
    ours = [name.replace("_tsbn", "") for name in timm.list_pretrained("resnet50_tsbn*")]
    assert ours and ours == timm.list_pretrained("resnet50.*")
    assert timm.list_pretrained("test_resnet_tsbn*") == ["test_resnet_tsbn.r160_in1k"]


def test_configs_are_the_bases():
    for tagged in timm.list_models("*_tsbn", pretrained=True, include_tags=True):
        name, _, tag = tagged.partition(".")
        base = name.removesuffix("_tsbn") + (f".{tag}" if tag else "")
        if not timm.is_model(base):
            continue
        ours, theirs = timm.models.get_pretrained_cfg(tagged).to_dict(), timm.models.get_pretrained_cfg(base).to_dict()
        assert ours.pop("architecture") == name
        theirs.pop("architecture")
        assert ours == theirs, tagged


@pytest.mark.parametrize("base", ["resnet50.a1_in1k", "test_resnet.r160_in1k", "vit_tiny_patch16_224.augreg_in21k"])
def test_a_tag_points_to_the_bases_repo(base):
    architecture, _, tag = base.partition(".")
    config = timm.models.get_pretrained_cfg(f"{architecture}_tsbn.{tag}")
    assert config.hf_hub_id == f"timm/{base}"
    assert config.architecture == f"{architecture}_tsbn" and config.tag == tag


def test_a_tag_reaches_the_model():
    model = timm.create_model("resnet50_tsbn.a2_in1k", tasks=["a", "b"], device="meta")
    assert model.pretrained_cfg["tag"] == "a2_in1k" and model.pretrained_cfg["hf_hub_id"] == "timm/resnet50.a2_in1k"
    assert model.pretrained_cfg["architecture"] == "resnet50_tsbn"
    assert model.fold("a").pretrained_cfg["architecture"] == "resnet50"
    with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
        timm.create_model("resnet50_tsbn.no_such_tag", pretrained=True)


def test_an_entry_point_is_reachable_by_its_name():
    for name in ("resnet50_tsbn", "test_vit_tsbn"):
        function = getattr(tsbn_hub.models.timm.names, name)
        assert function is timm.models.model_entrypoint(name)
        assert function.__name__ == name and function.__module__ == "tsbn_hub.models.timm.names"
        assert name.removesuffix("_tsbn") in function.__doc__
        assert name in tsbn_hub.models.timm.names.__all__
    model = tsbn_hub.models.timm.names.test_resnet_tsbn(tasks=["a", "b"])
    assert model.tasks == ["a", "b"]


# --- a third party's architecture ---


@pytest.fixture
def third_party():
    """An architecture of this module, with configs of its own, as timm reads them."""
    global default_cfgs
    default_cfgs = {
        "their_net": DefaultCfg(
            tags=deque(["first", "second"]),
            cfgs={
                "first": PretrainedCfg(
                    hf_hub_id="their-org/net", num_classes=7, input_size=(3, 48, 48), classifier="fc"
                ),
                "second": PretrainedCfg(num_classes=5, input_size=(3, 48, 48), classifier="fc"),
            },
        )
    }

    def their_net(pretrained=False, **kwargs):
        return timm.models._builder.build_model_with_cfg(
            timm.models.resnet.ResNet,
            "their_net",
            pretrained,
            **dict(block=timm.models.resnet.BasicBlock, layers=(1, 1, 1, 1), channels=(8, 8, 16, 16), **kwargs),
        )

    register_model(their_net)
    tsbn_hub.register("their_net")
    yield "their_net"
    unregister("their_net")
    unregister("their_net_tsbn")


def test_a_third_partys_architecture(third_party, tmp_path):
    assert timm.is_model("their_net_tsbn")
    assert timm.list_models("their_net_tsbn*", include_tags=True) == ["their_net_tsbn.first", "their_net_tsbn.second"]
    assert timm.list_pretrained("their_net_tsbn*") == ["their_net_tsbn.first"]
    config = timm.models.get_pretrained_cfg("their_net_tsbn.first")
    assert config.hf_hub_id == "their-org/net" and config.architecture == "their_net_tsbn"
    assert callable(tsbn_hub.models.timm.names.their_net_tsbn)

    model = timm.create_model("their_net_tsbn", tasks=["a", "b"]).eval()
    assert model.num_classes == 7 and model.task_classes == [7, 7]
    assert timm.create_model("their_net_tsbn.second").num_classes == 5
    x = torch.randn(2, 3, 48, 48)
    assert model(x)["b"].shape == (2, 7)
    plain = timm.create_model("their_net").eval()
    overlay = dict(state_dict=dict(plain.state_dict()))
    loaded = timm.create_model("their_net_tsbn", True, tasks=["a", "b"], pretrained_cfg_overlay=overlay).eval()
    assert torch.equal(loaded(x)["b"], plain(x))
    tsbn_hub.save_pretrained(model, tmp_path)
    assert torch.equal(tsbn_hub.from_pretrained(tmp_path).eval()(x)["b"], model(x)["b"])
    assert type(model.fold("a")) is type(plain)


def test_an_architecture_without_configs():
    @register_model
    def bare_net(pretrained=False, **kwargs):
        return timm.create_model("test_resnet", pretrained=pretrained, **kwargs)

    try:
        tsbn_hub.register("bare_net")
        model = timm.create_model("bare_net_tsbn", tasks=["a", "b"], num_classes=3)
        assert model(torch.randn(2, 3, 32, 32))["b"].shape == (2, 3)
    finally:
        unregister("bare_net")
        unregister("bare_net_tsbn")


# --- keywords ---


def test_keywords_pass_through():
    model = timm.create_model("test_resnet_tsbn", tasks=["a", "b"], drop_rate=0.25, global_pool="max", in_chans=1)
    assert model.drop_rate == 0.25 and model.global_pool.pool_type == "max" and model.conv1[0].in_channels == 1
    vit = timm.create_model("test_vit_tsbn", tasks=["a", "b"], img_size=96, drop_path_rate=0.2, depth=3)
    assert vit.patch_embed.img_size == (96, 96) and len(vit.blocks) == 3
    assert vit.blocks[2].drop_path1.drop_prob == pytest.approx(0.2)
    assert vit.eval()(torch.randn(1, 3, 96, 96))["b"].shape == (1, 1000)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_convnext"])
def test_device_and_dtype(architecture):
    plain = timm.create_model(architecture, device="meta", dtype=torch.float64)
    model = timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"], device="meta", dtype=torch.float64)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert tensor.device.type == "meta", name
        assert tensor.dtype == torch.int64 if name.endswith("num_batches_tracked") else torch.float64, name
    assert {name for name, _ in plain.named_buffers()} <= {name for name, _ in model.named_buffers()}
    assert not {"device", "dtype"} & set(model._model_args)
    model = timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"], dtype=torch.bfloat16).eval()
    assert {norm.gate_logits.dtype for norm in model.modules() if isinstance(norm, TaskNorm)} == {torch.bfloat16}


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet"])
def test_an_unknown_keyword(architecture):
    with pytest.raises(TypeError) as theirs:
        timm.create_model(architecture, no_such_keyword=1)
    with pytest.raises(TypeError, match="no_such_keyword") as ours:
        timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"], no_such_keyword=1)
    assert str(ours.value) == str(theirs.value)


def test_one_task_by_default():
    model = timm.create_model("test_resnet_tsbn").eval()
    plain = timm.create_model("test_resnet").eval()
    assert model.tasks == ["default"] and model.task == "default"
    assert isinstance(model, type(plain)) and isinstance(model(torch.randn(1, 3, 32, 32)), torch.Tensor)
    added = set(model.state_dict()) - set(plain.state_dict())
    assert added and all(key.endswith(".gate_logits") for key in added)
