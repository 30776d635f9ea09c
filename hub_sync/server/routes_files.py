"""Routes that read: tree listings, paths-info, history, and `resolve`, which hands out a file's bytes."""

import base64
import mimetypes
import re
from typing import NamedTuple
from urllib.parse import parse_qs, quote

from starlette.responses import JSONResponse, Response, StreamingResponse

from . import commits, info, problems, repos
from .names import split_path
from .repos import Repo
from .routes_repos import next_link
from .routing import Call, route
from .state import HubState
from .tree import find, listing

TREE_PAGE = 1000
EXPAND_PAGE = 100
COMMITS_PAGE = 50
COMMITS_LATER_PAGE = 500
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@route("GET", "/api/{T}/{repo}/tree/{rev}")
@route("GET", "/api/{T}/{repo}/tree/{rev}/{path*}")
def tree(call: Call) -> Response:
    repo, store = call.readable(), call.hub.store
    path = call.params.get("path", "").strip("/")
    commit, start = _tree_cursor(call, repo)
    root = store.read_commit(commit).tree
    if path:
        entry = find(store, root, split_path(path))
        if entry is None or not entry.is_tree:
            raise problems.entry_not_found(f'{path} does not exist on "{call.params["rev"]}"', commit)
        root = entry.sha
    expand = call.flag("expand")
    most = EXPAND_PAGE if expand else TREE_PAGE
    limit = call.int_query("limit", most, 1, most)
    entries = listing(store, root, call.flag("recursive"))
    prefix = f"{path}/" if path else ""
    page = [entry._replace(name=prefix + entry.name) for entry in entries[start : start + limit]]
    headers = {"X-Repo-Commit": commit}
    if start + limit < len(entries):
        cursor = base64.urlsafe_b64encode(f"{commit}:{start + limit}".encode()).decode()
        headers["Link"] = next_link(call, {"cursor": cursor})
    return JSONResponse(info.tree_items(call.hub, page, commit if expand else None), headers=headers)


def _tree_cursor(call: Call, repo: Repo) -> tuple[str, int]:
    """(commit, offset). The cursor pins the commit: pages stay consistent while the branch moves."""
    text = call.query.get("cursor")
    revision, start = call.params["rev"], 0
    if text:
        try:
            revision, _, offset = base64.urlsafe_b64decode(text).decode().partition(":")
            start = int(offset)
        except ValueError:
            raise problems.bad_request("Invalid cursor") from None
    return repos.resolve(call.hub.store, repo, revision), max(0, start)


@route("POST", "/api/{T}/{repo}/paths-info/{rev*}")
def paths_info(call: Call) -> Response:
    repo, store = call.readable(), call.hub.store
    commit = repos.resolve(store, repo, call.params["rev"])
    kind = call.request.headers.get("content-type", "")
    if "json" in kind:
        body = call.json()
        paths, expand = body.get("paths", []), bool(body.get("expand"))
    else:
        try:
            form = parse_qs(call.body.decode(errors="replace"), max_num_fields=20_000)
        except ValueError:
            raise problems.too_large("paths-info takes at most 20000 fields") from None
        paths = form.get("paths", []) + form.get("paths[]", [])
        expand = form.get("expand", ["false"])[0].lower() in ("1", "true")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise problems.bad_request("paths must be an array of strings")
    root = store.read_commit(commit).tree
    names = dict.fromkeys(path.strip("/") for path in paths if path.strip("/"))
    entries = [entry._replace(name=name) for name in names if (entry := find(store, root, name.split("/")))]
    items = info.tree_items(call.hub, entries, commit if expand else None)
    return JSONResponse(items, headers={"X-Repo-Commit": commit})


@route("GET", "/api/{T}/{repo}/commits/{rev*}")
def history(call: Call) -> Response:
    """A page of commits, newest first. The next one starts at the commit that its cursor names, so that a page costs
    the same wherever it lies and a branch that moves meanwhile does not shift it; `p` counts from the start. What is
    sought is mostly on the first page: a client that names no `limit` gets longer ones after it."""
    repo, store = call.readable(), call.hub.store
    commit = repos.resolve(store, repo, call.query.get("cursor") or call.params["rev"])
    page = call.int_query("p", 0, 0, 10**6)
    limit = call.int_query("limit", COMMITS_PAGE, 1, 1000)
    formatted = "formatted" in call.query.getlist("expand[]") + call.query.getlist("expand")
    rows, following = commits.history_page(store, commit, page * limit, limit)
    headers = {}
    if following:
        longer = call.query.get("limit", str(COMMITS_LATER_PAGE))
        headers["Link"] = next_link(call, {"cursor": following, "limit": longer, "p": "0"})
    return JSONResponse([info.commit_item(sha, c, formatted) for sha, c in rows], headers=headers)


class Content(NamedTuple):
    """Where a file's bytes lie: in memory, or in the blob folder under `sha256`."""

    size: int
    etag: str
    data: bytes | None
    sha256: str
    lfs: bool


def locate(hub: HubState, repo: Repo, commit: str, path: str) -> Content:
    """The content of a file in a commit. Raises Problem 404 where it is absent, or points to what is not there."""
    segments = path.split("/")
    entry = find(hub.store, hub.store.read_commit(commit).tree, segments)
    if entry is None or entry.is_tree:
        raise problems.entry_not_found(commit=commit)
    blob = hub.store.blob_infos([entry.sha])[entry.sha]
    if blob.lfs:
        # The link is checked on reading too: a pointer alone gives no access to somebody's file.
        if hub.store.linked_size(repo.id, blob.lfs) is None or hub.blobs.size(blob.lfs) != blob.lfs_size:
            raise problems.entry_not_found("The large file behind this pointer is missing", commit)
        return Content(blob.lfs_size, blob.lfs, None, blob.lfs, True)
    data, sha256, size = hub.store.blob_location(entry.sha)
    return Content(size, entry.sha, data, sha256 or "", False)


def content_type(path: str) -> str:
    """A type that a browser shows but does not run: HTML, SVG and scripts go out as text."""
    guess = mimetypes.guess_type(path)[0] or ""
    main = guess.partition("/")[0]
    if guess == "image/svg+xml":
        return guess  # harmless as an image, and the sandbox policy below keeps it so as a page
    if main in ("image", "audio", "video") or guess in ("application/json", "application/pdf"):
        return guess
    text = (".md", ".py", ".yaml", ".yml", ".jsonl", ".toml", ".jinja", ".gitattributes", ".gitignore", ".sh", ".cfg")
    return "text/plain; charset=utf-8" if main == "text" or path.endswith(text) else "application/octet-stream"


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, stop) of a single byte range, or None where the whole file is wanted. Raises Problem 416."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if not match or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or stop <= start:
        raise problems.Problem(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, stop


@route("GET", "/{P}{repo}/resolve/{rev}/{path*}")
@route("GET", "/{P}{repo}/raw/{rev}/{path*}")
def resolve(call: Call) -> Response:
    """A file's bytes. HEAD, Range and If-None-Match are honoured; nothing is ever compressed or redirected."""
    repo = call.readable()
    commit = repos.resolve(call.hub.store, repo, call.params["rev"])
    path = call.params["path"]
    content = locate(call.hub, repo, commit, path)
    name = path.rpartition("/")[2]
    ascii_name = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
    disposition = "attachment" if call.flag("download") else "inline"
    headers = {
        "X-Repo-Commit": commit,
        "ETag": f'"{content.etag}"',
        "Content-Type": content_type(path),
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name)}; filename=\"{ascii_name}\";",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cache-Control": "no-cache" if not repo.private else "private, no-store",
    }
    if content.lfs:
        headers |= {"X-Linked-ETag": f'"{content.etag}"', "X-Linked-Size": str(content.size)}
    if f'"{content.etag}"' in [tag.strip() for tag in call.request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return send(call, content, headers)


def send(call: Call, content: Content, headers: dict[str, str]) -> Response:
    """The bytes, or the range of them that is requested (status 206), with these headers."""
    request = call.request.headers
    valid = request.get("if-range") in (None, f'"{content.etag}"')
    part = parse_range(request.get("range"), content.size) if valid else None
    start, stop = part or (0, content.size)
    headers |= {"Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    status = 206 if part else 200
    if call.request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    if content.data is not None:
        return Response(content.data[start:stop], status, headers)
    return StreamingResponse(call.hub.blobs.read(content.sha256, start, stop), status, headers)
