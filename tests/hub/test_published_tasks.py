"""Tasks of different people, published apart from the trunk, meet on the base that they were trained on."""

import json

from .models import CLASSES, WITH_US

PUSH = (
    WITH_US
    + """
from tsbn_hub.hub import push_folder
from transformers import ViTModel

base, multi_task, plain = models.timm_model(), models.multi_task_model(), models.vit(5, pooler=True)
tsbn_hub.push_to_hub(base, "lab/net")
tsbn_hub.push_to_hub(multi_task, "lab/multi")
tsbn_hub.push_to_hub(plain, "lab/vit")
tsbn_hub.push_to_hub(base.fold("age"), "lab/resnet")

own = tsbn_hub.from_pretrained("lab/net")
own.add_task("smile", num_classes=4)
with models.torch.no_grad():
    for name, gates in own.named_parameters():
        if name.endswith("gate_logits"):
            gates[-1].normal_()
tsbn_hub.push_task_to_hub(own, "smile", "ada/smile", private=False)

tsbn_hub.save_task(timm.create_model("hf-hub:lab/net@main", pretrained=True), "age", "age")
push_folder("age", "ada/age")

tsbn_hub.push_task_to_hub(TsbnForMultiTask.from_pretrained("lab/multi"), "depth", "ada/depth", commit_message="Deep")

on_vit = TsbnForMultiTask.from_backbone("lab/vit", [Task("seg", "segmentation", num_classes=3)])
models.randomized_tasks(on_vit)
tsbn_hub.push_task_to_hub(on_vit, "seg", "ada/seg")

from pathlib import Path

changed = tsbn_hub.from_pretrained("lab/net")
with models.torch.no_grad():
    changed.conv1[0].weight.mul_(1.5)
refused = outcome(tsbn_hub.push_task_to_hub, changed, "age", "ada/changed")

on_resnet = timm.create_model(
    "test_resnet_tsbn", num_classes={"eye": 2}, pretrained=True, pretrained_cfg_overlay={"hf_hub_id": "lab/resnet"}
)
models.randomized_tasks(on_resnet)
tsbn_hub.save_task(on_resnet, "eye", "eye")  # by itself it knows the repo that timm took the weights from
origin = json.loads(Path("eye/task_adapter.json").read_text())["base_model_name_or_path"]
tsbn_hub.save_pretrained(on_resnet, "on_resnet")
command = models.run_command("push on_resnet ada/eye --task eye --base lab/resnet@main")
assert command[0] == 0, command

print(json.dumps({
    "net": fingerprint(own), "multi": fingerprint(multi_task), "vit": fingerprint(on_vit),
    "resnet": fingerprint(on_resnet), "told": [refused, origin],
}))
tsbn_hub.push_to_hub(models.timm_model(7), "lab/net")  # the base goes on
"""
)


LOAD = (
    WITH_US
    + """
def printed(model, tasks):
    by_task = dict(fingerprint(model))
    return [model.tasks, [[task, by_task[task]] for task in tasks]]

def refused(call, *arguments, **options):
    return outcome(lambda: call(*arguments, **options).tasks)

NET = "lab/net@OLD"
model = tsbn_hub.load_task(NET, "ada/smile", "grin")
print(json.dumps({
    "onto the base": printed(tsbn_hub.load_task(NET, "ada/smile"), ["zebra", "age", "mask", "smile"]),
    "onto a model": printed(tsbn_hub.load_task(model, "ada/age", "years"), ["years", "age", "zebra", "grin"]),
    "merged": printed(tsbn_hub.merge({"years": "ada/age", "smile": "ada/smile@main"}), ["years", "smile", "zebra"]),
    "multi": printed(tsbn_hub.load_task("lab/multi", "ada/depth", "deep"), ["deep", "depth", "seg", "animal"]),
    "on a plain ViT": printed(tsbn_hub.merge(["ada/seg"]), ["seg"]),
    "onto a plain ViT": printed(tsbn_hub.load_task("lab/vit", "ada/seg"), ["seg"]),
    "on a plain ResNet": printed(tsbn_hub.merge({"eye": "ada/eye", "oculus": "ada/eye"}), ["eye", "oculus"]),
    "newer base": refused(tsbn_hub.load_task, "lab/net", "ada/smile"),
    "other surface": refused(tsbn_hub.load_task, "lab/multi", "ada/smile"),
    "several bases": refused(tsbn_hub.merge, ["ada/smile", "ada/seg"]),
    "taken": refused(tsbn_hub.load_task, NET, "ada/age"),
    "no revision": refused(tsbn_hub.load_task, NET, "ada/smile", revision="v9"),
    "no base": refused(tsbn_hub.load_task, "lab/nothing", "ada/smile"),
    "pickle": refused(tsbn_hub.load_task, NET, "ada/pickle"),
    "a model": refused(tsbn_hub.load_task, NET, "lab/vit"),
    "as a model": refused(tsbn_hub.from_pretrained, "ada/smile"),
}))
"""
)


def test_tasks_of_several_people(hub, run_client):
    made = run_client(PUSH, token="hf_ada", home="ada").output
    refused, origin = made.pop("told")
    assert refused.startswith(
        "CheckpointError: The task 'age' does not fit the model in lab/net: the trunk's weights are"
    )
    assert origin == "lab/resnet" and "ada/changed" not in hub.repositories
    net, smile = hub.repositories["lab/net"], hub.repositories["ada/smile"]
    newer, old, _ = net.commits()
    resnet = hub.repositories["lab/resnet"].at()
    configs = {
        name: json.loads(hub.repositories[f"ada/{name}"].files()["task_adapter.json"])
        for name in ("smile", "age", "depth", "seg", "eye")
    }
    assert {name: config["base_model_name_or_path"] for name, config in configs.items()} == {
        "smile": "lab/net",
        "age": "lab/net",
        "depth": "lab/multi",
        "seg": "lab/vit",
        "eye": "lab/resnet",
    }
    assert [configs[name]["revision"] for name in ("smile", "age", "eye")] == [old.id, old.id, resnet.id]
    assert [commit.title for commit in smile.commits()] == ["Upload the task smile", "initial commit"]
    assert [commit.title for commit in hub.repositories["ada/depth"].commits()] == ["Deep", "initial commit"]
    assert smile.files().keys() == {".gitattributes", "README.md", "task_adapter.json", "task_adapter.safetensors"}
    assert f"`lab/net@{old.id}`".encode() in smile.files()["README.md"]
    pickle = {"task_adapter.json": smile.files()["task_adapter.json"], "adapter_model.bin": b"cos\nsystem\n"}
    hub.commit("ada/pickle", pickle)

    load = LOAD.replace("OLD", old.id)
    loaded = run_client(load, home="bob").output
    by_task = {name: dict(tasks) for name, tasks in made.items()}

    def of(name, **tasks):
        return [[task, by_task[name][known]] for task, known in tasks.items()]

    named = list(CLASSES)
    all_four = {name: name for name in [*named, "smile"]}
    assert loaded["onto the base"] == [[*named, "smile"], of("net", **all_four)]
    renamed = of("net", years="age", age="age", zebra="zebra", grin="smile")
    assert loaded["onto a model"] == [[*named, "grin", "years"], renamed]
    assert loaded["merged"] == [[*named, "years", "smile"], of("net", years="age", smile="smile", zebra="zebra")]
    tasks = ["seg", "animal", "depth"]
    assert loaded["multi"] == [[*tasks, "deep"], of("multi", deep="depth", depth="depth", seg="seg", animal="animal")]
    assert loaded["on a plain ViT"] == loaded["onto a plain ViT"] == [["seg"], of("vit", seg="seg")]
    assert loaded["on a plain ResNet"] == [["eye", "oculus"], of("resnet", eye="", oculus="")]

    told = {name: told for name, told in loaded.items() if isinstance(told, str)}
    log_in = "Log in with `hf auth login`, or set HF_TOKEN to a token with access to it."
    assert told == {
        "newer base": "CheckpointError: The task 'smile' of ada/smile does not fit this model: the trunk's weights are "
        f"others: its task was trained on lab/net@{old.id}. Another revision, training of the trunk, or "
        "another precision make such a difference.",
        "other surface": "CheckpointError: The task 'smile' of ada/smile does not fit this model: library is 'timm', "
        "and 'transformers' in the model; architecture is 'test_resnet', and 'vit' in the model; keep_affine is False, "
        "and True in the model.",
        "several bases": f"ValueError: The adapters are for several bases (ada/smile: lab/net@{old.id}, ada/seg: "
        f"lab/vit@{configs['seg']['revision']}): give the one to take as base=.",
        "taken": "ValueError: The model has a task 'age' already (['zebra', 'age', 'mask']). Give that of ada/age "
        "another name: load_task(…, name=…), or merge({name: 'ada/age'}).",
        "no revision": "HubError: ada/smile@v9: the repo has no branch, tag or commit 'v9'.",
        "no base": f"HubError: lab/nothing: there is no folder and no repo of this name, or it is private. {log_in}",
        "pickle": "CheckpointError: ada/pickle has no task_adapter.safetensors (it has ['.gitattributes', "
        "'adapter_model.bin', 'task_adapter.json']). Pickled weights (.bin, .pth) can run code when they are loaded, "
        "and are not read. Save it with tsbn_hub.save_task.",
        "a model": "FileNotFoundError: lab/vit has no task_adapter.json (['.gitattributes', 'README.md', "
        "'config.json', 'model.safetensors']). It is a model: tsbn_hub.from_pretrained(\"lab/vit\") loads it.",
        "as a model": "FileNotFoundError: ada/smile has no config.json (['.gitattributes', 'README.md', "
        "'task_adapter.json', 'task_adapter.safetensors']). It is a task adapter: tsbn_hub.load_task(base, "
        '"ada/smile") adds it to a model.',
    }
    assert newer.id != old.id
    # What was loaded once is loaded again without the Hub.
    part = load.split('    "newer base"')[0] + "}))"
    asked = len(hub.requests)
    offline = run_client(part, home="bob", HF_HUB_OFFLINE="1").output
    assert offline == {name: each for name, each in loaded.items() if isinstance(each, list)}
    assert len(hub.requests) == asked
