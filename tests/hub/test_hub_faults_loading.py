"""What goes wrong in loading from the Hub: it says what and the way out, and loads nothing wrong."""

import json
import time

import pytest

import tsbn_hub

from .models import WITH_US, multi_task_model, timm_model, values

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with access to it."
START = (
    WITH_US
    + """
import re, time
from pathlib import Path
from huggingface_hub import HfApi

def ours(repo, **options):
    return outcome(lambda: values(tsbn_hub.from_pretrained(repo, **options)))

def timms(repo):
    return outcome(lambda: values(timm.create_model(f"hf-hub:{repo}", pretrained=True)))

def task(repo):
    return outcome(lambda: tsbn_hub.load_task(models.timm_model(), repo, "again").tasks)
"""
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The files of saved checkpoints, by their kind; and what the whole models hold, by `values`."""
    folder = tmp_path_factory.mktemp("saved")
    net, multi = timm_model(), multi_task_model()
    tsbn_hub.save_pretrained(net, folder / "net")
    tsbn_hub.save_pretrained(multi, folder / "multi")
    tsbn_hub.save_pretrained(multi, folder / "sharded", max_shard_size="20KB")
    tsbn_hub.save_task(net, "age", folder / "task")
    files = {each.name: {path.name: path.read_bytes() for path in each.iterdir()} for each in folder.iterdir()}
    return files, values(net), values(multi)


def flipped(content):
    """With one bit that is another, in a weight."""
    return content[:-3] + bytes([content[-3] ^ 64]) + content[-2:]


def test_downloads(hub, run_client, saved):
    files, net, multi = saved
    for name in ("flipped", "door", "cut", "broken", "busy", "down"):
        hub.commit(f"ada/{name}", files["net"])
    for name in ("multi", "sharded", "task"):
        hub.commit(f"ada/{name}", files[name])
    for name in ("flipped", "door", "multi", "task"):
        hub.corrupt(f"ada/{name}/resolve/.*safetensors", flipped)
    hub.corrupt("ada/sharded/resolve/.*00002-of-00003.safetensors", flipped)
    hub.cut("GET", "ada/cut/resolve/.*safetensors", after=1000)
    hub.cut("GET", "ada/broken/resolve/.*safetensors", after=1000, times=None)
    hub.fail("GET|HEAD", "ada/busy/resolve/.*safetensors", status=503, times=2)
    hub.fail("GET|HEAD", "ada/down/resolve/.*safetensors", status=503, times=None)
    hub.before("GET", "ada/recovered", hub.clear)
    first, again, second = run_client(
        START
        + """
time.sleep = lambda seconds: None  # clients try again and again, and wait

def tried():
    return {
        **{name: ours(f"ada/{name}") for name in ("flipped", "multi", "sharded", "cut", "broken", "busy", "down")},
        "door": timms("ada/door"),
        "task": task("ada/task"),
    }

first = tried()
HfApi().repo_exists("ada/recovered")
again = tried()
for told in again.values():
    if damaged := re.search("Delete (.*) and load again", str(told)):
        Path(damaged[1]).unlink()
print(json.dumps([first, again, tried()]))
"""
    ).output
    whole = {
        **dict.fromkeys(("flipped", "cut", "broken", "busy", "down", "door"), net),
        **dict.fromkeys(("multi", "sharded"), multi),
        "task": ["zebra", "age", "mask", "again"],
    }
    damaged = {name: first.pop(name) for name in ("flipped", "multi", "sharded", "door", "task")}
    for name, told in damaged.items():
        assert told.startswith("CheckpointError: ") and f"models--ada--{name}/snapshots/" in told
        assert ".safetensors is damaged (" in told and " and load again." in told
    assert "model-00002-of-00003.safetensors is damaged (" in damaged["sharded"]
    size = len(files["net"]["model.safetensors"])
    assert first == {
        "cut": net,
        "busy": net,
        "broken": "HubError: ada/broken: the connection to the Hub failed (RemoteProtocolError: peer closed connection "
        f"without sending complete message body (received 1000 bytes, expected {size})). Try again.",
        "down": "HubError: ada/down: the Hub cannot be reached, and the cache has no copy. Try again with a connection "
        "to it.",
    }
    assert again == whole | damaged  # until the damaged files are gone
    assert second == whole


def test_what_repos_hold(hub, run_client, saved):
    """Damaged and malicious checkpoints; what configs can be made to do is tested without the Hub."""
    files, net, _ = saved
    config, index = (
        json.loads(files[kind][name])
        for kind, name in (("net", "config.json"), ("sharded", "model.safetensors.index.json"))
    )
    tasks = [f"task{number}" for number in range(10_000)]
    many = {**config["model_args"], "tasks": tasks, "task_classes": [2] * len(tasks)}
    configs = {
        "types": config | {"num_classes": "many"},
        "unknown": config | {"architecture": "resnet_of_mine"},
        "tasks": config | {"model_args": many},
    }
    for name, changed in configs.items():
        hub.commit(f"bad/{name}", files["net"] | {"config.json": json.dumps(changed).encode()})
    index["weight_map"] = {key: f"../../{name}" for key, name in index["weight_map"].items()}
    hub.commit("bad/path", files["sharded"] | {"model.safetensors.index.json": json.dumps(index).encode()})
    hub.commit("bad/json", files["net"] | {"config.json": b"{"})
    short = files["net"]["model.safetensors"][:-100]
    hub.commit("bad/short", files["net"] | {"model.safetensors": short})
    pickles = {"net": "pytorch_model.bin", "multi": "pytorch_model.bin", "task": "adapter_model.bin"}
    for kind, weights in pickles.items():
        kept = {name: content for name, content in files[kind].items() if name.endswith(".json")}
        hub.commit(f"bad/{kind}-pickle", {**kept, weights: b"cos\nsystem\n(S'touch run'\ntR."})
    hub.commit("ada/secret", files["net"])
    hub.repositories["ada/secret"].configure(private=True)

    ran = run_client(
        START
        + """
names = ("types", "unknown", "tasks", "path", "json", "short", "net-pickle", "multi-pickle")
started = time.monotonic()
print(json.dumps({
    "ours": {name: ours(f"bad/{name}") for name in names},
    "timm": {name: timms(f"bad/{name}") for name in ("short", "net-pickle")},
    "task": task("bad/task-pickle"),
    "commands": [models.run_command(f"info bad/{name}") for name in names],
    "secret": [ours("ada/secret"), ours("ada/secret", token="hf_bob"), ours("ada/secret", token="hf_ada")],
    "seconds": time.monotonic() - started,
    "run": Path("run").exists(),
}))
"""
    ).output
    pickle = "Pickled weights (.bin, .pth) can run code when they are loaded, and are not read. Save it with tsbn_hub."
    parts = {
        "types": "/models--bad--types/snapshots/",
        "unknown": "names the architecture 'resnet_of_mine', which timm does not know.",
        "tasks": "describes a model of",
        "path": "model.safetensors.index.json names the files ['../../model-00001-of-00003.safetensors'",
        "json": "config.json is no JSON: ",
        "short": f"model.safetensors is truncated, or no safetensors file ({len(short)} bytes)",
        "net-pickle": f"'pytorch_model.bin']). {pickle}save_pretrained.",
        "multi-pickle": f"'pytorch_model.bin']). {pickle}save_pretrained.",
    }
    for name, part in parts.items():
        assert ran["ours"][name].startswith("CheckpointError: ") and part in ran["ours"][name], name
    for (name, part), (status, out, errors) in zip(parts.items(), ran["commands"], strict=True):
        assert (status, out) == (1, "") and errors.splitlines()[-1].startswith("tsbn: "), name
        assert part in errors and "Traceback" not in errors, name
    for name in ("short", "net-pickle"):
        assert ran["timm"][name].startswith("CheckpointError: ") and parts[name] in ran["timm"][name]
    assert ran["task"].startswith("CheckpointError: bad/task-pickle has no task_adapter.safetensors")
    assert ran["task"].endswith(f"{pickle}save_task.")
    secret = f"HubError: ada/secret: there is no folder and no repo of this name, or it is private. {LOG_IN}"
    assert ran["secret"] == [secret, secret, net]
    run_client("import tsbn_hub\ntsbn_hub.from_pretrained('ada/secret')", token="hf_ada", home="ada")
    assert ran["seconds"] < 60 and not ran["run"]


def test_a_hub_that_is_down(hub, run_client, saved):
    files, net, _ = saved
    for name in ("warm", "cold"):
        hub.commit(f"ada/{name}", files["net"])
    hub.commit("ada/half", files["net"])
    hub.fail("GET|HEAD", "ada/half/resolve/.*safetensors", status=404, times=None)
    warm = run_client(START + "print(json.dumps([ours('ada/warm'), ours('ada/half')]))").output
    assert warm[0] == net and warm[1].startswith("HubError: ")
    hub.clear()
    hub.stop()
    script = (
        START
        + """
def timed(call, *arguments):
    started = time.monotonic()
    return [call(*arguments), time.monotonic() - started]

print(json.dumps([timed(call, *arguments) for call, *arguments in (
    (ours, "ada/warm"), (timms, "ada/warm"), (ours, "ada/cold"), (ours, "ada/half"), (task, "ada/cold"),
    (models.run_command, "info ada/cold"),
)]))
"""
    )
    unreached = {
        (): ("the Hub cannot be reached", "Try again with a connection to it."),
        ("HF_HUB_OFFLINE",): ("HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set", "Unset it to ask the Hub."),
    }
    for variables, (reason, way_out) in unreached.items():
        ran = run_client(script, **dict.fromkeys(variables, "1")).output
        reasons, seconds = [reason for reason, _ in ran], [each for _, each in ran]
        cold = f"ada/cold: {reason}, and the cache has no copy. {way_out}"
        half = reasons.pop(3)
        status, _, errors = reasons.pop()
        assert reasons == [net, net, f"HubError: {cold}", f"HubError: {cold}"]
        assert half.startswith(f"HubError: ada/half: {reason}, and the cache has")
        assert status == 1 and errors.endswith(f"tsbn: {cold}\n") and "Traceback" not in errors
        assert max(seconds) < 60  # of a machine under load
    hub.start()
    started = time.monotonic()
    assert run_client(START + "print(json.dumps([ours('ada/half'), ours('ada/cold')]))").output == [net, net]
    assert time.monotonic() - started < 120


def test_a_hub_that_is_down_is_asked_once(hub, run_client):
    """By huggingface_hub itself ten times, and each line of that was printed twice."""
    hub.stop()
    ran = run_client(
        START
        + """
print(json.dumps([
    outcome(lambda: timm.create_model("test_resnet_tsbn", pretrained=True)),
    outcome(lambda: tsbn_hub.TsbnForMultiTask.from_backbone("timm/test_resnet", ["a"])),
    outcome(lambda: tsbn_hub.TsbnForMultiTask.from_backbone("ada/vit", ["a"], pretrained=False)),
]))
"""
    )
    reason = "the Hub cannot be reached, and the cache has no copy. Try again with a connection to it."
    names = ["timm/test_resnet.r160_in1k", "timm/test_resnet.r160_in1k", "ada/vit"]
    assert ran.output == [f"HubError: {name}: {reason}" for name in names]
    assert "Retry" not in ran.stderr


def test_what_is_given_for_something_else(hub, run_client, saved):
    """An adapter for a model, a model for an adapter, a file for a folder, a folder for a repo."""
    files, _, _ = saved
    for kind in ("net", "task"):
        hub.commit(f"ada/{kind}", files[kind])
    ran = run_client(
        START
        + """
T = [Task("seg", "segmentation", num_classes=3)]
for kind in ("net", "task"):
    Path(kind).mkdir()
Path("net", "config.json").write_text("{}")
Path("task", "task_adapter.json").write_text("{}")

def whole(source):
    return outcome(TsbnForMultiTask.from_pretrained, source)

def backbone(source, **options):
    return outcome(TsbnForMultiTask.from_backbone, source, T, **options)

print(json.dumps({
    "adapters": [ours("ada/task"), whole("ada/task"), backbone("ada/task"), ours("task"), whole("task")],
    "models": [task("ada/net"), outcome(tsbn_hub.merge, ["ada/net"]), task("net")],
    "timm": [whole("ada/net"), backbone("ada/net"), backbone("ada/net", pretrained=False)],
    "files": [call(source) for source in ("net/config.json", str(Path("net/config.json").resolve()))
              for call in (ours, whole, backbone, task)],
    "paths": [ours(Path("ada/net")), task(Path("ada/net"))],
    "commands": [models.run_command(line) for line in (
        "card ada/net", "card task", "info net/config.json", "push net/config.json ada/net",
    )],
}))
"""
    )
    assert "No files matched" not in ran.stderr
    told = ran.output
    adapter = 'It is a task adapter: tsbn_hub.load_task(base, "{}") adds it to a model.'
    for name, error in zip(["ada/task"] * 3 + ["task"] * 2, told["adapters"], strict=True):
        assert error.startswith(f"FileNotFoundError: {name} has no config.json ([")
        assert error.endswith(adapter.format(name))
    for name, error in zip(["ada/net"] * 2 + ["net"], told["models"], strict=True):
        assert error.startswith(f"FileNotFoundError: {name} has no task_adapter.json ([")
        assert error.endswith(f'It is a model: tsbn_hub.from_pretrained("{name}") loads it.')
    whole, *backbones = told["timm"]
    assert whole == (
        "ValueError: This is the configuration of timm's test_resnet_tsbn: load it by tsbn_hub.from_pretrained, or by "
        'timm.create_model("hf-hub:org/name", pretrained=True).'
    )
    has_norms = "ValueError: This backbone has task norms already: fold a task first, or load the model by "
    assert backbones == [f"{has_norms}tsbn_hub.from_pretrained and use add_task."] * 2
    for error in told["files"]:
        assert error.startswith("FileNotFoundError: ")
        assert error.endswith("net/config.json is a file: give the folder that it is in.")
    assert told["paths"] == ["FileNotFoundError: There is no folder ada/net."] * 2
    assert all(status == 1 and "Traceback" not in errors for status, _, errors in told["commands"])
    card, card_of_a_task, info, push = [errors.splitlines()[-1] for _, _, errors in told["commands"]]
    assert card == "tsbn: There is no folder ada/net." and card_of_a_task.endswith(adapter.format("task"))
    assert info == "tsbn: net/config.json is a file: give the folder that it is in."
    assert push == "tsbn: net/config.json has no config.json (it is a file)."


def test_revisions(hub, run_client, saved):
    files, net, multi = saved
    for kind in ("net", "multi", "task"):
        hub.commit(f"ada/{kind}", files[kind])
        hub.repositories[f"ada/{kind}"].add_ref("refs/tags/v1", "main")
        hub.commit(f"ada/{kind}", dict.fromkeys(files[kind]))  # nothing is left
    ran = run_client(
        START
        + """
T = [Task("seg", "segmentation", num_classes=3)]

def whole(source, **options):
    return outcome(lambda: values(TsbnForMultiTask.from_pretrained(source, **options)))

def again(repo, **options):
    return outcome(lambda: tsbn_hub.load_task(models.timm_model(), repo, "again", **options).tasks)

print(json.dumps({
    "two": [
        call(f"ada/{kind}@v1", revision="main")
        for call, kind in ((ours, "net"), (ours, "multi"), (whole, "multi"), (again, "task"))
    ] + [outcome(TsbnForMultiTask.from_backbone, "ada/multi@v1", T, revision="main")],
    "same": [ours("ada/net@v1", revision="v1"), ours("ada/net", revision="v1"), ours("ada/net@v1"),
             again("ada/task@v1", revision="v1"), again("ada/task@v1")],
    "doors": [whole("ada/multi@v1"), whole("ada/multi", revision="v1"), whole("ada/multi@v1", revision="v1")],
    "commit": TsbnForMultiTask.from_pretrained("ada/multi@v1").config._commit_hash,
}))
"""
    ).output
    two = "names the revision 'v1', and revision='main' is given: leave one out."
    assert ran["two"] == [f"ValueError: ada/{kind}@v1 {two}" for kind in ("net", "multi", "multi", "task", "multi")]
    assert ran["same"] == [net] * 3 + [["zebra", "age", "mask", "again"]] * 2
    assert ran["doors"] == [multi] * 3
    assert ran["commit"] == hub.repositories["ada/multi"].at("v1").id


def test_a_backbone_of_a_revision(hub, run_client):
    """With its image processor."""
    ran = run_client(
        WITH_US
        + """
from huggingface_hub import HfApi
plain = models.vit(pooler=True)
plain.image_processor = models.multi_task_model().image_processor
tsbn_hub.push_to_hub(plain, "ada/vit")
commit = HfApi().model_info("ada/vit").sha
HfApi().create_tag("ada/vit", tag="v1")
tsbn_hub.push_to_hub(models.vit(seed=1, pooler=True), "ada/vit")
model = TsbnForMultiTask.from_backbone("ada/vit@v1", [Task("a", num_classes=2)])
again = TsbnForMultiTask.from_backbone("ada/vit", [Task("a", num_classes=2)], revision="v1")
own = model.config.backbone_config
print(json.dumps([
    values(model.tsbn) == values(again.tsbn), own.name_or_path, own._commit_hash == commit,
    list(model.image_processor.image_mean),
]))
""",
        token="hf_ada",
    ).output
    assert ran == [True, "ada/vit", True, [0.5, 0.4, 0.3]]


def test_a_cache_that_cannot_be_written(hub, run_client, saved):
    """A file lies in its place."""
    files, net, _ = saved
    hub.commit("ada/net", files["net"])
    hub.commit("ada/task", files["task"])
    script = START + "print(json.dumps([ours('ada/net'), task('ada/task'), ours('ada/net', cache_dir='file')]))"
    run_client("from pathlib import Path; Path('file').touch()")
    told = run_client(script, HF_HUB_CACHE="file").output
    ways_out = ["set HF_HOME to a folder that can be written."] * 2 + ["give another cache_dir."]
    for name, error, way_out in zip(("net", "task", "net"), told, ways_out, strict=True):
        assert error.startswith(f"HubError: ada/{name}: the cache cannot be written ([Errno ")
        assert error.endswith(f"/file/models--ada--{name}'): {way_out}")
    assert run_client(script.replace("'file'", "'folder'")).output[::2] == [net, net]
