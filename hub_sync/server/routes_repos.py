"""Routes about repositories as a whole: account, create, move, delete, settings, info, lists, refs, cards."""

import base64
import os
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response

from . import auth, cards, info, problems, repos
from .repos import BRANCH, TAG
from .routing import Call, route
from .state import HubState

LIST_PAGE = 1000


@route("GET", "/api/whoami-v2")
def whoami(call: Call) -> Response:
    if call.who.anonymous:
        raise problems.login_required()
    return JSONResponse(auth.describe(call.hub.store, call.who))


def _visibility(body: dict[str, Any]) -> bool | None:
    """Whether to be private, by `visibility` (new clients) or `private` (old ones); None if there is neither."""
    visibility, private = body.get("visibility"), body.get("private")
    if visibility is not None:
        if visibility not in ("public", "private"):
            raise problems.bad_request(f"Invalid visibility {visibility!r}: use public or private")
        return bool(visibility == "private")
    if private is not None and not isinstance(private, bool):
        raise problems.bad_request("private must be true or false")
    return private


def _names(body: dict[str, Any], call: Call) -> tuple[str, str]:
    """(namespace, name) of a body with `name` and `organization`; the name may carry the namespace."""
    name, organization = body.get("name"), body.get("organization")
    if not isinstance(name, str) or not name or not isinstance(organization, str | None):
        raise problems.bad_request("name must be a string, organization a string or null")
    if organization is None and name.count("/") == 1:
        organization, name = name.split("/")
    if organization is None and call.who.anonymous:
        raise problems.login_required()
    return organization or call.who.name, name


@route("POST", "/api/repos/create")
def create(call: Call) -> Response:
    body = call.json()
    namespace, name = _names(body, call)
    repo_type = repos.check_type(body.get("type"))
    sdk = body.get("sdk")
    try:
        repo = repos.create(
            call.hub.store, call.who, repo_type, namespace, name, private=bool(_visibility(body)),
            sdk=sdk if isinstance(sdk, str) else None,
        )  # fmt: skip
    except problems.Problem as problem:
        if "url" in problem.extra:  # a client with exist_ok reads the address from the refusal
            problem.extra["url"] = f"{call.base_url}/{problem.extra['url']}"
        raise
    return JSONResponse({"url": f"{call.base_url}/{repo.hub_path}", "name": repo.full_name, "id": f"{repo.id:024x}"})


@route("DELETE", "/api/repos/delete")
def delete(call: Call) -> Response:
    body = call.json()
    namespace, name = _names(body, call)
    repo = repos.writable(call.hub.store, call.who, repos.check_type(body.get("type")), namespace, name)
    repos.delete(call.hub.store, repo)
    return Response("OK", media_type="text/plain")


@route("POST", "/api/repos/move")
def move(call: Call) -> Response:
    body = call.json()
    pairs = []
    for key in ("fromRepo", "toRepo"):
        value = body.get(key)
        if not isinstance(value, str) or value.count("/") != 1:
            raise problems.bad_request(f"{key} must be namespace/name")
        pairs.append(value.split("/"))
    repo = repos.writable(call.hub.store, call.who, repos.check_type(body.get("type")), *pairs[0])
    moved = repos.move(call.hub.store, call.who, repo, *pairs[1])
    return JSONResponse({"url": f"{call.base_url}/{moved.hub_path}"})


@route("PUT", "/api/{T}/{repo}/settings")
def settings(call: Call) -> Response:
    repo, body = call.writable(), call.json()
    private = _visibility(body)
    repos.update_settings(call.hub.store, repo, private, body.get("gated"))
    return JSONResponse({"private": repo.private if private is None else private, "gated": False})


@route("GET", "/api/{T}/{repo}")
@route("GET", "/api/{T}/{repo}/revision/{rev*}")
def repo_info(call: Call) -> Response:
    repo = call.readable()
    commit = repos.resolve(call.hub.store, repo, call.params.get("rev", "main"))
    expand = call.query.getlist("expand") + call.query.getlist("expand[]")
    return JSONResponse(info.repo_info(call.hub, repo, commit, details=call.flag("blobs"), expand=expand))


@route("GET", "/api/{T}")
def repo_list(call: Call) -> Response:
    """All repositories of a type that the caller may read; `filter`, `author` and `search` must all hold."""
    query = call.query
    filters = [word for value in query.getlist("filter") for word in value.split(",") if word]
    pipeline = query.get("pipeline_tag")
    author, search = query.get("author", "").lower(), query.get("search", "").lower()
    limit = call.int_query("limit", LIST_PAGE, 1, LIST_PAGE)
    try:
        start = max(0, int(base64.urlsafe_b64decode(query["cursor"]))) if query.get("cursor") else 0
    except ValueError:
        raise problems.bad_request("Invalid cursor") from None
    expand = set(query.getlist("expand") + query.getlist("expand[]"))
    matches = []
    for repo in repos.list_visible(call.hub.store, call.who, call.repo_type):
        if author in ("", repo.namespace.lower()) and search in repo.full_name.lower():
            summary = info.repo_summary(call.hub, repo)
            if set(filters) <= set(summary["tags"]) and pipeline in (None, "", summary.get("pipeline_tag")):
                matches.append(summary)
    order = query.get("sort", "")
    if order in ("createdAt", "lastModified"):
        matches.sort(key=lambda summary: str(summary[order]), reverse=query.get("direction", "-1") == "-1")
    page = matches[start : start + limit]
    for summary in page:
        if call.flag("full") or "siblings" in expand:
            tree = call.hub.store.read_commit(summary["sha"]).tree
            summary["siblings"] = info.siblings(call.hub, tree, False)
        if not (call.flag("full") or call.flag("cardData") or "cardData" in expand):
            summary.pop("cardData")
    headers = {}
    if start + limit < len(matches):
        cursor = base64.urlsafe_b64encode(str(start + limit).encode()).decode()
        headers["Link"] = next_link(call, {"cursor": cursor})
    return JSONResponse([info.expanded(summary, expand) for summary in page], headers=headers)


def next_link(call: Call, changes: dict[str, str]) -> str:
    """A `Link` header to the next page: this request's address with some query values replaced."""
    others = [(key, value) for key, value in call.query.multi_items() if key not in changes]
    path = call.request.scope["raw_path"].decode("ascii")
    return f'<{call.base_url}{path}?{urlencode([*others, *changes.items()])}>; rel="next"'


@route("GET", "/api/{T}/{repo}/refs")
def refs(call: Call) -> Response:
    groups = repos.refs(call.hub.store, call.readable())
    if not call.flag("include_prs"):
        groups.pop("pullRequests")
    return JSONResponse(groups)


@route("POST", "/api/{T}/{repo}/branch/{branch*}")
def create_branch(call: Call) -> Response:
    repo = call.writable()
    start = call.json().get("startingPoint") or "main"
    if not isinstance(start, str):
        raise problems.bad_request("startingPoint must be a revision")
    repos.create_ref(call.hub.store, repo, BRANCH, call.params["branch"], start, call.who)
    return JSONResponse({"success": True}, status_code=201)


@route("POST", "/api/{T}/{repo}/tag/{rev*}")
def create_tag(call: Call) -> Response:
    repo, body = call.writable(), call.json()
    repos.create_ref(call.hub.store, repo, TAG, body.get("tag"), call.params["rev"], call.who, body.get("message"))
    return JSONResponse({"success": True}, status_code=201)


@route("DELETE", "/api/{T}/{repo}/branch/{branch*}")
@route("DELETE", "/api/{T}/{repo}/tag/{tag*}")
def delete_ref(call: Call) -> Response:
    prefix, name = (BRANCH, call.params["branch"]) if "branch" in call.params else (TAG, call.params["tag"])
    repos.delete_ref(call.hub.store, call.writable(), prefix, name)
    return JSONResponse({"success": True})


@route("POST", "/api/{T}/{repo}/super-squash/{rev*}")
def super_squash(call: Call) -> Response:
    repo, revision = call.writable(), call.params["rev"]
    message = call.json().get("message")
    if not isinstance(message, str) or not message.strip():
        message = f"Super-squash branch '{revision}'"
    ref = repos.head_ref(call.hub.store, repo, revision)
    sha = repos.squash(call.hub.store, repo, ref, call.who, message.replace("\x00", "").strip())
    return JSONResponse({"success": True, "commitOid": sha})


@route("GET", "/api/{T}/{repo}/auth-check")
@route("GET", "/api/{T}/{repo}/auth-check/write")
def auth_check(call: Call) -> Response:
    call.writable() if call.request.scope["path"].endswith("/write") else call.readable()
    return Response("OK", media_type="text/plain")


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Response:
    body = call.json()
    content, repo_type = body.get("content"), body.get("repoType", "model")
    if not isinstance(content, str):
        raise problems.bad_request("content must be the text of a card")
    errors, warnings = cards.validate(content[: cards.CARD_MAX_BYTES], str(repo_type))
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(answer, status_code=400 if errors else 200)


def _counts(hub: HubState) -> dict[str, int]:
    """Numbers over the whole root; sizes in bytes."""
    db = hub.store.db
    blobs, blob_bytes = db.execute("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM blobs").fetchone()
    objects, object_bytes = db.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(data)), 0) FROM objects").fetchone()
    repos = {row[0]: row[1] for row in db.execute("SELECT type, COUNT(*) FROM repos GROUP BY type")}
    return {
        "models": repos.get("model", 0),
        "datasets": repos.get("dataset", 0),
        "spaces": repos.get("space", 0),
        "blobs": blobs,
        "blob_bytes": blob_bytes,
        "git_objects": objects,
        "git_bytes": object_bytes,
    }


@route("GET", "/_hub/status")
def status(call: Call) -> Response:
    """Health for everybody; counts only for those who log in, as they include private repositories."""
    value: dict = {"status": "ok", "server": "hubwright", "version": version("hubwright"), "id": call.hub.hub_id}
    if not call.who.anonymous:
        value |= {"pid": os.getpid(), **_counts(call.hub)}
    return JSONResponse(value)
