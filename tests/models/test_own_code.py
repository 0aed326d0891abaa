"""What checkpoints say of code from outside the package, and who may import it."""

import json
from itertools import product
from pathlib import Path

import pytest
import timm
import torch

import tsbn_hub
from tests.matrices import cases_of, diagonal
from tests.own_code import HEAD, KIND, nothing_imported, working_directory
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.files.own_code import import_own
from tsbn_hub.files.permission import NotImportedError

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def model_with(tasks):
    torch.manual_seed(0)
    return TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)


def imports_of(folder, name="config.json"):
    return json.loads(Path(folder, name).read_text()).get("imports")


@pytest.fixture
def here(tmp_path, monkeypatch):
    return working_directory(tmp_path, monkeypatch, {"src/my_weights.py": KIND, "my_heads.py": HEAD})


@pytest.fixture
def checkpoint(here):
    """A stranger's: saved in another process, on another machine, and nothing of it is imported here."""
    with nothing_imported():
        import_own("src/my_weights.py"), import_own(str(here / "my_heads.py"))
        model = model_with(
            [Task("weight", kind="weight"), Task("size", kind="regression", head="mean"), Task("place", num_classes=3)]
        )
        tsbn_hub.save_pretrained(model, "model")
        logits = model(IMAGES).logits
        for task in ("weight", "size", "place"):
            tsbn_hub.save_task(model, task, task, base=here / "model")
    for trace in here.rglob("*.imported"):
        trace.unlink()
    return logits


def traces():
    return sorted(path.stem for path in Path().rglob("*.imported"))


LOADERS = [tsbn_hub.from_pretrained, TsbnForMultiTask.from_pretrained]


def test_what_the_config_says(checkpoint):
    assert imports_of("model") == ["src/my_weights.py", "my_heads.py"], "and of an absolute path no folder"
    assert imports_of("weight", "task_adapter.json") == ["src/my_weights.py"]
    assert imports_of("size", "task_adapter.json") == ["my_heads.py"]
    assert "imports" not in json.loads(Path("place", "task_adapter.json").read_text())


@pytest.mark.parametrize("load", LOADERS)
def test_nothing_is_imported_without_being_asked(checkpoint, load):
    with pytest.raises(NotImportedError, match=r"no kind 'weight'|kind='weight'") as told:
        load("model")
    assert str(told.value).count("src/my_weights.py, my_heads.py") == 1
    assert "--import src/my_weights.py" in str(told.value) and "trust=True" in str(told.value)
    assert traces() == []


@pytest.mark.parametrize("load", LOADERS)
def test_trust(checkpoint, load):
    with nothing_imported():
        model = load("model", trust=True)
        assert traces() == ["my_heads", "my_weights"]
        for task, logits in model(IMAGES).logits.items():
            assert torch.equal(logits, checkpoint[task])


@pytest.mark.parametrize("load", cases_of(LOADERS, LOADERS[:1]))
def test_what_the_user_has_imported_needs_no_permission(checkpoint, load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with nothing_imported():
        import_own("here/src/my_weights.py"), import_own("here/my_heads.py")
        assert load("here/model").tasks == ["weight", "size", "place"]


def test_it_is_said_anew_when_it_is_saved_again(checkpoint):
    with nothing_imported():
        model = tsbn_hub.from_pretrained("model", trust=True)
        model.remove_task("weight")
        tsbn_hub.save_pretrained(model, "again")
        assert imports_of("again") == ["my_heads.py"]
        model.remove_task("size")
        tsbn_hub.save_pretrained(model, "plain")
    assert "imports" not in json.loads(Path("plain", "config.json").read_text())
    assert tsbn_hub.from_pretrained("plain").tasks == ["place"]


NO_LISTS = ["src/my_weights.py", [1], {"a": "b"}]


@pytest.mark.parametrize(("load", "imports"), cases_of(product(LOADERS, NO_LISTS), diagonal(LOADERS, NO_LISTS)))
def test_imports_that_are_no_list(checkpoint, load, imports):
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps(config | {"imports": imports}))
    with pytest.raises(ValueError, match="must be a list"):
        load("model", trust=True)
    assert traces() == []


def test_models_of_this_package_alone_say_nothing(tmp_path):
    for model in (timm.create_model("test_resnet_tsbn", tasks=["a", "b"]), model_with([Task("a", num_classes=2)])):
        tsbn_hub.save_pretrained(model, tmp_path)
        assert "imports" not in json.loads((tmp_path / "config.json").read_text())


def test_adapters(checkpoint):
    model = model_with([Task("place", num_classes=3)])
    for task in ("weight", "size"):
        with pytest.raises(NotImportedError, match="my_weights" if task == "weight" else "my_heads"):
            tsbn_hub.load_task(model, task)
        with pytest.raises(NotImportedError):
            tsbn_hub.merge([task], base="model")
    assert traces() == [] and model.tasks == ["place"]
    with nothing_imported():
        merged = tsbn_hub.merge({"other": "weight", "third": "size"}, base="model", trust=True)
        assert merged.tasks == ["weight", "size", "place", "other", "third"]
        assert torch.equal(merged(IMAGES).logits["other"], checkpoint["weight"])
        loaded = tsbn_hub.load_task("model", "weight", name="other", trust=True)
        assert torch.equal(loaded(IMAGES).logits["other"], checkpoint["weight"])


ARCHITECTURE = """
from pathlib import Path
import torch
from timm.models import build_model_with_cfg, register_model

Path("architecture.imported").touch()

class DoubleNorm(torch.nn.LayerNorm):
    def forward(self, x):
        return 2 * super().forward(x)

class Net(torch.nn.Module):
    def __init__(self, num_classes=10, **kwargs):
        super().__init__()
        self.num_classes, self.num_features = num_classes, 8
        self.stem, self.norm = torch.nn.Conv2d(3, 8, 4, 4), DoubleNorm(8)
        self.head = torch.nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.stem(x).mean((2, 3))))

    def get_classifier(self):
        return self.head

default_cfgs = {"net_of_mine": {"input_size": (3, 32, 32), "num_classes": 10, "classifier": "head"}}

@register_model
def net_of_mine(pretrained=False, **kwargs):
    return build_model_with_cfg(Net, "net_of_mine", pretrained, **kwargs)
"""

NORMS = """
import torch.nn.functional as F
import tsbn_hub
from tsbn_hub.norms import register_norm
from my_net import DoubleNorm

def double(norm, x, weight, bias):
    return 2 * F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)

register_norm(DoubleNorm, double)
tsbn_hub.register("net_of_mine")
"""


def test_an_architecture_and_a_norm_class_in_timm(tmp_path, python):
    (tmp_path / "my_net.py").write_text(ARCHITECTURE)
    (tmp_path / "my_norms.py").write_text(NORMS)
    saved = python(
        """
        import timm, torch, tsbn_hub
        from tsbn_hub.files.own_code import import_all
        import_all(["my_net.py", "my_norms.py"])
        model = timm.create_model("net_of_mine_tsbn", tasks=["a", "b"], gated="norm")
        tsbn_hub.save_pretrained(model, "model")
        """,
        cwd=tmp_path,
    )
    assert saved.returncode == 0, saved.stderr
    (tmp_path / "architecture.imported").unlink()
    assert imports_of(tmp_path / "model") == ["my_net.py", "my_norms.py"]
    loaded = python(
        """
        import tsbn_hub
        from pathlib import Path
        try:
            tsbn_hub.from_pretrained("model")
        except tsbn_hub.CheckpointError as error:
            print(error, Path("architecture.imported").exists())
        print(tsbn_hub.from_pretrained("model", trust=True).tasks)
        """,
        cwd=tmp_path,
    )
    assert "'net_of_mine_tsbn', which timm does not know" in loaded.stdout and "--import my_net.py" in loaded.stdout
    assert loaded.stdout.endswith("False\n['a', 'b']\n")
