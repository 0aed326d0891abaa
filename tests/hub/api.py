"""The Hub's HTTP interface, as huggingface_hub's clients use it for models, as a function from request to answer."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, unquote

from . import descriptions
from .access import Access, User
from .messages import Answer, Refusal, Request, answer_bytes, answer_json
from .repositories import AlreadyExists, Blob, Repositories, Repository, StaleParent, UnknownRevision, is_large

_ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []
_PARTS = {
    "id": "(?P<repository_id>(?:[^/]+/)?[^/]+)",
    "name": "(?P<name>[^/]+)",
    "path": "(?P<path>.+)",
    "sha256": "(?P<sha256>[0-9a-f]{64})",
    "size": "(?P<size>[0-9]+)",
}


def _route(method: str, pattern: str) -> Callable:
    """Requests of this method and path go to the decorated method, which is given what stands in braces."""

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        _ROUTES.append((method, re.compile(pattern.format(**_PARTS)), function))
        return function

    return register


class Api:
    """Answers requests about some repositories for some users."""

    def __init__(self, repositories: Repositories, users: list[User], url: str):
        self._repositories, self._users, self._url = repositories, users, url

    def answer(self, request: Request) -> Answer:
        """A HEAD is answered like a GET: whoever sends that leaves out the body."""
        method = "GET" if request.method == "HEAD" else request.method
        try:
            access = Access(self._repositories, self._user(request))
            for known, pattern, function in _ROUTES:
                if known == method and (match := pattern.fullmatch(request.path)):
                    parts = {key: unquote(part) for key, part in match.groupdict().items()}
                    return function(self, request, access, **parts)
            raise Refusal(404, f"The loopback Hub does not know {request.method} {request.path}")
        except Refusal as refusal:
            return refusal.answer
        except UnknownRevision as error:
            return Refusal(404, str(error), "RevisionNotFound").answer
        except AlreadyExists as error:
            return Refusal(409, str(error)).answer
        except StaleParent as error:
            return Refusal(412, str(error)).answer

    def _user(self, request: Request) -> User | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return None
        for user in self._users:
            if user.token == token:
                return user
        raise Refusal(401, "Invalid credentials in Authorization header")

    # Users and repositories

    @_route("GET", "/api/whoami-v2")
    def _whoami(self, request: Request, access: Access) -> Answer:
        user = access.user
        organisations = [{"type": "org", "name": name} for name in user.organisations]
        token = {"type": "access_token", "accessToken": {"displayName": "test", "role": user.role}}
        return answer_json({"type": "user", "name": user.name, "orgs": organisations, "auth": token})

    @_route("GET", "/api/models/{id}/auth-check")
    def _check_access(self, request: Request, access: Access, repository_id: str) -> Answer:
        access.opened(repository_id)
        return answer_json({})

    @_route("GET", "/api/models/{id}/auth-check/write")
    def _check_write_access(self, request: Request, access: Access, repository_id: str) -> Answer:
        access.writable(repository_id)
        return answer_json({})

    @_route("POST", "/api/repos/create")
    def _create(self, request: Request, access: Access) -> Answer:
        repository_id = _named(request, access)
        access.may_write(repository_id)
        made = {"url": f"{self._url}/{repository_id}", "name": repository_id}
        try:
            self._repositories.create(repository_id, private=request.json.get("visibility") == "private")
        except AlreadyExists as error:
            return answer_json({"error": str(error), **made}, 409)
        return answer_json(made)

    @_route("DELETE", "/api/repos/delete")
    def _delete(self, request: Request, access: Access) -> Answer:
        self._repositories.delete(access.writable(_named(request, access)).id)
        return answer_json({})

    @_route("PUT", "/api/models/{id}/settings")
    def _configure(self, request: Request, access: Access, repository_id: str) -> Answer:
        settings = dict(request.json)
        if "visibility" in settings:
            settings["private"] = settings.pop("visibility") == "private"
        access.writable(repository_id).configure(**settings)
        return answer_json(settings)

    @_route("POST", "/api/validate-yaml")
    def _validate_card(self, request: Request, access: Access) -> Answer:
        errors, warnings = descriptions.faults_of_card(request.json["content"])
        told = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
        return answer_json(told, 400 if errors else 200)

    # Reading

    @_route("GET", "/api/models/{id}")
    @_route("GET", "/api/models/{id}/revision/{name}")
    def _info(self, request: Request, access: Access, repository_id: str, name: str = "main") -> Answer:
        repository = access.readable(repository_id)
        page = descriptions.model(repository, repository.at(name), with_sizes="blobs" in request.query)
        expand = request.query.get("expand")
        return answer_json({key: page[key] for key in ("id", *expand) if key in page} if expand else page)

    @_route("GET", "/api/models/{id}/tree/{name}")
    @_route("GET", "/api/models/{id}/tree/{name}/{path}")
    def _tree(self, request: Request, access: Access, repository_id: str, name: str, path: str = "") -> Answer:
        repository = access.readable(repository_id)
        commit = repository.at(name)
        entries = list(descriptions.tree(commit.files, path, recursive=_is_true(request, "recursive")))
        if path and not entries:
            raise Refusal(404, f"{path} does not exist on {name!r}", "EntryNotFound", {"X-Repo-Commit": commit.id})
        return answer_json(_expanded(entries, repository, name) if _is_true(request, "expand") else entries)

    @_route("POST", "/api/models/{id}/paths-info/{name}")
    def _paths(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        repository = access.readable(repository_id)
        form = parse_qs(request.body.decode())
        every = {entry["path"]: entry for entry in descriptions.tree(repository.at(name).files, recursive=True)}
        entries = [every[path] for path in form.get("paths", []) if path in every]
        return answer_json(_expanded(entries, repository, name) if form.get("expand") == ["true"] else entries)

    @_route("GET", "/api/models/{id}/commits/{name}")
    def _commits(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        return answer_json([descriptions.commit(commit) for commit in access.readable(repository_id).commits(name)])

    @_route("GET", "/{id}/resolve/{name}/{path}")
    def _download(self, request: Request, access: Access, repository_id: str, name: str, path: str) -> Answer:
        repository = access.opened(repository_id)
        commit = repository.at(name)
        headers = {"X-Repo-Commit": commit.id}
        if path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers)
        blob = commit.files[path]
        headers |= {"ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if blob.sha256:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        return answer_bytes(repository.read(blob), request.headers.get("Range"), headers)

    # Branches and tags

    @_route("GET", "/api/models/{id}/refs")
    def _refs(self, request: Request, access: Access, repository_id: str) -> Answer:
        repository = access.readable(repository_id)
        kinds = {"branches": ("refs/heads/", repository.branches), "tags": ("refs/tags/", repository.tags)}
        if "include_prs" in request.query:
            kinds["pullRequests"] = ("refs/pr/", repository.pull_requests)
        listed = {
            kind: [{"name": name, "ref": prefix + name, "targetCommit": commit} for name, commit in refs.items()]
            for kind, (prefix, refs) in kinds.items()
        }
        return answer_json({**listed, "converts": []})

    @_route("POST", "/api/models/{id}/branch/{name}")
    def _add_branch(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        repository = access.writable(repository_id)
        if name.startswith("refs/"):
            raise Refusal(400, f"Invalid reference for a branch: {name}")
        repository.add_ref(f"refs/heads/{name}", request.json.get("startingPoint", "main"))
        return answer_json({})

    @_route("DELETE", "/api/models/{id}/branch/{name}")
    def _remove_branch(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        repository = access.writable(repository_id)
        if name == "main":
            raise Refusal(403, "The branch main is protected")
        repository.remove_ref(f"refs/heads/{name}")
        return answer_json({})

    @_route("POST", "/api/models/{id}/tag/{name}")
    def _add_tag(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        access.writable(repository_id).add_ref(f"refs/tags/{request.json['tag']}", name)
        return answer_json({})

    @_route("DELETE", "/api/models/{id}/tag/{name}")
    def _remove_tag(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        access.writable(repository_id).remove_ref(f"refs/tags/{name}")
        return answer_json({})

    # Writing: preupload tells which files go to LFS, these are uploaded, and the commit names them

    @_route("POST", "/api/models/{id}/preupload/{name}")
    def _preupload(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        files = access.committable(repository_id, "create_pr" in request.query).at(name).files
        told = [
            {
                "path": path,
                "uploadMode": "lfs" if is_large(path) else "regular",
                "shouldIgnore": False,
                # By this a client leaves out what has not changed.
                **({"oid": files[path].name} if path in files else {}),
            }
            for path in (file["path"] for file in request.json["files"])
        ]
        return answer_json({"files": told})

    @_route("POST", "/{id}.git/info/lfs/objects/batch")
    def _batch(self, request: Request, access: Access, repository_id: str) -> Answer:
        # A client names the branch unless it opens a pull request.
        repository = access.committable(repository_id, "ref" not in request.json)
        objects = []
        for wanted in request.json["objects"]:
            href = {"href": f"{self._url}/lfs/{repository_id}/{wanted['oid']}/{wanted['size']}"}
            actions = {} if repository.has(wanted["oid"]) else {"actions": {"upload": href, "verify": href}}
            objects.append({**wanted, **actions})
        return answer_json({"transfer": "basic", "objects": objects})

    @_route("PUT", "/lfs/{id}/{sha256}/{size}")
    def _upload(self, request: Request, access: Access, repository_id: str, sha256: str, size: str) -> Answer:
        """Asks for no token, like the signed addresses of a file store."""
        found = hashlib.sha256(request.body).hexdigest()
        if found != sha256 or len(request.body) != int(size):
            raise Refusal(400, f"Promised {size} bytes of sha256 {sha256}, got {len(request.body)} of {found}")
        self._repositories[repository_id].store(request.body, large=True)
        return Answer()

    @_route("POST", "/lfs/{id}/{sha256}/{size}")
    def _verify(self, request: Request, access: Access, repository_id: str, sha256: str, size: str) -> Answer:
        if not access.readable(repository_id).has(sha256):
            raise Refusal(404, f"There is no object {sha256}")
        return answer_json({})

    @_route("POST", "/api/models/{id}/commit/{name}")
    def _commit(self, request: Request, access: Access, repository_id: str, name: str) -> Answer:
        as_pull_request = "create_pr" in request.query
        repository = access.committable(repository_id, as_pull_request)
        header, *operations = [json.loads(line) for line in request.body.splitlines()]
        words = {
            "title": header["value"]["summary"],
            "message": header["value"].get("description", ""),
            "author": access.user.name,
            "branch": name,
            "parent": header["value"].get("parentCommit"),
        }
        edit = _edit(repository, operations)
        told = {"success": True}
        if as_pull_request:
            number, commit = repository.open_pull_request(edit, **words)
            told["pullRequestUrl"] = f"{self._url}/{repository_id}/discussions/{number}"
        else:
            commit = repository.commit(edit, **words)
        return answer_json(
            {**told, "commitOid": commit.id, "commitUrl": f"{self._url}/{repository_id}/commit/{commit.id}"}
        )


def _edit(repository: Repository, operations: list[dict]) -> Callable[[dict[str, Blob]], None]:
    """What a commit's operations do to the files of a repository, in their order."""

    def edit(files: dict[str, Blob]) -> None:
        for operation in operations:
            value = operation["value"]
            path = value["path"]
            match operation["key"]:
                case "file":
                    files[path] = repository.store(base64.b64decode(value["content"]), large=False)
                case "lfsFile":
                    if not repository.has(value["oid"]):
                        raise Refusal(400, f"{path} points to an LFS object that does not exist: {value['oid']}")
                    files[path] = repository.large_blob(value["oid"])
                case "deletedFile":
                    if files.pop(path, None) is None:
                        raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                case "deletedFolder":
                    inside = [name for name in files if name.startswith(f"{path.rstrip('/')}/")]
                    if not inside:
                        raise Refusal(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
                    for name in inside:
                        del files[name]
                case unknown:
                    raise Refusal(400, f"The loopback Hub knows no operation {unknown!r}")

    return edit


def _named(request: Request, access: Access) -> str:
    """The id of the repository that a request's body names."""
    if request.json.get("type", "model") != "model":
        raise Refusal(404, "The loopback Hub has models alone")
    return f"{request.json.get('organization') or access.user.name}/{request.json['name']}"


def _is_true(request: Request, key: str) -> bool:
    return request.query.get(key) == ["true"]


def _expanded(entries: list[dict], repository: Repository, revision: str) -> list[dict]:
    history = repository.commits(revision)
    return [{**entry, "lastCommit": descriptions.last_commit(history, entry["path"])} for entry in entries]
