"""Routes of the pages: what each shows, collected from the store."""

import itertools
import json
from pathlib import Path
from typing import Any

from starlette.responses import Response

from ..card_yaml import parse_metadata, split_card
from . import commits, discussions, info, problems, repos
from .cards import render_markdown
from .names import split_path
from .objects import EMPTY_TREE, TreeEntry
from .pages import page
from .repos import Repo
from .routes_discussions import number_of
from .routing import Call, route
from .state import HubState
from .tree import changed_files, find, listing

TEXT_MAX_BYTES = 512 << 10
FILES_SHOWN = 1000
METADATA_SHOWN = 200
COMMITS_SHOWN = 50
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".avif")


@route("GET", "/")
def index(call: Call) -> Response:
    """The repositories that the visitor may read, by type."""
    store, search = call.hub.store, call.query.get("q", "")
    groups = []
    for repo_type, title in (("model", "Models"), ("dataset", "Datasets"), ("space", "Spaces")):
        rows = [
            {"repo": repo, "updated": info.iso(repo.updated), "size": info.used_storage(store, repo)}
            for repo in repos.list_visible(store, call.who, repo_type)
            if search.lower() in repo.full_name.lower()
        ]
        groups.append({"title": title, "rows": rows})
    return page(call, "page_index", {"groups": groups, "search": search})


def _frame(call: Call, revision: str = "main") -> dict[str, Any]:
    """What every page of a repository has: its address, the revision shown, and all revisions."""
    repo, store = call.readable(), call.hub.store
    groups = repos.refs(store, repo)
    return {
        "repo": repo,
        "base": f"/{repo.hub_path}",
        "revision": revision,
        "commit": repos.resolve(store, repo, revision),
        "branches": groups["branches"],
        "tags": groups["tags"],
        "pulls": groups["pullRequests"],
    }


def _usage(repo: Repo) -> str:
    """The line that loads this repository with an unmodified client."""
    if repo.type == "dataset":
        return f'datasets.load_dataset("{repo.full_name}")'
    if repo.type == "model":
        return f'transformers.AutoModel.from_pretrained("{repo.full_name}")'
    return f'huggingface_hub.snapshot_download("{repo.full_name}", repo_type="space")'


@route("GET", "/{P}{repo}")
def repository(call: Call) -> Response:
    frame, hub = _frame(call), call.hub
    commit = frame["commit"]
    tree = hub.store.read_commit(commit).tree
    text = info.read_text(hub, tree, "README.md")
    recent = itertools.islice(commits.history(hub.store, commit), 10)
    shown = {
        "card": _card(text, frame["base"], commit) if text is not None else None,
        "files": _rows(hub, tree, ""),
        "history": [info.commit_item(sha, decoded) for sha, decoded in recent],
        "usage": _usage(frame["repo"]),
        "storage": info.used_storage(hub.store, frame["repo"]),
    }
    return page(call, "page_repo", frame | shown)


def _card(text: str, base: str, commit: str) -> dict[str, Any]:
    """The card as HTML and its metadata as rows of text."""
    head, body = split_card(text)
    rows: list[tuple[str, str]] = []
    try:
        for key, value in itertools.islice(parse_metadata(head).items(), METADATA_SHOWN):
            if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
                shown = ", ".join(str(item) for item in value)
            elif isinstance(value, dict | list):
                shown = json.dumps(value, ensure_ascii=False, indent=1)
            else:
                shown = str(value)
            rows.append((key, shown if len(shown) < 2000 else shown[:2000] + " ..."))
    except ValueError as error:
        rows = [("metadata error", str(error))]
    html = render_markdown(body, f"{base}/resolve/{commit}/", f"{base}/blob/{commit}/")
    return {"rows": rows, "html": html}


def _rows(hub: HubState, tree: str, prefix: str) -> list[dict[str, Any]]:
    """The direct content of a folder: folders first, then files with their sizes."""
    entries = [entry._replace(name=prefix + entry.name) for entry in listing(hub.store, tree, False)]
    entries.sort(key=lambda entry: (not entry.is_tree, entry.name))
    items = info.tree_items(hub, entries[:FILES_SHOWN])
    return [item | {"name": item["path"].rpartition("/")[2]} for item in items]


def _crumbs(path: str) -> list[tuple[str, str]]:
    """(name, path) of every folder on the way."""
    parts = path.split("/") if path else []
    return [(name, "/".join(parts[: depth + 1])) for depth, name in enumerate(parts)]


def _entry(call: Call, commit: str, path: str) -> TreeEntry | None:
    """The file or folder at a path of a commit."""
    return find(call.hub.store, call.hub.store.read_commit(commit).tree, split_path(path) if path else [])


@route("GET", "/{P}{repo}/tree/{rev}")
@route("GET", "/{P}{repo}/tree/{rev}/{path*}")
def folder(call: Call) -> Response:
    frame, path = _frame(call, call.params["rev"]), call.params.get("path", "").strip("/")
    entry = _entry(call, frame["commit"], path)
    if entry is None or not entry.is_tree:
        raise problems.entry_not_found(f"There is no folder {path!r} in this revision")
    files = _rows(call.hub, entry.sha, f"{path}/" if path else "")
    return page(call, "page_tree", frame | {"path": path, "crumbs": _crumbs(path), "files": files})


@route("GET", "/{P}{repo}/blob/{rev}/{path*}")
def file(call: Call) -> Response:
    frame, path = _frame(call, call.params["rev"]), call.params["path"]
    entry = _entry(call, frame["commit"], path)
    if entry is None or entry.is_tree:
        raise problems.entry_not_found(f"There is no file {path!r} in this revision")
    (item,) = info.tree_items(call.hub, [entry._replace(name=path)])
    text = None
    if "lfs" not in item and item["size"] <= TEXT_MAX_BYTES:
        data, _, _ = call.hub.store.blob_location(entry.sha)
        if data is not None and b"\x00" not in data:
            text = data.decode(errors="replace")
    shown = {
        "path": path,
        "crumbs": _crumbs(path),
        "item": item,
        "text": text,
        "image": path.lower().endswith(_IMAGES),
    }
    return page(call, "page_file", frame | shown)


@route("GET", "/{P}{repo}/commits/{rev*}")
def log(call: Call) -> Response:
    frame, cursor = _frame(call, call.params["rev"]), call.query.get("cursor")
    start = repos.resolve(call.hub.store, frame["repo"], cursor) if cursor else frame["commit"]
    rows, following = commits.history_page(call.hub.store, start, 0, COMMITS_SHOWN)
    items = [info.commit_item(sha, commit) for sha, commit in rows]
    return page(call, "page_commits", frame | {"history": items, "cursor": cursor, "following": following})


@route("GET", "/{P}{repo}/commit/{rev}")
def commit(call: Call) -> Response:
    frame, store = _frame(call, call.params["rev"]), call.hub.store
    decoded = store.read_commit(frame["commit"])
    parent = store.read_commit(decoded.parents[0]).tree if decoded.parents else EMPTY_TREE
    changes = []
    for path, before, after in itertools.islice(changed_files(store, parent, decoded.tree), FILES_SHOWN):
        kind = "added" if before is None else "deleted" if after is None else "changed"
        changes.append({"path": path, "kind": kind})
    item = info.commit_item(frame["commit"], decoded)
    return page(call, "page_commit", frame | {"item": item, "changes": changes, "parents": decoded.parents})


@route("GET", "/{P}{repo}/discussions")
def pulls(call: Call) -> Response:
    frame = _frame(call)
    rows = discussions.list_all(call.hub.store, frame["repo"])
    return page(call, "page_pulls", frame | {"discussions": [discussions.summary(frame["repo"], row) for row in rows]})


@route("GET", "/{P}{repo}/discussions/{num}")
def pull(call: Call) -> Response:
    frame = _frame(call)
    return page(
        call, "page_pull", frame | {"item": discussions.details(call.hub.store, frame["repo"], number_of(call))}
    )


_STYLE = (Path(__file__).parent / "style.css").read_text()


@route("GET", "/_hub/style.css")
def style(call: Call) -> Response:
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=300"})


@route("GET", "/favicon.ico")
def favicon(call: Call) -> Response:
    return Response(status_code=204)
