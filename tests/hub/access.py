"""Who may do what: users and their tokens, private and gated repositories."""

from dataclasses import dataclass

from .messages import Refusal
from .repositories import Repositories, Repository


@dataclass(frozen=True)
class User:
    """Who holds a token. With the role "write" they may change what is theirs and their organisations'."""

    name: str
    token: str
    role: str
    organisations: tuple[str, ...]

    def owns(self, repository_id: str) -> bool:
        return repository_id.split("/")[0] in (self.name, *self.organisations)


class Access:
    """What one request may touch: that of a user, or of nobody in particular (None)."""

    def __init__(self, repositories: Repositories, user: User | None):
        self._repositories, self._user = repositories, user

    @property
    def user(self) -> User:
        if self._user is None:
            raise Refusal(401, "Invalid username or password.")
        return self._user

    def readable(self, repository_id: str) -> Repository:
        repository = self._repositories.get(repository_id)
        if repository is None or (repository.private and not self._owns(repository_id)):
            raise Refusal(404 if self._user else 401, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, repository_id: str) -> Repository:
        repository = self.readable(repository_id)
        if self._user is None:
            # From a 401 over https clients conclude this; over http they must be told.
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        self.may_write(repository_id)
        return repository

    def may_write(self, repository_id: str) -> None:
        """Pass if the user may write to this repository, or make it."""
        if not self.user.owns(repository_id):
            raise Refusal(403, f"You don't have the rights to write to {repository_id}")
        if self.user.role != "write":
            raise Refusal(403, "You must use a write token to write to a repository")

    def committable(self, repository_id: str, pull_request: bool) -> Repository:
        """Whoever is known and may read may open a pull request."""
        return self.readable(repository_id) if pull_request and self._user else self.writable(repository_id)

    def opened(self, repository_id: str) -> Repository:
        """A repository whose files may be read, gated or not."""
        repository = self.readable(repository_id)
        if repository.gated and not self._owns(repository_id):
            restricted = f"Access to model {repository_id} is restricted"
            if self._user is None:
                raise Refusal(401, f"{restricted}. You must have access to it and be authenticated.", "GatedRepo")
            if self._user.name not in repository.accepted:
                raise Refusal(403, f"{restricted} and you are not in the authorized list.", "GatedRepo")
        return repository

    def _owns(self, repository_id: str) -> bool:
        return self._user is not None and self._user.owns(repository_id)
