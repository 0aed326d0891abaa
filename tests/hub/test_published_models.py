"""Published models come back bit for bit, through every door that they have."""

import time

from .models import CLASSES, WITH_US, WITHOUT_US

PUSH = (
    WITH_US
    + """
models_by_name = {
    "timm": models.timm_model(),
    "multi-task": models.multi_task_model(),
    "on-timm": models.multi_task_model("timm/test_resnet"),
    "backbone": models.randomized(TsbnModel.from_backbone(models.vit(), ["zebra", "age"]), 3),
}
models_by_name |= {
    "folded-timm": models_by_name["timm"].fold("age"),
    "folded-classifier": models_by_name["multi-task"].fold("animal"),
    "folded-on-timm": models_by_name["on-timm"].fold("animal"),
    "folded-backbone": models_by_name["multi-task"].fold("depth"),
}
for name, model in models_by_name.items():
    tsbn_hub.push_to_hub(model, f"lab/{name}")
made = {name: fingerprint(model) for name, model in models_by_name.items()}
made["tsbn"] = {name: fingerprint(models_by_name[name].tsbn) for name in ("multi-task", "on-timm")}
made["values"] = {name: values(model) for name, model in models_by_name.items()}
print(json.dumps(made))
"""
)
LOAD = (
    WITH_US
    + """
from transformers import AutoImageProcessor, AutoModel

ours = {name: tsbn_hub.from_pretrained(f"lab/{name}") for name in NAMES}
print(json.dumps({
    "ours": {name: fingerprint(model) for name, model in ours.items()},
    "values": {name: values(model) for name, model in ours.items()},
    "timm": fingerprint(timm.create_model("hf-hub:lab/timm", pretrained=True)),
    "class": {name: fingerprint(TsbnForMultiTask.from_pretrained(f"lab/{name}")) for name in ("multi-task", "on-timm")},
    "auto": {
        name: fingerprint(AutoModel.from_pretrained(f"lab/{name}")) for name in ("multi-task", "on-timm", "backbone")
    },
    "processors": [
        AutoImageProcessor.from_pretrained("lab/multi-task").image_mean,
        ours["multi-task"].image_processor.image_mean,
    ],
}))
"""
)
LOAD_PLAIN = (
    WITHOUT_US
    + """
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification

def auto(name):
    return fingerprint(AutoModel.from_pretrained(f"lab/{name}"))

def classifier(name):
    return fingerprint(AutoModelForImageClassification.from_pretrained(f"lab/{name}"))

print(json.dumps({
    "ours": outcome(__import__, "tsbn_hub")[:19],
    "timm": fingerprint(timm.create_model("hf-hub:lab/folded-timm", pretrained=True)),
    "timm's wrapper": classifier("folded-timm"),
    "transformers": {name: classifier(name) for name in ("folded-classifier", "folded-on-timm")},
    "backbone": auto("folded-backbone"),
    "all": [type(AutoModel.from_pretrained(f"lab/{name}")).__name__ for name in NAMES if name.startswith("folded")],
    "processors": [
        AutoImageProcessor.from_pretrained(f"lab/{name}").image_mean
        for name in ("folded-classifier", "folded-on-timm", "folded-backbone")
    ],
    "with tasks": outcome(timm.create_model, "hf-hub:lab/timm", pretrained=True),
}))
"""
)
NAMES = [
    "timm", "multi-task", "on-timm", "backbone",
    "folded-timm", "folded-classifier", "folded-on-timm", "folded-backbone",
]  # fmt: skip


def test_every_surface(hub, run_client):
    load = LOAD.replace("NAMES", str(NAMES))
    made = run_client(PUSH, token="hf_ada", home="ada").output
    loaded = run_client(load).output
    plain = run_client(LOAD_PLAIN.replace("NAMES", str(NAMES))).output

    assert [task for task, _ in made["timm"]] == list(CLASSES)
    assert [task for task, _ in made["multi-task"]] == ["seg", "animal", "depth"]
    assert [task for task, _ in made["backbone"]] == ["zebra", "age"]
    assert loaded["ours"] == {name: made[name] for name in NAMES}
    assert loaded["values"] == made["values"]
    assert loaded["timm"] == made["timm"]
    assert loaded["class"] == {name: made[name] for name in ("multi-task", "on-timm")}
    assert loaded["auto"] == {**made["tsbn"], "backbone": made["backbone"]}
    assert loaded["processors"] == [[0.5, 0.4, 0.3]] * 2

    folded = dict(made["timm"])["age"]
    assert made["folded-timm"] == [["", folded]]
    assert plain == {
        "ours": "ModuleNotFoundError",
        "timm": [["", folded]],
        "timm's wrapper": [["", folded]],
        "transformers": {name: made[name] for name in ("folded-classifier", "folded-on-timm")},
        "backbone": made["folded-backbone"],
        "all": ["TimmWrapperModel", "ViTModel", "TimmWrapperModel", "ViTModel"],
        "processors": [[0.5, 0.4, 0.3]] * 3,
        "with tasks": "RuntimeError: Unknown model (test_resnet_tsbn)",
    }
    assert made["folded-classifier"] == [["", dict(made["multi-task"])["animal"]]]
    assert made["folded-on-timm"] == [["", dict(made["on-timm"])["animal"]]]

    asked = len(hub.requests)
    assert run_client(load, HF_HUB_OFFLINE="1").output == loaded
    assert len(hub.requests) == asked
    hub.stop()
    started = time.monotonic()
    assert run_client(load).output == loaded
    assert time.monotonic() - started < 120  # a machine under load


def test_what_is_no_part_of_a_checkpoint_is_not_downloaded(hub, run_client):
    listed = run_client(
        WITH_US
        + """
from huggingface_hub import HfApi
from tsbn_hub.files.repositories import local_folder

tsbn_hub.push_to_hub(models.timm_model(), "ada/net")
for name in ("checkpoints/1/model.safetensors", "model.fp16.safetensors", "photo.png"):
    HfApi().upload_file(path_or_fileobj=b"x" * 100, path_in_repo=name, repo_id="ada/net")
tsbn_hub.from_pretrained("ada/net")
folder = local_folder("ada/net")
print(json.dumps(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())))
""",
        token="hf_ada",
    ).output
    assert listed == [".gitattributes", "config.json", "model.safetensors"]


def test_branch_tag_commit_and_pull_request(hub, run_client):
    made = run_client(
        WITH_US
        + """
from huggingface_hub import HfApi

by_seed = {
    "net": [models.timm_model(seed) for seed in range(4)],
    "multi": [models.multi_task_model(seed=seed) for seed in range(4)],
}
for name, (first, second, other, request) in by_seed.items():
    repo = f"lab/{name}"
    tsbn_hub.push_to_hub(first, repo, private=True)
    HfApi().create_tag(repo, tag="v1")
    tsbn_hub.push_to_hub(second, repo, commit_message="Better")
    tsbn_hub.push_to_hub(other, repo, revision="try/it")
    tsbn_hub.push_to_hub(request, repo, create_pr=True)
print(json.dumps({name: [fingerprint(model) for model in seeds] for name, seeds in by_seed.items()}))
""",
        token="hf_ada",
        home="ada",
    ).output
    assert len({str(each) for each in made["net"] + made["multi"]}) == 8
    net, multi = hub.repositories["lab/net"], hub.repositories["lab/multi"]
    for repository in (net, multi):
        assert repository.private
        assert [commit.title for commit in repository.commits()][0::2] == ["Better", "initial commit"]
        assert repository.at("try/it").parent == repository.at("main").id  # where the branch was made
        (request,) = repository.pull_requests.values()
        assert repository.at(request).parent == repository.at("main").id
    read = run_client(
        WITH_US
        + f"""
def timm_door(name):
    return fingerprint(timm.create_model(f"hf-hub:lab/net{{name and '@' + name}}", pretrained=True))

def ours(repo, name):
    by_name = fingerprint(tsbn_hub.from_pretrained(f"lab/{{repo}}{{name and '@' + name}}"))
    assert by_name == fingerprint(tsbn_hub.from_pretrained(f"lab/{{repo}}", revision=name or None))
    return by_name

def transformers_door(name):
    return fingerprint(TsbnForMultiTask.from_pretrained("lab/multi", revision=name or "main"))

names = ["", "main", "v1", "try/it", "refs/pr/1"]
old = {{"net": {net.tags["v1"]!r}, "multi": {multi.tags["v1"]!r}}}
print(json.dumps({{
    "timm": [timm_door(name) for name in [*names, old["net"]]],
    "ours net": [ours("net", name) for name in [*names, old["net"]]],
    "ours multi": [ours("multi", name) for name in [*names, old["multi"]]],
    "transformers": [transformers_door(name) for name in [*names, old["multi"]]],
}}))
""",
        token="hf_ada",
        home="reader",
    ).output
    order = [1, 1, 0, 2, 3, 0]
    for door, repo in {"timm": "net", "ours net": "net", "ours multi": "multi", "transformers": "multi"}.items():
        assert [made[repo].index(each) for each in read[door]] == order, door


def test_the_libraries_own_doors(hub, run_client):
    """timm's and transformers' own way to push: what they write is loaded as what we write."""
    ran = run_client(
        WITH_US
        + """
model, multi_task = models.timm_model(), models.multi_task_model()
timm.models.push_to_hf_hub(model, "ada/net")
multi_task.push_to_hub("ada/multi", private=True)
made = [fingerprint(model), fingerprint(multi_task)]
again = [fingerprint(tsbn_hub.from_pretrained(name)) for name in ("ada/net", "ada/multi")]
own = [
    fingerprint(timm.create_model("hf-hub:ada/net", pretrained=True)),
    fingerprint(TsbnForMultiTask.from_pretrained("ada/multi")),
]
before = sorted(tsbn_hub.push_to_hub(model, "ada/net").removed)
print(json.dumps([made == again, made == own, multi_task.image_processor.image_mean, before]))
""",
        token="hf_ada",
    ).output
    assert ran == [True, True, [0.5, 0.4, 0.3], ["pytorch_model.bin"]]
    multi = hub.repositories["ada/multi"]
    assert multi.private and "preprocessor_config.json" in multi.files()
    assert hub.repositories["ada/net"].files().keys() == {
        ".gitattributes", "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
