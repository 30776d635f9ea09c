"""What the API tells about repositories, files and commits, as JSON values."""

import datetime
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from .cards import CARD_MAX_BYTES, card_metadata, tags_of
from .commits import last_commits
from .objects import Commit, TreeEntry, encode_pointer
from .repos import BRANCH, Repo
from .state import HubState
from .store import BlobInfo, Store
from .tree import find, listing


def iso(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, as the clients parse it."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


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


def _pointer(key: str, info: BlobInfo) -> dict[str, Any]:
    """`lfs` of a large file, its SHA-256 under `key`; empty for another file."""
    if not info.lfs:
        return {}
    size = len(encode_pointer(info.lfs, info.lfs_size))
    return {"lfs": {key: info.lfs, "size": info.lfs_size, "pointerSize": size}}


def tree_items(hub: HubState, entries: Sequence[TreeEntry], commit: str | None = None) -> list[dict[str, Any]]:
    """Rows of a tree listing; with `commit`, each tells the last commit that changed it."""
    infos = hub.store.blob_infos(entry.sha for entry in entries if not entry.is_tree)
    last = last_commits(hub.store, commit, [entry.name for entry in entries]) if commit else {}
    items = []
    for entry in entries:
        item: dict[str, Any] = {"type": "directory" if entry.is_tree else "file", "oid": entry.sha, "size": 0}
        info = infos.get(entry.sha)
        if info is not None:
            item |= {"size": info.content_size, **_pointer("oid", info)}
        item["path"] = entry.name
        if entry.name in last:
            sha, decoded = last[entry.name]
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
        item["formatted"] = {"title": escape(commit.title), "message": escape(commit.body)}
    return item


def card_of(hub: HubState, tree: str) -> dict[str, Any] | None:
    """The metadata of README.md in a tree; empty where there is none, None where they cannot be read."""
    entry = find(hub.store, tree, ["README.md"])
    if entry is None or entry.is_tree:
        return {}
    return hub.store.card(entry.sha, lambda: card_metadata(read_text(hub, tree, "README.md") or ""))


def repo_summary(hub: HubState, repo: Repo, commit: str | None = None) -> dict[str, Any]:
    """What lists show: everything but the files."""
    commit = commit or hub.store.tip(repo.id, BRANCH + "main")
    if commit is None:
        raise LookupError(f"{repo.full_name} has no main branch")
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
    """The files of a tree; sizes in bytes where `details` are wanted."""
    entries = [entry for entry in listing(hub.store, tree, True) if not entry.is_tree]
    infos = hub.store.blob_infos(entry.sha for entry in entries) if details else {}
    rows: list[dict[str, Any]] = []
    for entry in entries:
        rows.append({"rfilename": entry.name})
        if info := infos.get(entry.sha):
            rows[-1] |= {"size": info.content_size, "blobId": entry.sha, **_pointer("sha256", info)}
    return rows


def used_storage(store: Store, repo: Repo) -> int:
    """Bytes of the large files that the repository refers to, in any revision."""
    row = store.db.execute("SELECT COALESCE(SUM(size), 0) FROM repo_lfs WHERE repo=?", (repo.id,)).fetchone()
    return int(row[0])


def repo_info(hub: HubState, repo: Repo, commit: str, *, details: bool, expand: Iterable[str] = ()) -> dict[str, Any]:
    """The full answer of the info route. With `expand`, only the named properties."""
    value = repo_summary(hub, repo, commit)
    names = set(expand)
    if not names or "siblings" in names:
        value["siblings"] = siblings(hub, hub.store.read_commit(commit).tree, details)
    value["usedStorage"] = used_storage(hub.store, repo)
    return expanded(value, names)


def expanded(value: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The named properties of a repository, and its id; all if none is named."""
    keep = {"_id", "id", "modelId"} | names
    return {key: item for key, item in value.items() if key in keep} if names else value
