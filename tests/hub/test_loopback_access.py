"""Who may do what on the loopback Hub, as the real client tells it."""

import pytest

from .clients import OUTCOME


def test_permissions(hub, run_client):
    for name in ("public", "private", "gated"):
        hub.commit(f"ada/{name}", {"config.json": b"1"})
    hub.repositories["ada/private"].configure(private=True)
    hub.repositories["ada/gated"].configure(gated="manual", accepted=["eve"])
    ran = run_client(
        OUTCOME
        + """
def met(call, *arguments, **keywords):
    result = outcome(call, *arguments, **keywords)
    return result if type(result) is str and "Error" in result else "fine"

def tried(who, token):
    token = token or False
    def upload(name, **keywords):
        file = {"path_in_repo": f"{who}.safetensors", "path_or_fileobj": f"{who} {sorted(keywords)}".encode()}
        return met(api.upload_file, repo_id=name, token=token, **file, **keywords)
    def download(name):
        return met(hf_hub_download, name, "config.json", token=token, cache_dir=f"cache of {who}")
    return {
        "whoami": met(whoami, token=token),
        "create own": met(api.create_repo, f"{who}/own", token=token),
        "create in lab": met(api.create_repo, f"lab/of-{who}", token=token),
        "create elsewhere": met(api.create_repo, "carl/model", token=token),
        "create what is there": met(api.create_repo, "ada/public", exist_ok=True, token=token),
        "read public": download("ada/public"),
        "push public": upload("ada/public"),
        "request public": upload("ada/public", create_pr=True),
        "branch": met(api.create_branch, "ada/public", branch=who, token=token),
        "tag": met(api.create_tag, "ada/public", tag=who, token=token),
        "settings": met(api.update_repo_settings, "ada/public", gated=False, token=token),
        "read private": download("ada/private"),
        "list private": met(api.list_repo_files, "ada/private", token=token),
        "push private": upload("ada/private"),
        "request private": upload("ada/private", create_pr=True),
        "read gated": download("ada/gated"),
        "list gated": met(api.list_repo_files, "ada/gated", token=token),
        "check gated": met(api.auth_check, "ada/gated", token=token),
        "check writing": met(api.auth_check, "ada/public", write=True, token=token),
        "read missing": download("ada/missing"),
        "push missing": upload("ada/missing"),
        "delete missing": met(api.delete_repo, "ada/missing", token=token),
    }

tokens = {"ada": "hf_ada", "bob": "hf_bob", "eve": "hf_eve", "wrong": "hf_wrong", "nobody": None}
print(json.dumps({who: tried(who, token) for who, token in tokens.items()}))
"""
    ).output
    fine, unknown, forbidden = "fine", "RepositoryNotFoundError 404", "HfHubHTTPError 403"
    anonymous, wrong = "RepositoryNotFoundError 401", "HfHubHTTPError 401"
    table = {  # ada, bob, eve, wrong, nobody
        "whoami": (fine, fine, fine, wrong, "ValueError"),
        "create own": (fine, fine, forbidden, wrong, wrong),
        "create in lab": (fine, forbidden, forbidden, wrong, wrong),
        "create elsewhere": (forbidden, forbidden, forbidden, wrong, wrong),
        "create what is there": (fine, fine, fine, wrong, fine),  # the client looks whether it is there
        "read public": (fine, fine, fine, wrong, fine),
        "push public": (fine, forbidden, forbidden, wrong, anonymous),
        "request public": (fine, fine, fine, wrong, anonymous),
        "branch": (fine, forbidden, forbidden, wrong, anonymous),
        "tag": (fine, forbidden, forbidden, wrong, anonymous),
        "settings": (fine, forbidden, forbidden, wrong, anonymous),
        "read private": (fine, unknown, unknown, wrong, anonymous),
        "list private": (fine, unknown, unknown, wrong, anonymous),
        "push private": (fine, unknown, unknown, wrong, anonymous),
        "request private": (fine, unknown, unknown, wrong, anonymous),
        "read gated": (fine, "GatedRepoError 403", fine, wrong, "GatedRepoError 401"),
        "list gated": (fine, fine, fine, wrong, fine),
        "check gated": (fine, "GatedRepoError 403", fine, wrong, "GatedRepoError 401"),
        "check writing": (fine, forbidden, forbidden, wrong, anonymous),
        "read missing": (unknown, unknown, unknown, wrong, anonymous),
        "push missing": (unknown, unknown, unknown, wrong, anonymous),
        "delete missing": (unknown, unknown, unknown, wrong, anonymous),
    }
    people = ("ada", "bob", "eve", "wrong", "nobody")
    expected = {who: {action: row[column] for action, row in table.items()} for column, who in enumerate(people)}
    assert ran == expected
    repository = hub.repositories["ada/public"]
    assert [commit.author for commit in repository.commits()[:-1]] == ["ada", "somebody"]
    assert [repository.at(f"refs/pr/{n}").author for n in (1, 2, 3)] == ["ada", "bob", "eve"]
    assert set(hub.repositories) == {
        "ada/public", "ada/private", "ada/gated", "ada/own", "bob/own", "lab/of-ada",
    }  # fmt: skip


def test_settings_and_deletion(hub, run_client):
    run_client(
        OUTCOME
        + """
api.create_repo("hidden", private=True)
api.create_repo("shown")
api.update_repo_settings("ada/shown", private=True, gated="auto")
api.create_repo("gone")
api.delete_repo("ada/gone")
api.delete_repo("ada/gone", missing_ok=True)
""",
        token="hf_ada",
    )
    repositories = hub.repositories
    assert {name: (repositories[name].private, repositories[name].gated) for name in repositories} == {
        "ada/hidden": (True, False),
        "ada/shown": (True, "auto"),
    }
    with pytest.raises(KeyError, match="No repository 'ada/gone'; there are"):
        repositories["ada/gone"]
