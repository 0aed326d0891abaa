"""What is loaded from the Hub by transformers' own calls is checked as what is loaded by ours."""

import tsbn_hub

from .models import WITH_US, multi_task_model, vit


def test_pickles_and_damaged_downloads(hub, run_client, tmp_path):
    model = multi_task_model()
    tsbn_hub.save_pretrained(model, tmp_path / "multi")
    vit().save_pretrained(tmp_path / "vit")
    for kind in ("multi", "vit"):
        files = {path.name: path.read_bytes() for path in (tmp_path / kind).iterdir()}
        hub.commit(f"ada/{kind}", files)
        weights = files.pop("model.safetensors")
        hub.commit(f"bad/{kind}", {**files, "pytorch_model.bin": b"cos\nsystem\n(S'touch run'\ntR."})
        hub.corrupt(
            f"ada/{kind}/resolve/.*safetensors", lambda content: content[:-3] + bytes([content[-3] ^ 64]) + content[-2:]
        )
        assert weights
    ran = run_client(
        WITH_US
        + """
from pathlib import Path

def backbone(repo):
    return outcome(TsbnForMultiTask.from_backbone, repo, [Task("seg", "segmentation", num_classes=3)])

def whole(repo):
    return outcome(TsbnForMultiTask.from_pretrained, repo)

print(json.dumps({
    "pickles": [whole("bad/multi"), backbone("bad/vit")],
    "damaged": [whole("ada/multi"), backbone("ada/vit")],
    "run": Path("run").exists(),
}))
"""
    ).output
    for told in ran["pickles"]:
        assert told.startswith("CheckpointError: bad/") and "Pickled weights (.bin, .pth) can run code" in told
    for told in ran["damaged"]:
        assert told.startswith("CheckpointError: ") and "model.safetensors is damaged (" in told
    assert not ran["run"] and not [asked for asked in hub.requests if "discussions" in asked.path]


def test_a_task_is_pinned_to_its_base(hub, run_client):
    made, commits, again = run_client(
        WITH_US
        + """
from huggingface_hub import HfApi
from tsbn_hub.hub.adapters.files import read_adapter

tsbn_hub.push_to_hub(models.multi_task_model(), "ada/multi")
tsbn_hub.push_to_hub(models.vit(), "ada/vit")  # its model has a pooler, of which the repo has no weights
on_vit = TsbnForMultiTask.from_backbone("ada/vit", [Task("seg", "segmentation", num_classes=3)])
loaded = TsbnForMultiTask.from_pretrained("ada/multi")
commits = [HfApi().model_info(repo).sha for repo in ("ada/multi", "ada/vit")]
for model, task in ((loaded, "depth"), (on_vit, "seg")):
    tsbn_hub.save_task(model, task, task)
revisions = [read_adapter(task)[0].revision for task in ("depth", "seg")]
tsbn_hub.push_to_hub(models.multi_task_model(seed=3), "ada/multi")
again = [tsbn_hub.merge({"deep": "depth"}), tsbn_hub.merge(["seg"])]
print(json.dumps([
    [dict(fingerprint(loaded))["depth"], dict(fingerprint(on_vit))["seg"]],
    [revisions, commits],
    [dict(fingerprint(again[0]))["deep"], dict(fingerprint(again[1]))["seg"]],
]))
""",
        token="hf_ada",
    ).output
    assert made == again and commits[0] == commits[1]


def test_what_saving_pushes(hub, run_client):
    """As push_to_hub: the image processor, too; and not what was in the folder before."""
    pushed, mean = run_client(
        WITH_US
        + """
from pathlib import Path
from huggingface_hub import HfApi

model = models.multi_task_model()
for mean in (0.1, 0.2):
    model.image_processor.image_mean = [mean] * 3
    model.save_pretrained("out", push_to_hub=True, repo_id="ada/saved")
    Path("out/notes.txt").touch()
model.push_to_hub("ada/pushed")
files = [sorted(HfApi().list_repo_files(repo)) for repo in ("ada/saved", "ada/pushed")]
print(json.dumps([files, TsbnForMultiTask.from_pretrained("ada/saved").image_processor.image_mean]))
""",
        token="hf_ada",
    ).output
    assert pushed[0] == pushed[1] and "preprocessor_config.json" in pushed[0]
    assert mean == [0.2] * 3


def test_the_image_processor_is_that_of_the_models_revision(hub, run_client):
    """Transformers does not note which one that is; our loading does."""
    means = run_client(
        WITH_US
        + """
from huggingface_hub import HfApi
from transformers import AutoModel, ViTImageProcessor

api, tasks = HfApi(), [Task("seg", "segmentation", num_classes=3)]
models.vit().save_pretrained("vit")
api.create_repo("ada/vit")
for revision, mean in (("v1", 0.1), ("main", 0.9)):
    ViTImageProcessor(image_mean=[mean] * 3).save_pretrained("vit")
    api.upload_folder(repo_id="ada/vit", folder_path="vit")
    if revision == "v1":
        api.create_tag("ada/vit", tag=revision)

def mean(backbone, **options):
    processor = TsbnForMultiTask.from_backbone(backbone, tasks, **options).image_processor
    return None if processor is None else processor.image_mean[0]

ours = tsbn_hub.from_pretrained("ada/vit@v1")
theirs = AutoModel.from_pretrained("ada/vit", revision="v1")
print(json.dumps(
    [mean("ada/vit", revision="v1"), mean(ours), mean(ours.config), mean(theirs, revision="v1"), mean(theirs)]
))
""",
        token="hf_ada",
    ).output
    assert means == [0.1, 0.1, 0.1, 0.1, None]


def test_an_image_processor_in_the_cache_is_not_asked_for(hub, run_client):
    run_client(WITH_US + "tsbn_hub.push_to_hub(models.multi_task_model().fold('depth'), 'ada/vit')", token="hf_ada")
    load = WITH_US + "plain = tsbn_hub.from_pretrained('ada/vit')\n"
    make = "print(json.dumps(TsbnModel.from_backbone(plain, ['a']).image_processor.image_mean))"
    asked = []
    for script in (load + make, load, load + make):
        before = len(hub.requests)
        ran = run_client(script)
        asked.append(len(hub.requests) - before)
    assert ran.output == [0.5, 0.4, 0.3] and asked[1] == asked[2] < asked[0]
