"""A model of hard sharing gets task norms, and its function stays."""

from itertools import product

import pytest
import timm
import torch

import tsbn_hub
from tests.matrices import cases_of, diagonal
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.models import surface_of
from tsbn_hub.models.surface import NormStyle
from tsbn_hub.training import TrainingConfig, train

X = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TASKS = [Task("a", num_classes=2), Task("d", "depth")]
RUN = {"epochs": 1, "batch_size": 16}


def of_timm(**kwargs):
    torch.manual_seed(0)
    return timm.create_model("test_resnet_tsbn", num_classes={"a": 2, "b": 3}, **kwargs)


def of_transformers(**kwargs):
    torch.manual_seed(0)
    return TsbnForMultiTask.from_backbone("timm/test_resnet", tasks=TASKS, pretrained=False, **kwargs)


def outputs(model):
    found = model.eval()(X)
    return found if isinstance(found, dict) and "logits" not in found else found.logits


def trained(build):
    """Of hard sharing, with statistics and an affine that are no longer those of the start."""
    model = build(norm="shared").train()
    model(X)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    return model.eval()


DATA = """
import torch
from torch.utils.data import Dataset


class Noise(Dataset):
    num_classes = {"keys": 2, "corner": 4}

    def __init__(self, split):
        self.images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(int(split == "test")))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "targets": {"keys": index % 2, "corner": index % 4}}
"""


@pytest.fixture
def config(tmp_path):
    """A config of a run on noise."""
    (tmp_path / "noise.py").write_text(DATA)
    return lambda **values: TrainingConfig(**{**RUN, "data": f"{tmp_path / 'noise.py'}:Noise", **values})


OPENED = [
    ("sigmoid", None, 0.5),
    ("sigmoid", "*layer4*", 0.9),
    ("affine", None, 0.5),
    ("sigmoid", "last 20%", 0.5),
    ("statistics", "*layer3*,*layer4*", 0.5),
]


@pytest.mark.parametrize(
    ("build", "opened"),
    cases_of(product([of_timm, of_transformers], OPENED), diagonal([of_timm, of_transformers], OPENED)),
)
def test_it_keeps_its_function_and_its_file_says_what_it_is(build, opened, tmp_path):
    style, gated, gate_init = opened
    model = trained(build)
    before = outputs(model)
    surface_of(model).make_norms_task_specific(NormStyle(style, True, gate_init, gated))
    names = surface_of(model).task_norms()
    assert names and all(gated is None or "layer3" in name or "layer4" in name for name in names)
    # Classifiers are one multiplication before, and one for each task afterwards.
    torch.testing.assert_close(dict(outputs(model)), dict(before), rtol=1e-4 if gate_init == 0.9 else 1e-6, atol=1e-5)
    tsbn_hub.save_pretrained(model, tmp_path / "saved")
    again = tsbn_hub.from_pretrained(tmp_path / "saved")
    assert surface_of(again).norm_style() == NormStyle(style, True, gate_init, gated)
    torch.testing.assert_close(dict(outputs(again)), dict(outputs(model)), rtol=0, atol=0)
    # The tasks differ from then on.
    model.train()(X, task="a")
    norm = next(norm for name, norm in surface_of(model).task_norms().items() if hasattr(norm, "running_mean"))
    assert not torch.equal(norm.running_mean[0], norm.running_mean[1])


@pytest.mark.parametrize("build", [of_timm, of_transformers])
@pytest.mark.parametrize("options", [{}, {"gated": "*layer4*"}, {"norm": "affine"}, {"norm": "statistics"}])
def test_by_its_state_dict(build, options):
    model, opened = trained(build), build(**{"keep_affine": True, **options})
    opened.load_state_dict(model.state_dict())
    torch.testing.assert_close(dict(outputs(opened)), dict(outputs(model)), rtol=1e-5, atol=1e-6)


def test_of_other_tasks():
    other = timm.create_model("test_resnet_tsbn", num_classes={"b": 3, "a": 2}, norm="shared")
    with pytest.raises(RuntimeError, match=r"2 tasks, \['b', 'a'\], in this order"):
        of_timm(keep_affine=True).load_state_dict(other.state_dict())


def test_what_has_task_norms_is_refused():
    with pytest.raises(ValueError, match="has something of each of its tasks"):
        surface_of(of_timm()).make_norms_task_specific(NormStyle("affine", True, 0.5, None))


def test_a_run_that_goes_on_from_hard_sharing(config, tmp_path):
    hard, opened = str(tmp_path / "hps"), str(tmp_path / "opened")
    train(config(model="test_resnet_tsbn", method="hps", output=hard))
    args = {"gated": "layer4*", "gate_init": 0.75}
    still = {"lr": 1e-12, "weight_decay": 0.0, "gate_lr_scale": 0.0}
    train(config(checkpoint=hard, norm="sigmoid", model_args=args, output=opened, **still))
    model = tsbn_hub.from_pretrained(opened)
    assert surface_of(model).norm_style() == NormStyle("sigmoid", True, 0.75, "layer4*")
    before, after = tsbn_hub.from_pretrained(hard).state_dict(), model.state_dict()
    torch.testing.assert_close(after["conv1.0.weight"], before["conv1.0.weight"])
    torch.testing.assert_close(after["layer4.0.bn1.weight"] * 0.75, before["layer4.0.bn1.weight"])
    with pytest.raises(ValueError, match=r"the norms of checkpoint=.* are 'sigmoid'"):
        train(config(checkpoint=opened, norm="affine", output=str(tmp_path / "third")))


def test_gates_that_start_scattered(config, tmp_path):
    still = {"lr": 1e-12, "weight_decay": 0.0, "gate_lr_scale": 0.0}
    train(config(model="test_resnet_tsbn", gate_noise=1.0, output=str(tmp_path / "run"), **still))
    logits = tsbn_hub.importance_matrix(tsbn_hub.from_pretrained(tmp_path / "run")).matrix.logit()
    assert logits.std() == pytest.approx(1, abs=0.1) and abs(torch.corrcoef(logits)[0, 1]) < 0.2
