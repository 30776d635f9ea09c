"""What the browser pages show, collected from the store, and their rendering. No scripts anywhere."""

from __future__ import annotations

import itertools
import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from ..card_yaml import parse_metadata, split_card
from . import commits, discussions, info, problems, repos
from .auth import Principal
from .cards import render_markdown
from .names import split_path
from .objects import EMPTY_TREE
from .repos import Repo
from .state import HubState
from .tree import PathEntry, changed_files, find

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
TEXT_MAX_BYTES = 512 << 10
FILES_SHOWN = 1000
METADATA_SHOWN = 200
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".avif")


def human_bytes(count: float) -> str:
    """Bytes with a decimal unit, as the Hub shows them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    env.filters["bytes"] = human_bytes
    env.filters["segment"] = lambda text: quote(str(text), safe="")
    env.filters["path"] = lambda text: quote(str(text))
    env.filters["day"] = lambda text: str(text)[:16].replace("T", " ")
    return env


def render(template: str, **values: Any) -> str:
    return _environment().get_template(f"{template}.jinja").render(**values)


def index(hub: HubState, who: Principal, search: str) -> dict[str, Any]:
    """The repositories that the visitor may read, by type."""
    groups = []
    for repo_type, title in (("model", "Models"), ("dataset", "Datasets"), ("space", "Spaces")):
        rows = []
        for repo in repos.list_visible(hub.store, who, repo_type):
            if search.lower() in repo.full_name.lower():
                rows.append(
                    {"repo": repo, "updated": info.iso(repo.updated), "size": info.used_storage(hub.store, repo)}
                )
        groups.append({"title": title, "rows": rows})
    return {"groups": groups, "search": search, "who": who}


def _frame(hub: HubState, repo: Repo, revision: str) -> dict[str, Any]:
    """What every page of a repository has: its address, the revision shown, and all revisions."""
    groups = repos.refs(hub.store, repo)
    return {
        "repo": repo,
        "base": f"/{repo.hub_path}",
        "revision": revision,
        "commit": repos.resolve(hub.store, repo, revision),
        "branches": groups["branches"],
        "tags": groups["tags"],
        "pulls": groups["pullRequests"],
    }


def _usage(repo: Repo, revision: str) -> str:
    """The line that loads this repository with an unmodified client."""
    pinned = "" if revision == "main" else f', revision="{revision}"'
    if repo.type == "dataset":
        return f'datasets.load_dataset("{repo.full_name}"{pinned})'
    if repo.type == "model":
        return f'transformers.AutoModel.from_pretrained("{repo.full_name}"{pinned})'
    return f'huggingface_hub.snapshot_download("{repo.full_name}", repo_type="space"{pinned})'


def repository(hub: HubState, repo: Repo, revision: str = "main") -> dict[str, Any]:
    frame = _frame(hub, repo, revision)
    tree = hub.store.read_commit(frame["commit"]).tree
    text = info.read_text(hub, tree, "README.md")
    card = _card(text, frame["base"], frame["commit"]) if text is not None else None
    recent = itertools.islice(commits.history(hub.store, frame["commit"]), 10)
    return frame | {
        "card": card,
        "files": _rows(hub, frame["commit"], tree, ""),
        "history": [info.commit_item(sha, commit) for sha, commit in recent],
        "usage": _usage(repo, revision),
        "storage": info.used_storage(hub.store, repo),
    }


def _card(text: str, base: str, commit: str) -> dict[str, Any]:
    """The card as HTML and its metadata as rows of text."""
    head, body = split_card(text)
    rows: list[tuple[str, str]] = []
    try:
        for key, value in itertools.islice(parse_metadata(head).items(), METADATA_SHOWN):
            flat = isinstance(value, list) and all(isinstance(item, str | int | float) for item in value)
            if flat:
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


def _rows(hub: HubState, commit: str, tree: str, prefix: str) -> list[dict[str, Any]]:
    """The direct content of a folder: folders first, then files with their sizes."""
    entries = [PathEntry(prefix + e.path, e.mode, e.sha) for e in hub.listings.get(hub.store, tree, False)]
    entries.sort(key=lambda entry: (not entry.is_tree, entry.path))
    rows = []
    for item in info.tree_items(hub, entries[:FILES_SHOWN]):
        rows.append(item | {"name": item["path"].rpartition("/")[2]})
    return rows


def _crumbs(path: str) -> list[tuple[str, str]]:
    """(name, path) of every folder on the way."""
    parts = path.split("/") if path else []
    return [(name, "/".join(parts[: depth + 1])) for depth, name in enumerate(parts)]


def folder(hub: HubState, repo: Repo, revision: str, path: str) -> dict[str, Any]:
    frame = _frame(hub, repo, revision)
    tree = hub.store.read_commit(frame["commit"]).tree
    if path:
        entry = find(hub.store, tree, split_path(path))
        if entry is None or not entry.is_tree:
            raise problems.entry_not_found(f"There is no folder {path!r} in this revision")
        tree = entry.sha
    prefix = f"{path}/" if path else ""
    return frame | {"path": path, "crumbs": _crumbs(path), "files": _rows(hub, frame["commit"], tree, prefix)}


def file(hub: HubState, repo: Repo, revision: str, path: str) -> dict[str, Any]:
    frame = _frame(hub, repo, revision)
    tree = hub.store.read_commit(frame["commit"]).tree
    entry = find(hub.store, tree, split_path(path))
    if entry is None or entry.is_tree:
        raise problems.entry_not_found(f"There is no file {path!r} in this revision")
    (item,) = info.tree_items(hub, [PathEntry(path, entry.mode, entry.sha)])
    text = None
    if "lfs" not in item and item["size"] <= TEXT_MAX_BYTES:
        data, _, _ = hub.store.blob_location(entry.sha)
        if data is not None and b"\x00" not in data:
            text = data.decode(errors="replace")
    image = path.lower().endswith(_IMAGES)
    return frame | {"path": path, "crumbs": _crumbs(path), "item": item, "text": text, "image": image}


def log(hub: HubState, repo: Repo, revision: str, page: int) -> dict[str, Any]:
    frame = _frame(hub, repo, revision)
    size = 50
    rows = list(itertools.islice(commits.history(hub.store, frame["commit"]), page * size, (page + 1) * size + 1))
    items = [info.commit_item(sha, commit) for sha, commit in rows[:size]]
    return frame | {"history": items, "page": page, "more": len(rows) > size}


def commit(hub: HubState, repo: Repo, sha: str) -> dict[str, Any]:
    frame = _frame(hub, repo, sha)
    decoded = hub.store.read_commit(frame["commit"])
    parent = hub.store.read_commit(decoded.parents[0]).tree if decoded.parents else EMPTY_TREE
    changes = []
    for path, before, after in itertools.islice(changed_files(hub.store, parent, decoded.tree), FILES_SHOWN):
        kind = "added" if before is None else "deleted" if after is None else "changed"
        changes.append({"path": path, "kind": kind})
    item = info.commit_item(frame["commit"], decoded)
    return frame | {"item": item, "changes": changes, "parents": decoded.parents}


def pulls(hub: HubState, repo: Repo) -> dict[str, Any]:
    rows = [discussions.summary(repo, row) for row in discussions.list_all(hub.store, repo)]
    return _frame(hub, repo, "main") | {"discussions": rows}


def pull(hub: HubState, repo: Repo, number: int) -> dict[str, Any]:
    return _frame(hub, repo, "main") | {"item": discussions.details(hub.store, repo, number)}
