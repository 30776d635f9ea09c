"""What the API tells about repositories, files and commits, as JSON values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from .cards import CARD_MAX_BYTES, card_metadata, tags_of
from .commits import last_commits
from .objects import Commit, encode_pointer
from .repos import BRANCH, Repo
from .state import HubState
from .store import BlobInfo, Store
from .tree import PathEntry, find

FORBIDDEN_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def iso(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, as the clients parse it."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def head_commit(store: Store, repo: Repo) -> str:
    """The commit of main."""
    row = store.db.execute("SELECT tip FROM refs WHERE repo=? AND name=?", (repo.id, BRANCH + "main")).fetchone()
    if row is None:
        raise LookupError(f"{repo.full_name} has no main branch")
    return str(row[0])


def read_text(hub: HubState, tree: str, path: str, limit: int = CARD_MAX_BYTES) -> str | None:
    """A small text file of a tree, or None where it is absent, a folder, in LFS, or larger than `limit` bytes."""
    entry = find(hub.store, tree, path.split("/"))
    if entry is None or entry.is_tree:
        return None
    info = hub.store.blob_infos([entry.sha]).get(entry.sha)
    if info is None or info.lfs or info.size > limit:
        return None
    data, _, _ = hub.store.blob_location(entry.sha)
    return None if data is None else data.decode(errors="replace")


def _pointer_size(info: BlobInfo) -> int:
    return len(encode_pointer(info.lfs or "", info.lfs_size))


def sibling(entry: PathEntry, info: BlobInfo | None, details: bool) -> dict[str, Any]:
    """One file of `info.siblings`; sizes in bytes where `details` are asked for."""
    value: dict[str, Any] = {"rfilename": entry.path}
    if details and info is not None:
        value |= {"size": info.content_size, "blobId": entry.sha}
        if info.lfs:
            value["lfs"] = {"sha256": info.lfs, "size": info.lfs_size, "pointerSize": _pointer_size(info)}
    return value


def tree_items(hub: HubState, entries: Sequence[PathEntry], commit: str | None = None) -> list[dict[str, Any]]:
    """Rows of a tree listing; with `commit`, each tells the last commit that changed it."""
    infos = hub.store.blob_infos(entry.sha for entry in entries if not entry.is_tree)
    last = last_commits(hub.store, commit, [entry.path for entry in entries]) if commit else {}
    items = []
    for entry in entries:
        item: dict[str, Any] = {"type": "directory" if entry.is_tree else "file", "oid": entry.sha, "size": 0}
        info = infos.get(entry.sha)
        if info is not None:
            item["size"] = info.content_size
            if info.lfs:
                item["lfs"] = {"oid": info.lfs, "size": info.lfs_size, "pointerSize": _pointer_size(info)}
        item["path"] = entry.path
        if entry.path in last:
            sha, decoded = last[entry.path]
            item["lastCommit"] = {"id": sha, "title": decoded.title, "date": iso(decoded.author.when)}
        items.append(item)
    return items


def commit_item(sha: str, commit: Commit, formatted: bool = False) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": sha,
        "title": commit.title,
        "message": commit.body,
        "authors": [{"user": commit.author.name, "avatar": ""}],
        "date": iso(commit.author.when),
    }
    if formatted:
        item["formatted"] = {
            "title": commit.title.translate(FORBIDDEN_HTML),
            "message": commit.body.translate(FORBIDDEN_HTML),
        }
    return item


def card_of(hub: HubState, tree: str) -> dict[str, Any] | None:
    """The metadata of README.md in a tree; empty where there is none, None where they cannot be read."""
    entry = find(hub.store, tree, ["README.md"])
    if entry is None or entry.is_tree:
        return {}
    return hub.store.card(entry.sha, lambda: card_metadata(read_text(hub, tree, "README.md") or ""))


def repo_summary(hub: HubState, repo: Repo, commit: str | None = None) -> dict[str, Any]:
    """What lists show: everything but the files."""
    commit = commit or head_commit(hub.store, repo)
    decoded = hub.store.read_commit(commit)
    card = card_of(hub, decoded.tree)
    value: dict[str, Any] = {
        "_id": f"{repo.id:024x}",
        "id": repo.full_name,
        "author": repo.namespace,
        "sha": commit,
        "createdAt": iso(repo.created),
        "lastModified": iso(decoded.author.when),
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags_of(card or {}, repo.type),
        "cardData": card,
    }
    card = card or {}
    if repo.type == "model":
        value["modelId"] = repo.full_name
        for key in ("library_name", "pipeline_tag"):
            if isinstance(card.get(key), str):
                value[key] = card[key]
        if isinstance(card.get("model-index"), list):
            value["model-index"] = card["model-index"]
    elif repo.type == "dataset":
        value["description"] = None
        value["citation"] = None
    else:
        value["sdk"] = repo.sdk
    return value


def siblings(hub: HubState, tree: str, details: bool) -> list[dict[str, Any]]:
    entries = [entry for entry in hub.listings.get(hub.store, tree, True) if not entry.is_tree]
    infos = hub.store.blob_infos(entry.sha for entry in entries) if details else {}
    return [sibling(entry, infos.get(entry.sha), details) for entry in entries]


def used_storage(store: Store, repo: Repo) -> int:
    """Bytes of the large files that the repository refers to, in any revision."""
    row = store.db.execute("SELECT COALESCE(SUM(size), 0) FROM repo_lfs WHERE repo=?", (repo.id,)).fetchone()
    return int(row[0])


def repo_info(hub: HubState, repo: Repo, commit: str, *, details: bool, expand: Iterable[str] = ()) -> dict[str, Any]:
    """The full answer of the info route. With `expand`, only the named properties."""
    value = repo_summary(hub, repo, commit)
    wanted = set(expand)
    if not wanted or "siblings" in wanted:
        value["siblings"] = siblings(hub, hub.store.read_commit(commit).tree, details)
    value["usedStorage"] = used_storage(hub.store, repo)
    if wanted:
        keep = {"_id", "id", "modelId"} | wanted
        value = {key: item for key, item in value.items() if key in keep}
    return value
