"""Routes of pull requests and discussions. What is not here (editing comments, reactions) answers 501."""

from typing import Any

from starlette.responses import JSONResponse, Response

from ..text import well_formed
from . import auth, discussions, problems
from .repos import Repo
from .routing import Call, route

PAGE = 50


def number_of(call: Call) -> int:
    text = call.params["num"]
    if not text.isdecimal() or len(text) > 9:
        raise problems.Problem(404, f"Discussion {text[:40]} does not exist")
    return int(text)


def _text(body: dict[str, Any], key: str, default: str = "") -> str:
    value = body.get(key) or default
    if not isinstance(value, str):
        raise problems.bad_request(f"{key} must be a string")
    return well_formed(value)


@route("GET", "/api/{T}/{repo}/discussions")
def list_all(call: Call) -> Response:
    repo = call.readable()
    rows = discussions.list_all(call.hub.store, repo)
    kind, status, author = call.query.get("type"), call.query.get("status"), call.query.get("author")
    if kind in ("pull_request", "discussion"):
        rows = [row for row in rows if bool(row["is_pr"]) == (kind == "pull_request")]
    if status in ("open", "closed"):
        rows = [row for row in rows if (row["status"] in discussions.OPEN_STATES) == (status == "open")]
    if author:
        rows = [row for row in rows if row["author"].lower() == author.lower()]
    start = call.int_query("p", 0, 0, 10**6) * PAGE
    page = [discussions.summary(repo, row) for row in rows[start : start + PAGE]]
    return JSONResponse({"discussions": page, "count": len(rows), "start": start})


@route("POST", "/api/{T}/{repo}/discussions")
def create(call: Call) -> Response:
    """Anybody who is logged in and may read may discuss; a pull request brings a ref and needs write access."""
    body = call.json()
    pull = body.get("pullRequest") is True
    repo = call.writable() if pull else call.readable()
    auth.require_write_token(call.who)
    number = discussions.create(
        call.hub.store, repo, call.who, _text(body, "title"), _text(body, "description"), pull=pull
    )
    row = discussions.find(call.hub.store, repo, number)
    url = f"{call.base_url}/{repo.hub_path}/discussions/{number}"
    return JSONResponse(discussions.summary(repo, row) | {"url": url}, status_code=201)


@route("GET", "/api/{T}/{repo}/discussions/{num}")
def details(call: Call) -> Response:
    return JSONResponse(discussions.details(call.hub.store, call.readable(), number_of(call)))


@route("POST", "/api/{T}/{repo}/discussions/{num}/merge")
def merge(call: Call) -> Response:
    repo = call.writable()
    sha = discussions.merge(call.hub.store, repo, number_of(call), call.who, _text(call.json(), "comment"))
    return JSONResponse({"success": True, "mergeCommitId": sha}, headers={"X-Repo-Commit": sha})


def _editable(call: Call) -> tuple[Repo, int]:
    """The repository and number of a discussion that the author, or anybody with write access, changes."""
    repo, number = call.readable(), number_of(call)
    auth.require_write_token(call.who)
    if discussions.find(call.hub.store, repo, number)["author"] != call.who.name:
        auth.require_write(call.hub.store, call.who, repo.namespace)
    return repo, number


@route("POST", "/api/{T}/{repo}/discussions/{num}/status")
def status(call: Call) -> Response:
    repo, number = _editable(call)
    body = call.json()
    event = discussions.change_status(call.hub.store, repo, number, call.who, _text(body, "status"))
    if (text := _text(body, "comment")).strip():
        discussions.comment(call.hub.store, repo, number, call.who, text)
    return JSONResponse({"newStatus": event})


@route("POST", "/api/{T}/{repo}/discussions/{num}/title")
def title(call: Call) -> Response:
    repo, number = _editable(call)
    event = discussions.rename(call.hub.store, repo, number, call.who, _text(call.json(), "title"))
    return JSONResponse({"newTitle": event})


@route("POST", "/api/{T}/{repo}/discussions/{num}/comment")
def comment(call: Call) -> Response:
    repo, number = call.readable(), number_of(call)
    auth.require_write_token(call.who)
    discussions.find(call.hub.store, repo, number)
    event = discussions.comment(call.hub.store, repo, number, call.who, _text(call.json(), "comment"))
    return JSONResponse({"newMessage": event})
