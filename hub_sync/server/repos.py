"""Repositories: creating, moving, deleting, their refs, and what a revision means."""

import sqlite3
import time
from dataclasses import dataclass, replace
from typing import Any

from . import auth, problems
from .auth import Principal
from .commits import author_signature, move_ref, write_commit
from .names import REPO_TYPES, SPACE_SDKS, check_ref_name, check_repo_name
from .objects import MODE_FILE, TreeEntry, encode_tag, encode_tree, make_object
from .patterns import DEFAULT_GITATTRIBUTES
from .store import Store

BRANCH, TAG, PULL = "refs/heads/", "refs/tags/", "refs/pr/"


@dataclass(frozen=True)
class Repo:
    """A row of `repos`. Times are seconds since the epoch."""

    id: int
    type: str
    namespace: str
    name: str
    private: bool
    gated: str | None
    sdk: str | None
    created: float
    updated: float

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def hub_path(self) -> str:
        """The path of its page: models have no prefix."""
        return self.full_name if self.type == "model" else f"{self.type}s/{self.full_name}"


def _from_row(row: sqlite3.Row) -> Repo:
    return Repo(**{**dict(row), "private": bool(row["private"])})


def check_type(repo_type: object) -> str:
    """The repository type a client named; none means a model. Raises Problem 400."""
    if repo_type is None:
        return "model"
    if repo_type not in REPO_TYPES:
        raise problems.bad_request(f"Invalid repository type {repo_type!r}: use one of {', '.join(REPO_TYPES)}")
    return str(repo_type)


def lookup(store: Store, repo_type: str, namespace: str, name: str) -> Repo | None:
    row = store.db.execute(
        "SELECT * FROM repos WHERE type=? AND namespace=? AND name=?", (repo_type, namespace, name)
    ).fetchone()
    return _from_row(row) if row else None


def readable(store: Store, who: Principal, repo_type: str, namespace: str, name: str) -> Repo:
    """The repository, where the caller may read it; otherwise the same Problem as if it did not exist."""
    repo = lookup(store, repo_type, namespace, name)
    if repo is None or not auth.may_read(store, who, repo.namespace, repo.private):
        raise problems.repo_not_found(who.anonymous)
    return repo


def writable(store: Store, who: Principal, repo_type: str, namespace: str, name: str) -> Repo:
    """The repository, where the caller may write to it. Raises Problem 401, 403 or 404."""
    repo = readable(store, who, repo_type, namespace, name)
    auth.require_write(store, who, repo.namespace)
    return repo


def list_visible(store: Store, who: Principal, repo_type: str) -> list[Repo]:
    """Every repository of a type that the caller may read, the newest change first."""
    rows = store.db.execute("SELECT * FROM repos WHERE type=? ORDER BY updated DESC, id DESC", (repo_type,))
    return [repo for repo in map(_from_row, rows) if auth.may_read(store, who, repo.namespace, repo.private)]


def create(
    store: Store, who: Principal, repo_type: str, namespace: str | None, name: str, *, private: bool, sdk: str | None
) -> Repo:
    """Create a repository with its first commit, in one transaction. Raises Problem 409 (carrying the repository's
    `url` path in `extra`) where it exists, 400 for a bad name, 403 where the caller may not write to the namespace."""
    if who.anonymous:
        raise problems.login_required()
    namespace = namespace or who.name
    check_repo_name(namespace, name)
    if repo_type == "space" and sdk not in SPACE_SDKS:
        raise problems.bad_request(f"A space needs an sdk, one of {', '.join(SPACE_SDKS)}")
    auth.require_write(store, who, namespace)
    with store.write() as db:
        existing = lookup(store, repo_type, namespace, name)
        if existing is not None:
            raise problems.conflict(
                f"You already created this {repo_type} repo: {existing.full_name}", url=existing.hub_path
            )
        namespace = _ensure_namespace(store, who, namespace)
        now = time.time()
        cursor = db.execute(
            "INSERT INTO repos (type, namespace, name, private, sdk, created, updated) VALUES (?,?,?,?,?,?,?)",
            (repo_type, namespace, name, int(private), sdk, now, now),
        )
        assert cursor.lastrowid is not None
        files = {".gitattributes": DEFAULT_GITATTRIBUTES}
        if repo_type == "space":
            files["README.md"] = f"---\ntitle: {name}\nsdk: {sdk}\n---\n"
        blobs = {path: make_object("blob", text.encode()) for path, text in files.items()}
        tree = make_object("tree", encode_tree(TreeEntry(MODE_FILE, path, blob.sha) for path, blob in blobs.items()))
        store.put_objects([*blobs.values(), tree])
        author = author_signature(who.name)
        tip = write_commit(store, cursor.lastrowid, tree.sha, [], author, "initial commit")
        move_ref(store, cursor.lastrowid, BRANCH + "main", tip)
        created = lookup(store, repo_type, namespace, name)
        assert created is not None
        return created


def _ensure_namespace(store: Store, who: Principal, namespace: str) -> str:
    """The namespace as it is spelt; an absent one, to which only an administrator may write, is added."""
    row = store.db.execute("SELECT name FROM users WHERE name=?", (namespace,)).fetchone()
    if row is None:
        auth.create_user(store, namespace, kind="org")
        auth.add_member(store, namespace, who.name, "admin")
    return str(row["name"]) if row else namespace


def delete(store: Store, repo: Repo) -> None:
    """Remove a repository with its refs, links and discussions. Unreferenced objects stay until collected."""
    with store.write() as db:
        db.execute("DELETE FROM repos WHERE id=?", (repo.id,))


def move(store: Store, who: Principal, repo: Repo, namespace: str, name: str) -> Repo:
    """The repository under its new name, perhaps in another namespace. Raises Problem 409 where the target exists, 403
    where the caller may not write there."""
    check_repo_name(namespace, name)
    auth.require_write(store, who, namespace)
    with store.write() as db:
        other = lookup(store, repo.type, namespace, name)
        if other is not None and other.id != repo.id:
            raise problems.conflict(f"A {repo.type} repository called {other.full_name} already exists")
        _ensure_namespace(store, who, namespace)
        db.execute(
            "UPDATE repos SET namespace=?, name=?, updated=? WHERE id=?", (namespace, name, time.time(), repo.id)
        )
    return replace(repo, namespace=namespace, name=name)


def update_settings(store: Store, repo: Repo, private: bool | None, gated: object = None) -> None:
    """Change the visibility. Gated access is refused: nothing here grants it."""
    if gated:
        raise problems.not_implemented("Gated access")
    if private is not None:
        with store.write() as db:
            db.execute("UPDATE repos SET private=?, updated=? WHERE id=?", (int(private), time.time(), repo.id))


def resolve(store: Store, repo: Repo, revision: str) -> str:
    """The commit a revision means: branch, tag, `refs/...`, commit or its first 7 or more digits.

    A commit counts only where it belongs to this repository: a hash is no key to another one's history.
    Raises Problem 404 RevisionNotFound.
    """
    names = [revision] if revision.startswith("refs/") else [BRANCH + revision, TAG + revision]
    if revision == "HEAD":
        names = [BRANCH + "main"]
    for name in names:  # no branch or tag is called like a commit
        if tip := store.tip(repo.id, name):
            return tip
    if 7 <= len(revision) <= 40 and set(revision) <= set("0123456789abcdef"):
        rows = store.db.execute(
            "SELECT sha FROM repo_commits WHERE repo=? AND sha>=? AND sha<? LIMIT 2",
            (repo.id, revision, revision + "g"),
        ).fetchall()
        if len(rows) == 1:
            return str(rows[0][0])
    raise problems.revision_not_found(revision)


def head_ref(store: Store, repo: Repo, revision: str) -> str:
    """The full name of the branch or pull request that a commit goes to. Raises Problem 404; 400 for tags, commits."""
    name = revision if revision.startswith((BRANCH, PULL)) else BRANCH + revision
    if store.tip(repo.id, name):
        return name
    resolve(store, repo, revision)
    raise problems.bad_request(f"{revision!r} is not a branch: commits go to branches or to refs/pr/N")


def refs(store: Store, repo: Repo) -> dict[str, list[dict[str, str]]]:
    """Branches, tags and pull requests, each as {name, ref, targetCommit}."""
    groups: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    rows = store.db.execute("SELECT name, tip FROM refs WHERE repo=? ORDER BY name", (repo.id,)).fetchall()
    for row in rows:
        for prefix, group in ((BRANCH, "branches"), (TAG, "tags"), (PULL, "pullRequests")):
            if row["name"].startswith(prefix):
                short = row["name"] if group == "pullRequests" else row["name"].removeprefix(prefix)
                groups[group].append({"name": short, "ref": row["name"], "targetCommit": row["tip"]})
    groups["branches"].sort(key=lambda item: (item["name"] != "main", item["name"]))
    groups["pullRequests"].sort(key=lambda item: int(item["ref"].rpartition("/")[2]))
    return groups


def create_ref(
    store: Store, repo: Repo, prefix: str, name: object, revision: str, who: Principal, message: Any = None
) -> None:
    """Create a branch or tag at a revision; a message makes an annotated tag. Raises Problem 409 where it exists."""
    with store.write() as db:
        tip = resolve(store, repo, revision)
        check_ref_name(name)
        assert isinstance(name, str)
        # Git keeps refs as files: `a` and `a/b` cannot both exist.
        new = f"{prefix}{name}/"
        for (old,) in db.execute("SELECT name FROM refs WHERE repo=?", (repo.id,)):
            if new.startswith(f"{old}/") or old.startswith(new):
                raise problems.conflict(f"Reference {old} already exists")
        target = None
        if prefix == TAG and isinstance(message, str) and message.strip():
            tag = make_object("tag", encode_tag(name, tip, author_signature(who.name), message))
            store.put_objects([tag])
            target = tag.sha
        move_ref(store, repo.id, prefix + name, tip, target)


def delete_ref(store: Store, repo: Repo, prefix: str, name: str) -> None:
    """Remove a branch or tag. Raises Problem 403 for main, 404 where it does not exist."""
    if prefix == BRANCH and name == "main":
        raise problems.forbidden(f"Cannot delete {BRANCH}main: it is the default branch")
    with store.write() as db:
        if db.execute("DELETE FROM refs WHERE repo=? AND name=?", (repo.id, prefix + name)).rowcount == 0:
            raise problems.revision_not_found(name)


def squash(store: Store, repo: Repo, ref: str, who: Principal, message: str) -> str:
    """Replace a ref's history by one commit with the same files and return it."""
    with store.write():
        tip = store.tip(repo.id, ref)
        if tip is None:
            raise problems.revision_not_found(ref.removeprefix(BRANCH))
        sha = write_commit(store, repo.id, store.read_commit(tip).tree, [], author_signature(who.name), message)
        move_ref(store, repo.id, ref, sha)
        return sha
