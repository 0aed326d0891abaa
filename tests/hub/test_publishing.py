"""What a push leaves on the Hub: one commit with these files, and what somebody else put there."""

import json
import shutil

import pytest

from .models import ROOT, WITH_US, commands

PUSH = (
    WITH_US
    + """
from dataclasses import asdict
from pathlib import Path
from tsbn_hub.hub import push_folder
from tests.hub.models import ROOT
import shutil

def pushed(call, *arguments, **options):
    return outcome(lambda: asdict(call(*arguments, **options)))

push = tsbn_hub.push_to_hub
model, multi_task = models.timm_model(), models.multi_task_model()
"""
)
MODEL = ["config.json", "model.safetensors"]
THREE_SHARDS = [*(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)), "model.safetensors.index.json"]
TWO_SHARDS = [*(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)), "model.safetensors.index.json"]


def history(hub, repo, revision="main"):
    """The titles of a repo's commits, newest first, and the paths that they changed; without the first, the Hub's."""
    return [(commit.title, commit.paths) for commit in hub.repositories[repo].commits(revision)[:-1]]


def test_one_commit_a_push(hub, run_client):
    ran = run_client(
        PUSH
        + """
dry = [
    pushed(push, model, "lab/net", dry_run=True),
    pushed(push, multi_task, "lab/multi", dry_run=True, max_shard_size="20KB"),
]
print(json.dumps({
    "dry": dry,
    "net": pushed(push, model, "lab/net"),
    "again": pushed(push, model, "lab/net"),
    "again, as a request": pushed(push, model, "lab/net", create_pr=True),
    "no repo": pushed(push, model, "lab/nett", create_pr=True),
    "private": pushed(push, model, "ada/secret", private=True, commit_message="Hello"),
    "still private": pushed(push, models.timm_model(1), "ada/secret"),
    "branch": pushed(push, model, "lab/branched", revision="try/it"),
    "another token": pushed(push, model, "bob/net", token="hf_bob"),
    "request": pushed(push, models.timm_model(1), "bob/net", create_pr=True),
    "into the request": pushed(push, models.timm_model(2), "bob/net", revision="refs/pr/1", token="hf_bob"),
}))""",
        token="hf_ada",
    ).output
    sizes = {name: len(content) for name, content in hub.repositories["lab/net"].files().items()}
    del sizes[".gitattributes"]
    url = f"{hub.url}/lab/net/commit/{hub.repositories['lab/net'].at().id}"
    dry_net, dry_multi = ran.pop("dry")
    expected = {"repo": "lab/net", "files": sizes, "removed": [], "keeps_card": False}
    assert dry_net == expected | {"url": None}
    assert list(dry_multi["files"]) == sorted(["README.md", "config.json", "preprocessor_config.json", *THREE_SHARDS])
    assert ran["net"] == expected | {"url": url}
    assert ran["again"] == ran["again, as a request"] == expected | {"files": {}, "url": url}
    assert ran["no repo"] == (
        "HubError: lab/nett: there is no folder and no repo of this name, or it is private. Log in with `hf auth "
        "login`, or set HF_TOKEN to a token with access to it."
    )
    assert "lab/nett" not in hub.repositories
    assert history(hub, "lab/net") == [("Upload TsbnResNet", ["README.md", *MODEL])]
    assert hub.repositories["lab/net"].pull_requests == {}
    assert not hub.repositories["lab/net"].private

    assert hub.repositories["ada/secret"].private
    assert history(hub, "ada/secret") == [
        ("Upload TsbnResNet", ["model.safetensors"]),
        ("Hello", ["README.md", *MODEL]),
    ]
    assert history(hub, "lab/branched") == []
    assert history(hub, "lab/branched", "try/it") == [("Upload TsbnResNet", ["README.md", *MODEL])]
    card = hub.repositories["lab/branched"].files("try/it")["README.md"]
    assert b"hf-hub:lab/branched@try/it" in card and b"# lab/branched\n" in card
    assert hub.repositories["lab/branched"].branches.keys() == {"main", "try/it"}
    assert history(hub, "bob/net") == [("Upload TsbnResNet", ["README.md", *MODEL])]
    assert ran["request"]["url"] == f"{hub.url}/bob/net/discussions/1"
    assert [commit.author for commit in hub.repositories["bob/net"].commits("refs/pr/1")] == ["bob", "ada", "bob", ""]
    assert "lab/multi" not in hub.repositories


def test_what_is_there_already(hub, run_client):
    """Older weights go in the same commit, a card of somebody's stays, and so does what is no checkpoint's."""
    old = {"README.md": b"# Mine\n", "pytorch_model.bin": b"", "notes.txt": b"", **dict.fromkeys(TWO_SHARDS, b"{}")}
    hub.commit("ada/old", old)
    hub.commit("ada/task", {"task_adapter.json": b"{}"})
    hub.commit("ada/card", {})
    hub.repositories["ada/old"].add_ref("refs/tags/v1", "main")
    ran = run_client(
        PUSH
        + """
tsbn_hub.save_pretrained(model, "bare")
tsbn_hub.save_pretrained(model, "run")
for name in ("gates.png", "patient.png", "shown.png", "LICENSE", "notes.md", "optimizer.bin"):
    Path("run", name).write_text("theirs")
Path("run/training.yaml").write_text("data: /home/jane/secret/faces.py:Faces\\nepochs: 3\\n")
shutil.copytree(ROOT / "model_cards/multi_digits_resnet", "scored")
Path("run/README.md").write_text("theirs ![A picture](shown.png)")
tsbn_hub.save_pretrained(models.timm_model(3), "stale")
shutil.copy(ROOT / "model_cards/multi_digits_resnet/results.json", "stale")
shutil.copy("run/README.md", "stale")
tsbn_hub.save_pretrained(model, "bad")
Path("bad/README.md").write_text("---\\ntags: 3\\n---\\n")
tsbn_hub.save_pretrained(model, "both")
tsbn_hub.save_task(model, "age", "both")
tsbn_hub.save_task(model, "age", "task", base="lab/net")
tsbn_hub.save_task(model, "age", "baseless")
print(json.dumps({
    "removed": [
        pushed(push, multi_task, "ada/multi", max_shard_size="20KB")["removed"],
        pushed(push, multi_task, "ada/multi")["removed"],
        pushed(push, multi_task, "ada/multi", max_shard_size="30KB")["removed"],
        pushed(push, multi_task, "ada/multi", max_shard_size="20KB")["removed"],
        pushed(push, model, "ada/old")["removed"],
    ],
    "scored": [
        sorted(pushed(push_folder, "scored", "ada/scored")["files"]),
        pushed(push, model, "ada/scored")["removed"],
    ],
    "sharded": values(tsbn_hub.from_pretrained("ada/multi")) == values(multi_task),
    "bare, dry": sorted(pushed(push_folder, "bare", "ada/bare", dry_run=True)["files"]),
    "bare": sorted(pushed(push_folder, "bare", "ada/bare")["files"]),
    "bare onto a card": pushed(push_folder, "bare", "ada/old")["files"],
    "run": sorted(pushed(push_folder, "run", "ada/old", commit_message="The run")["files"]),
    "folder": sorted(path.name for path in Path("bare").iterdir()),
    "bad": pushed(push_folder, "bad", "ada/card"),
    "stale": pushed(push_folder, "stale", "ada/card"),
    "baseless": pushed(push_folder, "baseless", "ada/card"),
    "branch of a task": pushed(push, model, "ada/task", revision="new"),
    "revision": pushed(push, model, "ada/old@v2"),
    "both": pushed(push_folder, "both", "ada/card"),
    "nothing": pushed(push_folder, ".", "ada/card"),
    "onto a task": pushed(push, model, "ada/task"),
    "onto a model": pushed(push_folder, "task", "ada/old"),
    "tag": pushed(push, model, "ada/old", revision="v1"),
    "commit": pushed(push, model, "ada/old", revision="COMMIT"),
    "no request": pushed(push, model, "ada/old", revision="refs/pr/9"),
    "request of a branch": pushed(push, model, "ada/old", revision="x", create_pr=True),
    "name": pushed(push, model, "net"),
}))""".replace("COMMIT", hub.repositories["ada/old"].at().id),
        token="hf_ada",
    ).output
    assert ran["removed"] == [
        [],
        THREE_SHARDS,
        ["model.safetensors"],
        TWO_SHARDS[:2],
        [*TWO_SHARDS, "pytorch_model.bin"],
    ]
    assert ran["sharded"]
    beside = ["gates.png", "predictions.png", "results.json", "training.yaml"]
    assert ran["scored"] == [sorted(["README.md", *MODEL, *beside]), beside]  # what is of other weights goes
    assert history(hub, "ada/scored")[0] == ("Upload TsbnResNet", sorted(["README.md", *MODEL, *beside]))
    card = hub.repositories["ada/scored"].files()["README.md"].decode()
    assert "not measured" in card and "99.33%" not in card
    assert [sorted(paths) for _, paths in history(hub, "ada/multi")] == [
        sorted({*THREE_SHARDS, *TWO_SHARDS}),
        sorted({*TWO_SHARDS, "model.safetensors"}),
        sorted({*THREE_SHARDS, "model.safetensors"}),
        sorted({*THREE_SHARDS, "README.md", "config.json", "preprocessor_config.json"}),
    ]
    assert ran["bare, dry"] == ran["bare"] == ["README.md", *MODEL] and ran["folder"] == MODEL
    assert history(hub, "ada/bare") == [("Upload bare", ["README.md", *MODEL])]
    assert b"# ada/bare" in hub.repositories["ada/bare"].files()["README.md"]
    assert ran["bare onto a card"] == {}  # which is kept, and the rest is there
    of_the_run = ["LICENSE", "README.md", "gates.png", "shown.png", "training.yaml"]
    assert ran["run"] == sorted([*of_the_run, *MODEL])
    assert history(hub, "ada/old")[:2] == [
        ("The run", of_the_run),  # the bare folder's weights were there
        ("Upload TsbnResNet", sorted([*MODEL, *TWO_SHARDS, "pytorch_model.bin"])),
    ]
    files = hub.repositories["ada/old"].files()
    assert files["training.yaml"] == b"data: faces.py:Faces\nepochs: 3\n"
    assert files["README.md"].startswith(b"theirs") and "notes.txt" in files
    assert hub.repositories["ada/old"].files(hub.repositories["ada/old"].commits()[1].id)["README.md"] == b"# Mine\n"

    told = {name: told for name, told in ran.items() if isinstance(told, str)}
    assert told == {
        "bad": 'ValueError: Invalid metadata in README.md.\n- "tags" must be an array of strings',
        "both": "CheckpointError: both holds a model (config.json) and a task adapter (task_adapter.json). Each "
        "needs a folder, and a repo, of its own.",
        "stale": "ValueError: stale/results.json is of other weights than those beside it. Measure these (`tsbn "
        "train`), or remove it: the card then says that nothing was measured.",
        "baseless": "ValueError: A task adapter needs a base that others have, and it is not known which network the "
        "task is for. Publish the network, and name its repo: push_task_to_hub(…, base='org/name'), save_task(…, "
        "base='org/name'), or tsbn push … --task NAME --base org/name.",
        "branch of a task": "HubError: ada/task holds a task adapter: nothing was sent. Publish a model as a repo of "
        "its own.",
        "revision": "ValueError: 'ada/old@v2' is no repo's name: write ada/old, with the branch 'v2' as the revision.",
        "nothing": "FileNotFoundError: . has no config.json (['bad', 'bare', 'baseless', 'both', 'huggingface', 'run', "
        "'scored', 'stale', 'task']).",
        "onto a task": "HubError: ada/task holds a task adapter: nothing was sent. Publish a model as a repo of its "
        "own.",
        "onto a model": "HubError: ada/old holds a model: nothing was sent. Publish a task adapter as a repo of its "
        "own.",
        "tag": "HubError: 'v1' of ada/old is a tag or a commit: only a branch can be pushed to.",
        "commit": f"HubError: '{hub.repositories['ada/old'].tags['v1']}' of ada/old is a tag or a commit: only a "
        "branch can be pushed to.",
        "no request": "HubError: ada/old@refs/pr/9: the repo has no branch, tag or commit 'refs/pr/9'.",
        "request of a branch": "ValueError: A pull request is for the main branch: leave out create_pr, or "
        "revision='x'.",
        "name": "ValueError: 'net' is no repo's name: write org/name.",
    }
    assert hub.repositories["ada/old"].branches.keys() == {"main"}
    assert hub.repositories["ada/task"].branches.keys() == {"main"}
    assert history(hub, "ada/card") == [("A commit", [])] and len(history(hub, "ada/task")) == 1
    assert hub.repositories.keys() == {"ada/bare", "ada/card", "ada/multi", "ada/old", "ada/scored", "ada/task"}


@pytest.fixture
def model_cards(tmp_path):
    """The names of the committed checkpoints, of which the clients have a copy, and a picture `photo.png`."""
    home = tmp_path / "homes" / "home"
    shutil.copytree(ROOT / "model_cards", home / "model_cards")
    from PIL import Image

    for name in ("digits", "empty"):
        shutil.copytree(ROOT / "model_cards" / "multi_digits_resnet", home / "many" / name)
    (home / "many" / "empty" / "model.safetensors").write_bytes(b"")
    Image.new("RGB", (64, 48), (200, 100, 10)).save(home / "photo.png")
    return sorted(path.parent.name for path in (home / "model_cards").glob("*/config.json"))


def test_the_command_line(hub, run_client, model_cards, tmp_path):
    hub.commit("bob/net", {})
    first, digits = model_cards[0], "model_cards/multi_digits_resnet"
    ran = run_client(
        commands(
            "push --all model_cards lab --dry-run",
            "push --all model_cards lab",
            f"push {digits} ada/digits --private --revision try --message Hello",
            f"push {digits} bob/net --create-pr",
            f"push {digits} ada/left --task left --base lab/multi_digits_resnet",
            "info lab/multi_digits_resnet --json",
            "info ada/digits@try",
            "predict lab/multi_digits_resnet photo.png --out predictions --task left",
            # What goes wrong is told in a line.
            f"push {digits} bob/net",
            f"push {digits} bob/net --private --create-pr",
            f"push {digits} ada/right --task middle",
            f"push {digits} ada/right --task right",
            f"push {digits} ada/right --task right --base lab/scenes_resnet",
            f"push --all {digits} lab",
            f"push --all {digits} lab --task left",
            "push nowhere ada/net",
            "push --all many ada",
            f"push {digits} digits",
            "info ada/nowhere",
            "info lab/multi_digits_resnet@v9",
        ),
        token="hf_ada",
    ).output
    (dry, real, private, request, task, info, branch_info, prediction), failed = ran[:8], ran[8:]
    assert [status for status, _, _ in ran] == [0] * 8 + [1] * 12, ran
    assert f"model_cards/{first} would go to lab/{first}: nothing was sent. Bytes:" in dry[1]
    for name in model_cards:
        own = {path.name for path in (ROOT / "model_cards" / name).iterdir()}
        assert hub.repositories[f"lab/{name}"].files().keys() == {".gitattributes", *own}
        assert history(hub, f"lab/{name}") == [(f"Upload {name}", sorted(own))]
        url = f"{hub.url}/lab/{name}/commit/{hub.repositories[f'lab/{name}'].at().id}"
        assert f"model_cards/{name} is at {url}. Bytes:\n" in real[1]
    weights = hub.repositories["lab/multi_digits_resnet"].at().files["model.safetensors"]
    assert f"  {weights.size:>13,}  model.safetensors\n" in real[1] and f"  {weights.size:>13,}  model" in dry[1]

    digits_repo = hub.repositories["ada/digits"]
    assert digits_repo.private and history(hub, "ada/digits") == []
    assert [title for title, _ in history(hub, "ada/digits", "try")] == ["Hello"]
    assert f"{digits} is at {hub.url}/ada/digits/commit/{digits_repo.at('try').id}." in private[1]
    assert f"is at {hub.url}/bob/net/discussions/1." in request[1]
    assert history(hub, "ada/left") == [
        ("Upload the task left", ["README.md", "task_adapter.json", "task_adapter.safetensors"])
    ]
    adapter = json.loads(hub.repositories["ada/left"].files()["task_adapter.json"])
    assert adapter["base_model_name_or_path"] == "lab/multi_digits_resnet"
    assert adapter["revision"] == hub.repositories["lab/multi_digits_resnet"].at().id
    assert f"The task left of {digits} is at " in task[1] and "task_adapter.safetensors" in task[1]
    assert "accuracy ↑ | 99.33%" in hub.repositories["ada/left"].files()["README.md"].decode()
    assert [each["name"] for each in json.loads(info[1])["tasks"]] == ["left", "right"]
    assert "classification (10)" in branch_info[1] and "predictions.json" in prediction[1]

    told = [errors.splitlines()[-1] for _, _, errors in failed]
    assert "Traceback" not in str(failed)
    log_in = "Log in with `hf auth login`, or set HF_TOKEN to a token with access to it."
    assert told == [
        f"tsbn: bob/net: this token may not do that. {log_in} To a repo of somebody else send a pull request: "
        "create_pr=True, or tsbn push --create-pr. It says: You don't have the rights to write to bob/net",
        "tsbn: bob/net is there already, and public: nothing was sent. Make it private on its page, or publish it "
        "without asking for a private repo.",
        "tsbn: Unknown task 'middle'. The tasks of this model are ['left', 'right'].",
        f"tsbn: A task adapter needs a base that others have, and the task is for {tmp_path}/homes/home/{digits}. "
        "Publish the network, and name its repo: push_task_to_hub(…, base='org/name'), "
        "save_task(…, base='org/name'), or tsbn push … --task NAME --base org/name.",
        "tsbn: The task 'right' does not fit the model in lab/scenes_resnet: library is 'timm', and 'transformers' in "
        "the model; architecture is 'resnet10t', and 'resnet' in the model.",
        f"tsbn: {digits} has no folder with a config.json or task_adapter.json: nothing can be published.",
        "tsbn: --all pushes whole checkpoints: leave out --task.",
        "tsbn: nowhere has no config.json (no such folder).",
        "tsbn: many/empty/model.safetensors is truncated, or no safetensors file (0 bytes): Error while deserializing "
        "header: header too small",
        "tsbn: 'digits' is no repo's name: write org/name.",
        f"tsbn: ada/nowhere: there is no folder and no repo of this name, or it is private. {log_in}",
        "tsbn: lab/multi_digits_resnet@v9: the repo has no branch, tag or commit 'v9'.",
    ]
    assert history(hub, "bob/net") == [("A commit", [])] and not hub.repositories.keys() & {"ada/right", "ada/empty"}
    assert history(hub, "ada/digits") == []  # nothing of --all was sent
