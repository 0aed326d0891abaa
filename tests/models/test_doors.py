"""What all the ways to a checkpoint say of files that are not there, and of where to look for them."""

import pytest
import timm
from transformers import ResNetConfig, ResNetModel

import tsbn_hub
from tsbn_hub import CheckpointError, Task, TsbnForMultiTask, TsbnModel

TASKS = [Task("a", num_classes=2)]
RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1])


def of_timm(folder):
    tsbn_hub.save_pretrained(timm.create_model("test_resnet_tsbn", num_classes={"a": 2}), folder)


def of_transformers(folder):
    tsbn_hub.save_pretrained(TsbnForMultiTask.from_backbone(RESNET, TASKS), folder)


DOORS = {
    "timm, from_pretrained": (of_timm, tsbn_hub.from_pretrained),
    "timm, local-dir": (of_timm, lambda folder: timm.create_model(f"local-dir:{folder}", pretrained=True)),
    "transformers, from_pretrained": (of_transformers, tsbn_hub.from_pretrained),
    "TsbnForMultiTask": (of_transformers, TsbnForMultiTask.from_pretrained),
    "TsbnModel": (of_transformers, TsbnModel.from_pretrained),
    "from_backbone": (
        lambda folder: ResNetModel(RESNET).save_pretrained(folder),
        lambda folder: TsbnForMultiTask.from_backbone(folder, TASKS),
    ),
}


@pytest.mark.parametrize(("save", "load"), DOORS.values(), ids=DOORS)
def test_a_clone_without_git_lfs(save, load, tmp_path):
    save(tmp_path)
    load(tmp_path)
    weights = tmp_path / "model.safetensors"
    size = weights.stat().st_size
    weights.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {size}\n")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is what git puts.*git lfs pull"):
        load(tmp_path)


@pytest.mark.parametrize("save", [of_timm, of_transformers], ids=["timm", "transformers"])
def test_keywords_of_the_hub(save, tmp_path):
    save(tmp_path)
    for keywords in ({"local_files_only": True}, {"force_download": True}):
        assert tsbn_hub.from_pretrained(tmp_path, **keywords).tasks == ["a"]
    for keywords in ({"subfolder": "here"}, {"variant": "fp16"}):
        with pytest.raises(TypeError, match=rf"\['{next(iter(keywords))}'\].*the folder that they are in"):
            tsbn_hub.from_pretrained(tmp_path, **keywords)


def test_a_repo_that_the_cache_has_not(tmp_path):
    with pytest.raises(OSError, match="lab/nothing: local_files_only is set"):
        tsbn_hub.from_pretrained("lab/nothing", cache_dir=tmp_path, local_files_only=True)
