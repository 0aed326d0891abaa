"""What the loopback Hub does amiss when it is told to, how the real clients take it, and what it keeps."""

import hashlib
import json
import threading
import time
from http.client import HTTPConnection, IncompleteRead
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from .clients import OUTCOME, ask, download, statuses
from .loopback import LoopbackHub

WEIGHTS = bytes(range(256)) * 400


def test_errors_and_recovery(hub, run_client):
    hub.commit("ada/model", {"config.json": b"1"})
    hub.fail("HEAD", "config.json", status=503, times=2)
    hub.fail("PUT", "/lfs/", status=500)
    ran = run_client(
        OUTCOME
        + """
put = lambda: api.upload_file(repo_id="ada/model", path_in_repo="m.safetensors", path_or_fileobj=b"weights").oid
print(json.dumps([hf_hub_download("ada/model", "config.json")[-11:], put()]))
""",
        token="hf_ada",
    ).output
    assert ran == ["config.json", hub.repositories["ada/model"].branches["main"]]
    assert statuses(hub, "HEAD", "config.json") == [503, 503, 200]
    assert statuses(hub, "PUT", "/lfs/") == [500, 200]


def test_what_clients_are_told(hub):
    """Faults one by one, without a client."""
    hub.commit("ada/model", {"config.json": b"1"})
    path = "/ada/model/resolve/main/config.json"
    hub.fail("GET", "config", status=429, message="Too many", retry_after="7")
    with pytest.raises(HTTPError) as error:
        urlopen(hub.url + path)
    assert error.value.code == 429 and error.value.headers["Retry-After"] == "7"
    assert (
        json.loads(error.value.read()) == {"error": "Too many"} and error.value.headers["X-Error-Message"] == "Too many"
    )
    assert ask(hub, path) == (200, b"1")
    hub.fail("GET", "config", status=503, times=None)
    assert [ask(hub, path)[0] for _ in range(3)] == [503] * 3
    assert ask(hub, "/api/models/ada/model")[0] == 200 and ask(hub, path, "HEAD")[0] == 200
    hub.clear()
    hub.fail("GET|HEAD", "config", times=1)
    assert (ask(hub, path, "HEAD")[0], ask(hub, path)) == (500, (200, b"1"))
    assert ask(hub, "/api/datasets/ada/faces")[0] == ask(hub, "/api/spaces/ada/faces")[0] == 404
    assert hub.requests[-1] == ("GET", "/api/spaces/ada/faces", 404)


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=2-5", 206, b"2345"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, b""),
        ("bytes=-", 200, b"0123456789"),
    ],
)
def test_ranges(wanted, status, body, hub):
    hub.commit("ada/model", {"digits": b"0123456789"})
    assert ask(hub, "/ada/model/resolve/main/digits", Range=wanted) == (status, body)


@pytest.mark.parametrize(
    ("size", "cuts", "answered"),
    [
        (102400, [1000, 500], [200, 200, 200]),  # a client keeps whole pieces of 10 MiB alone
        (10 * 2**20 + 9, [10 * 2**20 + 5, 3], [200, 206, 206]),
    ],
)
def test_a_cut_download(size, cuts, answered, hub, run_client):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    hub.commit("ada/model", {"model.safetensors": content})
    for after in cuts:
        hub.cut("GET", "model.safetensors", after=after)
    assert run_client(download("model.safetensors")).output == hashlib.sha256(content).hexdigest()
    assert statuses(hub, "GET", "/resolve/") == answered


def test_a_cut_upload_is_sent_again(hub, run_client):
    hub.commit("ada/model", {})
    hub.cut_upload("PUT", "/lfs/", after=1000)
    ran = run_client(
        OUTCOME
        + """
content = bytes(range(256)) * 40000
print(api.upload_file(repo_id="ada/model", path_in_repo="m.safetensors", path_or_fileobj=content).oid)
""",
        token="hf_ada",
    ).output
    assert ran == hub.repositories["ada/model"].branches["main"]
    assert statuses(hub, "PUT", "/lfs/") == [None, 200]
    assert hub.repositories["ada/model"].files()["m.safetensors"] == bytes(range(256)) * 40000


@pytest.mark.parametrize(("fault", "commits"), [("cut", 3), ("cut_upload", 2), ("fail", 2)])
def test_a_commit_that_breaks(fault, commits, hub, run_client):
    hub.commit("ada/model", {})
    getattr(hub, fault)("POST", "/commit/")
    ran = run_client(
        OUTCOME
        + """
print(outcome(api.upload_file, repo_id="ada/model", path_in_repo="a", path_or_fileobj=b"content"))
""",
        token="hf_ada",
    ).output
    assert ran == "HfHubHTTPError 500" if fault == "fail" else ran in ("RemoteProtocolError", "ReadError", "WriteError")
    # Where only the answer was lost the commit is there.
    assert len(hub.repositories["ada/model"].commits()) == commits


def test_changed_bytes(hub, run_client):
    hub.commit("ada/model", {"a.safetensors": WEIGHTS, "b.safetensors": WEIGHTS[1:]})
    flipped = bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:]
    hub.corrupt("a.safetensors", lambda content: flipped)
    hub.corrupt("b.safetensors", lambda content: content[:-7])
    # huggingface_hub does not compare a file with the hash that it is told, but with its size.
    assert run_client(download("a.safetensors")).output == hashlib.sha256(flipped).hexdigest()
    assert run_client(download("b.safetensors")).output == hashlib.sha256(WEIGHTS[1:]).hexdigest()
    assert statuses(hub, "GET", "b.safetensors") == [200, 200]
    hub.corrupt("b.safetensors", lambda content: content[:-7])
    connection = connect(hub)
    connection.request("GET", "/ada/model/resolve/main/b.safetensors")
    with pytest.raises(IncompleteRead, match="7 more expected"), connection.getresponse() as answer:
        answer.read()


def test_a_hub_that_is_down(hub, run_client):
    hub.commit("ada/model", {"config.json": b"1"})
    hub.commit("ada/other", {"config.json": b"2"})
    get = OUTCOME + (
        "from pathlib import Path\n"
        "def read(name, **keywords):\n"
        "    return (Path(snapshot_download(name, **keywords)) / 'config.json').read_text()\n"
        "print(json.dumps([outcome(read, 'ada/model'), outcome(read, 'ada/other', ignore_patterns='.*')]))\n"
    )
    one = get.replace(", outcome(read, 'ada/other', ignore_patterns='.*')", "")
    url, missing = hub.url, "LocalEntryNotFoundError"
    assert run_client(one).output == ["1"]
    asked = len(hub.requests)
    assert run_client(get, HF_HUB_OFFLINE="1").output == ["1", missing]
    assert len(hub.requests) == asked
    hub.stop()
    assert run_client(get).output == ["1", missing]
    hub.start()
    assert hub.url == url and run_client(get).output == ["1", "2"]


def test_connections_end_with_the_hub(hub):
    connection = connect(hub)
    for _ in range(2):  # over one connection
        connection.request("GET", "/api/whoami-v2")
        with connection.getresponse() as answer:
            answer.read()
    hub.stop()
    with pytest.raises(OSError):
        connection.request("GET", "/api/whoami-v2")
        connection.getresponse()
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        connection.connect()


def test_what_is_on_disk_stays(hub, tmp_path):
    commit = hub.commit("ada/model", {"config.json": b"1", "m.safetensors": WEIGHTS}, title="First")
    hub.repositories["ada/model"].configure(private=True)
    hub.stop()
    with LoopbackHub(tmp_path / "hub") as again:
        repository = again.repositories["ada/model"]
        assert repository.private and repository.at() == commit
        assert repository.files().keys() == {".gitattributes", "config.json", "m.safetensors"}
        again.add_user("ada", token="hf_ada")
        path = f"/ada/model/resolve/{commit.id}/m.safetensors"
        assert ask(again, path, Authorization="Bearer hf_ada") == (200, WEIGHTS)
        assert ask(again, path)[0] == 401


def test_commits_at_once_are_all_kept(hub):
    hub.commit("ada/model", {})
    threads = [
        threading.Thread(target=hub.commit, args=["ada/model", {f"{number}.json": b"{}"}]) for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub.repositories["ada/model"].commits()) == 14
    assert len(hub.repositories["ada/model"].files()) == 13


def test_a_race(hub):
    """Whatever a test does before a request, that request sees."""
    hub.commit("ada/model", {"config.json": b"1"})
    path, started = "/ada/model/resolve/main/config.json", time.monotonic()
    hub.before("GET", "config.json", lambda: hub.commit("ada/model", {"config.json": b"2"}))
    assert ask(hub, path) == (200, b"2")
    hub.before("GET", "config.json", lambda: time.sleep(0.2))
    assert ask(hub, path) == (200, b"2") and time.monotonic() - started > 0.2


def test_large_files_are_checked(hub):
    hub.commit("ada/model", {})
    content, sha256 = b"weights", hashlib.sha256(b"weights").hexdigest()
    good = f"/lfs/ada/model/{sha256}/7"
    assert ask(hub, good, "POST", b"{}")[0] == 404
    assert ask(hub, good, "PUT", b"weighty")[0] == 400
    assert ask(hub, f"/lfs/ada/model/{sha256}/8", "PUT", content)[0] == 400
    lines = [
        {"key": "header", "value": {"summary": "Large"}},
        {"key": "lfsFile", "value": {"path": "m.safetensors", "algo": "sha256", "oid": sha256, "size": 7}},
    ]

    def commit():
        body = "\n".join(json.dumps(line) for line in lines).encode()
        return ask(hub, "/api/models/ada/model/commit/main", "POST", body, Authorization="Bearer hf_ada")[0]

    assert commit() == 400
    assert ask(hub, good, "PUT", content)[0] == ask(hub, good, "POST", b"{}")[0] == commit() == 200
    assert hub.repositories["ada/model"].files()["m.safetensors"] == content


def test_a_client_knows_this_hub_alone(hub, tmp_path, monkeypatch):
    for name in (
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
        "HUGGING_FACE_HUB_TOKEN",
        "TRANSFORMERS_OFFLINE",
        "https_proxy",
        "HTTP_PROXY",
    ):
        monkeypatch.setenv(name, "1")
    environment = hub.environment(tmp_path, DO_NOT_TRACK="1")
    told = {name: value for name, value in environment.items() if name.startswith(("HF", "HUGG", "TRANSF"))}
    assert told == {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    assert environment["DO_NOT_TRACK"] == environment["OMP_NUM_THREADS"] == "1"
    assert not [name for name in environment if name.lower().endswith("_proxy")]
    assert hub.environment(tmp_path, token="hf_ada")["HF_TOKEN"] == "hf_ada"


def test_a_script_that_fails(run_client):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_client("1 / 0")
    ran = run_client("print('first')\nprint('last')\n1 / 0", check=False)
    assert (ran.output, ran.printed, ran.returncode) == ("last", "first\nlast\n", 1)
    assert "ZeroDivisionError" in ran.stderr
    assert run_client("").output is None and run_client("print('[1]')").output == [1]


def connect(hub):
    """A connection that is kept open from one request to the next."""
    return HTTPConnection(urlsplit(hub.url).netloc, timeout=5)
