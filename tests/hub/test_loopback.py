"""The loopback Hub is a Hub to the real clients: huggingface_hub, timm and transformers."""

import hashlib

from .clients import OUTCOME, statuses

WEIGHTS = bytes(range(256)) * 400


# What a client reads and writes


def test_a_push_and_its_listing(hub, run_client):
    ran = run_client(
        OUTCOME
        + """
from pathlib import Path

folder = Path("model/a folder")
folder.mkdir(parents=True)
Path("model/model.safetensors").write_bytes(bytes(range(256)) * 400)
Path("model/empty.safetensors").touch()
(folder / "ü #1%25.json").write_text("{}")

def push():
    return api.upload_folder(repo_id="ada/model", folder_path="model", commit_message="All of it").oid

print(json.dumps({
    "name": api.whoami()["name"],
    "created": [api.create_repo("model").repo_id, api.create_repo("ada/model", exist_ok=True).repo_id],
    "again": outcome(api.create_repo, "model"),
    "new": api.list_repo_files("ada/model"),
    "pushed": [push(), push()],
    "files": api.list_repo_files("ada/model"),
    "tree": [type(entry).__name__ + " " + entry.path for entry in api.list_repo_tree("ada/model")],
    "below": [entry.path for entry in api.list_repo_tree("ada/model", "a folder")],
    "nowhere": outcome(lambda: list(api.list_repo_tree("ada/model", "no folder"))),
    "paths": {
        entry.path: [type(entry).__name__, entry.last_commit.title]
        for entry in api.get_paths_info("ada/model", ["model.safetensors", "a folder", "missing"], expand=True)
    },
    "large": {s.rfilename: s.lfs and s.lfs.sha256 for s in api.model_info("ada/model", files_metadata=True).siblings},
    "history": [commit.title for commit in api.list_repo_commits("ada/model")],
    "exists": [
        api.file_exists("ada/model", "model.safetensors"), api.file_exists("ada/model", "missing"),
        api.repo_exists("ada/model"), api.repo_exists("ada/missing"),
        api.revision_exists("ada/model", "main"), api.revision_exists("ada/model", "missing"),
    ],
}))""",
        token="hf_ada",
    ).output
    repository = hub.repositories["ada/model"]
    (commit, first), odd = repository.commits(), "a folder/ü #1%25.json"
    assert commit.parent == first.id and first.parent is None
    assert (commit.title, commit.author, commit.paths) == (
        "All of it",
        "ada",
        [odd, "empty.safetensors", "model.safetensors"],
    )
    files = repository.files()
    assert files.pop(".gitattributes").startswith(b"*.safetensors filter=lfs")
    assert files == {"model.safetensors": WEIGHTS, "empty.safetensors": b"", odd: b"{}"}
    assert ran == {
        "name": "ada",
        "created": ["ada/model", "ada/model"],
        "again": "HfHubHTTPError 409",
        "new": [".gitattributes"],
        "pushed": [commit.id, commit.id],  # what has not changed makes no commit
        "files": [".gitattributes", *commit.paths],
        "tree": [
            "RepoFile .gitattributes",
            "RepoFolder a folder",
            "RepoFile empty.safetensors",
            "RepoFile model.safetensors",
        ],
        "below": [odd],
        "nowhere": "RemoteEntryNotFoundError 404",
        "paths": {"model.safetensors": ["RepoFile", "All of it"], "a folder": ["RepoFolder", "All of it"]},
        "large": {
            ".gitattributes": None,
            odd: None,
            "empty.safetensors": None,
            "model.safetensors": hashlib.sha256(WEIGHTS).hexdigest(),
        },
        "history": ["All of it", "initial commit"],
        "exists": [True, False, True, False, True, False],
    }
    assert len(statuses(hub, "PUT", "/lfs/")) == len(statuses(hub, "POST", "/commit/")) == 1


def test_every_byte_comes_back(hub, run_client):
    files = {"model.safetensors": WEIGHTS, "a folder/ü #1%25.json": b"{}", "empty": b""}
    hub.commit("ada/model", files)
    ran = run_client(
        OUTCOME
        + """
from pathlib import Path

folder = Path(snapshot_download("ada/model"))
files = [path for path in folder.rglob("*") if path.is_file()]
content = {str(path.relative_to(folder)): path.read_bytes().hex() for path in files}
print(json.dumps([content, (folder / "model.safetensors").resolve().name, (folder / "empty").resolve().name]))
"""
    )
    content, large, small = ran.output
    came = {path: bytes.fromhex(read) for path, read in content.items()}
    assert came == hub.repositories["ada/model"].files()
    assert came.items() > files.items()
    # A cache names files by their ETags: sha256 for a large one, git's name for another.
    assert (large, small) == (hashlib.sha256(WEIGHTS).hexdigest(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")


def test_deletions(hub, run_client):
    hub.commit("ada/model", dict.fromkeys(["a.json", "b.json", "old/c.json", "old/d/e.json", "older/f.json"], b"{}"))
    ran = run_client(
        OUTCOME
        + """
def commit(*operations):
    return api.create_commit("ada/model", operations, commit_message="Tidy").oid

print(json.dumps({
    "done": commit(
        CommitOperationAdd("b.json", b"[]"), CommitOperationAdd("new.json", b"[]"),
        CommitOperationDelete("a.json"), CommitOperationDelete("old/"),
    ),
    "no file": outcome(commit, CommitOperationAdd("c.json", b""), CommitOperationDelete("日.json")),
    "no folder": outcome(commit, CommitOperationDelete("old/")),
    "pattern": api.upload_folder(repo_id="ada/model", folder_path=".", allow_patterns="x", delete_patterns="new*").oid,
    "last": [e.last_commit.title for e in api.get_paths_info("ada/model", ["b.json", "older"], expand=True)],
}))""",
        token="hf_ada",
    ).output
    repository = hub.repositories["ada/model"]
    assert ran == {
        "done": repository.commits()[1].id,
        "no file": "RemoteEntryNotFoundError 404",
        "no folder": "RemoteEntryNotFoundError 404",
        "pattern": repository.branches["main"],
        "last": ["Tidy", "A commit"],
    }
    assert [commit.paths for commit in repository.commits()[:2]] == [
        ["new.json"],
        ["a.json", "b.json", "new.json", "old/c.json", "old/d/e.json"],
    ]
    left = repository.files()
    assert left.keys() == {".gitattributes", "b.json", "older/f.json"} and left["b.json"] == b"[]"


def test_revisions(hub, run_client):
    first = hub.commit("ada/model", {"config.json": b"1", "first": b""})
    ran = run_client(
        OUTCOME
        + """
from pathlib import Path

def read(revision, filename="config.json"):
    return Path(hf_hub_download("ada/model", filename, revision=revision)).read_text()

def put(content, **keywords):
    return api.upload_file(repo_id="ada/model", path_in_repo="config.json", path_or_fileobj=content, **keywords)

sha = api.model_info("ada/model").sha
api.create_tag("ada/model", tag="v1", tag_message="The first")
api.create_branch("ada/model", branch="try/it")
put(b"2")
api.create_branch("ada/model", branch="from-tag", revision="v1")
put(b"3", revision="try/it")
request = put(b"4", create_pr=True)
more = put(b"5", revision="refs/pr/1")
refs = api.list_repo_refs("ada/model", include_pull_requests=True)
print(json.dumps({
    "sha": sha,
    "read": {name: read(name) for name in ("main", "v1", "try/it", "from-tag", request.oid, "refs/pr/1", sha)},
    "info": {name: api.model_info("ada/model", revision=name).sha for name in ("main", "v1", "refs/pr/1", sha)},
    "request": [request.pr_num, request.pr_revision],
    "refs": {ref.ref: ref.target_commit for ref in refs.branches + refs.tags + refs.pull_requests},
    "refused": {
        "branch again": outcome(api.create_branch, "ada/model", branch="try/it"),
        "branch again, fine": outcome(api.create_branch, "ada/model", branch="try/it", exist_ok=True),
        "branch named like a ref": outcome(api.create_branch, "ada/model", branch="refs/pr/9"),
        "branch from nowhere": outcome(api.create_branch, "ada/model", branch="x", revision="nowhere"),
        "tag again": outcome(api.create_tag, "ada/model", tag="v1"),
        "tag again, fine": outcome(api.create_tag, "ada/model", tag="v1", exist_ok=True),
        "tag nowhere": outcome(api.create_tag, "ada/model", tag="v2", revision="nowhere"),
        "main": outcome(api.delete_branch, "ada/model", branch="main"),
        "no branch": outcome(api.delete_branch, "ada/model", branch="nowhere"),
        "no tag": outcome(api.delete_tag, "ada/model", tag="nowhere"),
        "revision": outcome(read, "nowhere"),
        "file": outcome(read, "main", "missing"),
        "commit on a tag": outcome(put, b"6", revision="v1"),
        "commit on a commit": outcome(put, b"6", revision=sha),
        "request against a tag": outcome(put, b"6", revision="v1", create_pr=True),
    },
    "gone": [api.delete_branch("ada/model", branch="try/it"), api.delete_tag("ada/model", tag="v1")],
}))""",
        token="hf_ada",
    ).output
    repository = hub.repositories["ada/model"]
    assert ran["sha"] == first.id
    assert [ran["read"][name] for name in ("main", "v1", "try/it", "from-tag", "refs/pr/1", first.id)] == list("213151")
    assert list(ran["read"].values())[4] == "4"  # the pull request's first commit, by its id
    main, request = repository.at(), repository.at("refs/pr/1")
    assert [commit.parent for commit in repository.commits("refs/pr/1")[:2]] == [request.parent, main.id]
    assert ran["info"] == {"main": main.id, "v1": first.id, "refs/pr/1": request.id, first.id: first.id}
    assert ran["request"] == [1, "refs/pr/1"]
    refs = ran["refs"]
    assert refs.pop("refs/heads/try/it") not in (main.id, first.id)
    assert refs == {
        "refs/heads/main": main.id,
        "refs/heads/from-tag": first.id,
        "refs/tags/v1": first.id,
        "refs/pr/1": request.id,
    }
    unknown = "RevisionNotFoundError 404"
    assert ran["refused"] == {
        "branch again": "HfHubHTTPError 409",
        "branch again, fine": None,
        "branch named like a ref": "BadRequestError 400",
        "branch from nowhere": unknown,
        "tag again": "HfHubHTTPError 409",
        "tag again, fine": None,
        "tag nowhere": unknown,
        "main": "HfHubHTTPError 403",
        "no branch": unknown,
        "no tag": unknown,
        "revision": unknown,
        "file": "RemoteEntryNotFoundError 404",
        "commit on a tag": unknown,
        "commit on a commit": unknown,
        "request against a tag": unknown,
    }
    assert repository.branches == {"main": main.id, "from-tag": first.id} and repository.tags == {}


def test_a_commit_that_must_follow_another(hub, run_client):
    first = hub.commit("ada/model", {"config.json": b"1"})
    hub.before("POST", "/commit/main", lambda: hub.commit("ada/model", {"else.json": b"theirs"}, title="Theirs"))
    ran = run_client(
        OUTCOME
        + """
def put(content, **keywords):
    return api.upload_file(repo_id="ada/model", path_in_repo="config.json", path_or_fileobj=content, **keywords).oid

first = api.model_info("ada/model").sha
print(json.dumps({
    "raced": outcome(put, b"2", parent_commit=first),
    "stale": outcome(put, b"2", parent_commit=first[:7]),
    "request": put(b"3", parent_commit=first, create_pr=True),
    "short": put(b"4", parent_commit=api.model_info("ada/model").sha[:7]),
    "free": put(b"5"),
}))""",
        token="hf_ada",
    ).output
    repository = hub.repositories["ada/model"]
    free, short, theirs, *_ = repository.commits()
    assert repository.at("refs/pr/1").parent == first.id and theirs.title == "Theirs"
    assert ran == {
        "raced": "HfHubHTTPError 412",
        "stale": "HfHubHTTPError 412",
        "request": repository.pull_requests["1"],
        "short": short.id,
        "free": free.id,
    }
    assert repository.files()["else.json"] == b"theirs" and repository.files()["config.json"] == b"5"


def test_a_card(hub, run_client):
    ran = run_client(
        OUTCOME
        + r"""
api.create_repo("model")
data = ModelCardData(
    library_name="timm", license="apache-2.0", tags=["tsbn"], pipeline_tag="image-classification",
    datasets=["ada/faces"], model_name="model", eval_results=[EvalResult("a", "b", "c", "d", 1.0)],
)
warnings.simplefilter("ignore")
ModelCard(f"---\n{data.to_yaml()}\n---\nSee https://arxiv.org/abs/2512.20420").push_to_hub("ada/model")
info = model_info("ada/model")
def put(text):
    return api.upload_file(repo_id="ada/model", path_in_repo="README.md", path_or_fileobj=text)

print(json.dumps({
    "tags": info.tags, "library": info.library_name, "pipeline": info.pipeline_tag,
    "metric": info.card_data.eval_results[0].metric_value,
    "loaded": ModelCard.load("ada/model").data.license,
    "expanded": [model_info("ada/model", expand=["sha"]).sha == info.sha, model_info("ada/model", expand=["sha"]).tags],
    "pushed badly": outcome(ModelCard("---\nmetrics: 3\n---\n").push_to_hub, "ada/model"),
    "no list": outcome(put, b"---\ntags: 3\n---\n"),
    "no YAML": outcome(put, b"---\na: [\n---\n"),
    "no mapping": outcome(put, b"---\n- a\n---\n"),
    "no name": outcome(put, b"---\nmodel-index:\n- results: []\n---\n"),
}))""",
        token="hf_ada",
    ).output
    assert ran == {
        "tags": ["timm", "tsbn", "license:apache-2.0", "dataset:ada/faces", "arxiv:2512.20420"],
        "library": "timm",
        "pipeline": "image-classification",
        "metric": 1.0,
        "loaded": "apache-2.0",
        "expanded": [True, None],
        "pushed badly": "ValueError",
        "no list": "ValueError",
        "no YAML": "ValueError",
        "no mapping": "ValueError",
        "no name": "ValueError",
    }
    assert len(hub.repositories["ada/model"].commits()) == 2


# The libraries on top


def test_timm(hub, run_client):
    run_client(
        """
        import timm, torch

        for number, where in enumerate([{}, {"revision": "try"}]):
            torch.manual_seed(number)
            model = timm.create_model("test_resnet", num_classes=3)
            if where:
                timm.models._hub.HfApi().create_branch("ada/net", branch="try")
            timm.models.push_to_hf_hub(model, "ada/net", safe_serialization=True, **where)
            timm.models._hub.HfApi().create_tag("ada/net", tag=f"v{number}", **where)
            torch.save(model.state_dict(), f"../{number}.pt")
        """,
        token="hf_ada",
        home="ada",
    )
    tags = hub.repositories["ada/net"].tags
    ran = run_client(
        f"""
        import json, timm, torch

        saved = [torch.load(f"../{{number}}.pt") for number in range(2)]

        def which(name):
            state = timm.create_model(f"hf-hub:ada/net{{name}}", pretrained=True).state_dict()
            return [all(torch.equal(state[key], other[key]) for key in state) for other in saved].index(True)

        names = ["", "@main", "@v0", "@try", "@v1", "@{tags["v0"]}", "@{tags["v1"]}"]
        print(json.dumps([which(name) for name in names]))
        """,
        home="reader",
    ).output
    assert ran == [0, 0, 0, 1, 1, 0, 1]
    assert hub.repositories["ada/net"].files().keys() == {
        ".gitattributes", "README.md", "config.json", "model.safetensors",
    }  # fmt: skip


def test_transformers(hub, run_client):
    ran = run_client(
        """
        import json, torch
        from transformers import AutoModel, ViTConfig, ViTModel

        def make(seed):
            torch.manual_seed(seed)
            sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
            return ViTModel(ViTConfig(**sizes, image_size=16, patch_size=8))

        made = [make(0), make(1)]
        made[0].push_to_hub("lab/vit", private=True)
        made[1].push_to_hub("lab/vit", revision="try")

        def which(**keywords):
            loaded = AutoModel.from_pretrained("lab/vit", **keywords).state_dict()
            states = [model.state_dict() for model in made]
            return [all(torch.equal(loaded[key], state[key]) for key in loaded) for state in states].index(True)

        print(json.dumps([which(), which(revision="main"), which(revision="try")]))
        """,
        token="hf_ada",
    ).output
    assert ran == [0, 0, 1]
    assert hub.repositories["lab/vit"].private
    refused = run_client(
        "from transformers import AutoModel\nAutoModel.from_pretrained('lab/vit')", home="reader", check=False
    )
    assert refused.returncode == 1 and "is not a local folder and is not a valid model identifier" in refused.stderr
