"""Scripts of clients of the loopback Hub, and a look at what came of them."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

# How a call ends: what it returned, or the error's class and status.
OUTCOME = """
import json, warnings
from huggingface_hub import (
    CommitOperationAdd, CommitOperationDelete, EvalResult, HfApi, ModelCard, ModelCardData, hf_hub_download, model_info,
    snapshot_download, whoami,
)

api = HfApi()

def outcome(call, *arguments, **keywords):
    try:
        return call(*arguments, **keywords)
    except Exception as error:
        response = getattr(error, "response", None)
        return f"{type(error).__name__} {response.status_code}" if response is not None else type(error).__name__
"""


def download(filename):
    """A script that prints the hash of what it downloads."""
    return f"""
import hashlib
from pathlib import Path
from huggingface_hub import hf_hub_download

print(hashlib.sha256(Path(hf_hub_download("ada/model", {filename!r})).read_bytes()).hexdigest())
"""


def ask(hub, path, method="GET", body=None, **headers):
    """Status and body of an answer, without a client."""
    request = Request(hub.url + path, data=body, method=method, headers=headers)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def statuses(hub, method, part):
    """How the requests of this method whose paths hold `part` were answered, in order."""
    return [asked.status for asked in hub.requests if asked.method == method and part in asked.path]
