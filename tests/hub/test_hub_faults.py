"""What goes wrong in a push: it says what, changes nothing, and the same push works afterwards."""

import pytest

from .models import WITH_US

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with access to it."
NO_TOKEN = f"there is no token. {LOG_IN}"
OTHERS = "To a repo of somebody else send a pull request: create_pr=True, or tsbn push --create-pr."
MAY_NOT = f"this token may not do that. {LOG_IN} {OTHERS} It says: "
WRONG = f"the token is not valid. {LOG_IN} It says: Invalid credentials in Authorization header"
PUBLIC = "nothing was sent. Make it private on its page, or publish it without asking for a private repo."


def titles(hub, repo):
    return [commit.title for commit in hub.repositories[repo].commits()]


def test_tokens(hub, run_client):
    for name in ("public", "hidden"):
        hub.commit(f"ada/{name}", {"config.json": b"{}"})
    hub.repositories["ada/hidden"].configure(private=True)
    before = {name: hub.repositories[name].at().id for name in hub.repositories}
    ran = run_client(
        WITH_US
        + """
from tsbn_hub.hub import push_folder
tsbn_hub.save_pretrained(models.timm_model(), "net")
open("net/README.md", "w").write("# A net")

def pushed(repo, **options):
    return outcome(lambda: push_folder("net", repo, **options).url)

def tried(who, token):
    return {
        "public": pushed("ada/public", token=token),
        "hidden": pushed("ada/hidden", token=token),
        "new": pushed("ada/new", token=token),
        "own": pushed(f"{who}/own", token=token),
        "branch": pushed("ada/public", token=token, revision="x"),
        "private": pushed("ada/public", token=token, private=True),
        "request": pushed("ada/public", token=token, create_pr=True),
        "hidden request": pushed("ada/hidden", token=token, create_pr=True),
    }

tokens = {"nobody": None, "wrong": "hf_wrong", "eve": "hf_eve", "bob": "hf_bob"}
print(json.dumps({who: tried(who, token) for who, token in tokens.items()}))
"""
    ).output
    told = {
        who: {what: error.partition(": ")[2].partition(": ")[2] for what, error in errors.items()}
        for who, errors in ran.items()
    }
    rights = "You don't have the rights to write to ada/"
    hidden = MAY_NOT + rights + "hidden"  # neither that it is there nor that it is not
    unknown = "there is no folder and no repo of this name, or it is private. " + NO_TOKEN.partition(". ")[2]
    assert told["nobody"] == {
        **dict.fromkeys(told["nobody"], NO_TOKEN), "private": PUBLIC, "hidden request": unknown
    }  # fmt: skip
    assert told["wrong"] == dict.fromkeys(told["wrong"], WRONG)
    for who in ("eve", "bob"):
        requested, own = ran[who].pop("request"), ran[who].pop("own")
        assert {what: told[who][what] for what in ran[who]} == {
            "public": MAY_NOT + rights + "public",
            "hidden": hidden,
            "new": MAY_NOT + rights + "new",
            "branch": MAY_NOT + rights + "public",
            "private": PUBLIC,
            "hidden request": unknown,
        }
        number = ["eve", "bob"].index(who) + 1
        assert requested == f"{hub.url}/ada/public/discussions/{number}"
        assert hub.repositories["ada/public"].at(f"refs/pr/{number}").author == who
        if who == "eve":
            assert own.endswith(f"{MAY_NOT}You must use a write token to write to a repository")
        else:
            assert own == f"{hub.url}/bob/own/commit/{hub.repositories['bob/own'].at().id}"
    assert {name: hub.repositories[name].at().id for name in before} == before
    assert hub.repositories["ada/public"].branches.keys() == {"main"}
    assert hub.repositories.keys() == {*before, "bob/own"}


BREAKS = {
    "lookup": "the Hub is not available. Try again later. It says: HTTP status 502",
    "uploads": "the Hub has an error of its own. Try again later. It says: HTTP status 500",
    "cuts": "the connection to the Hub failed (RemoteProtocolError: Server disconnected without sending a response.). "
    "Try again.",
    "asks": "the Hub is not available. Try again later. It says: HTTP status 504",
    "commits": "the Hub is not available. Try again later. It says: HTTP status 503",
    "unsent": "the connection to the Hub failed (RemoteProtocolError: Server disconnected without sending a "
    "response.). Try again.",
    "patience": "the Hub asks for patience: too many requests. Try again later. It says: Slower",
    "raced": "somebody else has committed meanwhile, and nothing was changed. Look at what is new, and do it again. It "
    "says: A commit has happened since. Please refresh and try again.",
}


@pytest.fixture
def breaking(hub):
    """Repos with something in them; each breaks a push at another place, until somebody asks for `ada/recovered`."""
    for name in BREAKS:
        hub.commit(f"ada/{name}", {"config.json": b"{}", "model.safetensors": b"old"}, title="Old")
    hub.fail("GET", "/api/models/ada/lookup", status=502, times=None)
    hub.fail("PUT", "/lfs/ada/uploads/", status=500, times=None)
    hub.cut_upload("PUT", "/lfs/ada/cuts/", after=1000, times=None)
    hub.fail("POST", "/ada/asks/preupload", status=504, times=None)
    hub.fail("POST", "/ada/commits/commit", status=503, times=None)
    hub.cut_upload("POST", "/ada/unsent/commit", after=1000)
    hub.fail("POST", "/ada/patience/commit", status=429, message="Slower", times=None)
    hub.before("POST", "/ada/raced/commit", lambda: hub.commit("ada/raced", {"else": b"theirs"}, title="Theirs"))
    hub.cut("POST", "/ada/unheard/commit")
    hub.fail("PUT", "/lfs/ada/recovers/", status=500, times=2)
    hub.fail("POST", "/api/repos/create", status=500)
    hub.before("GET", "ada/recovered", hub.clear)
    return hub


def test_a_push_that_breaks(breaking, run_client):
    hub = breaking
    first, commands, left, second = run_client(
        WITH_US
        + f"""
import time
time.sleep = lambda seconds: None  # clients try again and again, and wait
from pathlib import Path
from huggingface_hub import HfApi, list_repo_files

model = models.timm_model()
tsbn_hub.save_pretrained(model, "folder")
before = {{path.name: path.read_bytes() for path in Path("folder").iterdir()}}
broken = {list(BREAKS)}

def pushed(name):
    return outcome(lambda: tsbn_hub.push_to_hub(model, f"ada/{{name}}").url)

names = ["created", *broken, "unheard", "recovers"]
first = {{name: pushed(name) for name in names}}
commands = [models.run_command(f"push folder ada/{{name}}") for name in ("uploads", "commits", "lookup")]
left = {{name: list_repo_files(f"ada/{{name}}") for name in broken if name != "lookup"}}
left["folder"] = before == {{path.name: path.read_bytes() for path in Path("folder").iterdir()}}
HfApi().repo_exists("ada/recovered")
second = {{name: pushed(name) for name in names}}
print(json.dumps([first, commands, left, second]))
""",
        token="hf_ada",
    ).output
    error = "the Hub has an error of its own. Try again later. It says: HTTP status 500"
    assert first.pop("created") == f"HubError: ada/created: {error}"
    assert first.pop("unheard").startswith("HubError: ada/unheard: the connection to the Hub failed (RemoteProtocol")
    assert first.pop("recovers") == f"{hub.url}/ada/recovers/commit/{hub.repositories['ada/recovers'].at().id}"
    assert first == {name: f"HubError: ada/{name}: {told}" for name, told in BREAKS.items()}

    for name, (status, out, errors) in zip(("uploads", "commits", "lookup"), commands, strict=True):
        assert (status, out, errors.splitlines()[-1]) == (1, "", f"tsbn: ada/{name}: {BREAKS[name]}")
        assert "Traceback" not in errors

    assert left.pop("folder") and left.pop("raced") == [".gitattributes", "config.json", "else", "model.safetensors"]
    assert left == {name: [".gitattributes", "config.json", "model.safetensors"] for name in left}

    assert second == {name: f"{hub.url}/ada/{name}/commit/{hub.repositories[f'ada/{name}'].at().id}" for name in second}
    for name in second:
        there = {"raced": ["Theirs", "Old"], "created": [], "recovers": [], "unheard": []}.get(name, ["Old"])
        assert titles(hub, f"ada/{name}") == ["Upload TsbnResNet", *there, "initial commit"]
        files = hub.repositories[f"ada/{name}"].files()
        assert files.keys() - {"else"} == {".gitattributes", "README.md", "config.json", "model.safetensors"}
        assert files["model.safetensors"] == hub.repositories["ada/created"].files()["model.safetensors"]


def test_offline(hub, run_client):
    hub.commit("ada/net", {"config.json": b"{}"})
    ran = run_client(
        WITH_US
        + """
net = models.timm_model()
print(json.dumps([
    outcome(tsbn_hub.push_to_hub, net, "ada/net"),
    outcome(tsbn_hub.push_to_hub, net, "ada/net", private=True),
    outcome(tsbn_hub.push_task_to_hub, net, "age", "ada/age", base="ada/net"),
]))
""",
        token="hf_ada",
        HF_HUB_OFFLINE="1",
    ).output
    is_set, way_out = "HubError: ada/net: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set", ". Unset it to ask the Hub."
    assert ran == [is_set + way_out, is_set + way_out, f"{is_set}, and the cache has no copy{way_out}"]
