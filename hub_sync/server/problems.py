"""The server's refusals: HTTP status, the Hub's error code, and one sentence for the user.

The clients read the headers `X-Error-Code` and `X-Error-Message`; some texts are part of the protocol
because a client compares them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

INVALID_CREDENTIALS = "Invalid credentials in Authorization header"
BRANCH_MOVED = "The branch was updated since you opened this page. Please refresh and try again."


class Problem(Exception):
    """A request that is refused. `extra` joins the JSON body, `headers` the response headers."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


bad_request = partial(Problem, 400)
unknown_token = partial(Problem, 401, INVALID_CREDENTIALS)
login_required = partial(Problem, 401, "A token is required: set HF_TOKEN")
forbidden = partial(Problem, 403)
too_large = partial(Problem, 413)
invalid_path = partial(Problem, 422)


def repo_not_found(anonymous: bool) -> Problem:
    """The same answer for a repository that is absent and for one the caller may not see."""
    if anonymous:
        return Problem(401, "Invalid username or password.", "RepoNotFound")
    return Problem(404, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> Problem:
    return Problem(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(message: str = "Entry not found", commit: str | None = None) -> Problem:
    """`commit` lets clients remember that this file is absent in this commit."""
    return Problem(404, message, "EntryNotFound", headers={"X-Repo-Commit": commit} if commit else None)


def conflict(message: str, **extra: Any) -> Problem:
    return Problem(409, message, extra=extra)


def not_implemented(what: str) -> Problem:
    return Problem(501, f"{what} is not implemented by this hub", "NotImplemented")
