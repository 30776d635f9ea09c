"""Pull requests (and plain discussions): a row, its events, and the ref `refs/pr/N`.

A pull request starts at a commit of its branch, mostly main. Merging brings its changes there as ONE commit, whatever
number of commits it has, in one transaction; files that both sides changed differently are conflicts, and nothing is
merged.
"""

import contextlib
import itertools
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any, cast

from . import commits, problems, repos
from .auth import Principal
from .info import iso
from .repos import BRANCH, PULL, Repo
from .store import Store
from .tree import changed_files

OPEN_STATES = ("draft", "open")


def create(
    store: Store, repo: Repo, who: Principal, title: str, description: str, *,
    pull: bool, base: str | None = None, onto: str = BRANCH + "main",
) -> int:  # fmt: skip
    """Open a discussion, or a pull request onto a branch from the commit `base` (default: its head). Returns its
    number. Raises Problem 404 where the branch does not exist."""
    title = _plain_title(title)
    with store.write() as db:
        number = db.execute("SELECT COALESCE(MAX(num), 0) + 1 FROM discussions WHERE repo=?", (repo.id,)).fetchone()[0]
        start = (base or repos.resolve(store, repo, onto)) if pull else None
        db.execute(
            "INSERT INTO discussions VALUES (?,?,?,?,?,?,?,?,NULL,?)",
            (repo.id, number, title, who.name, "draft" if pull else "open", int(pull),
             onto if pull else None, start, time.time()),
        )  # fmt: skip
        if start:
            commits.move_ref(store, repo.id, f"{PULL}{number}", start)
        comment(store, repo, number, who, description or title)
    return int(number)


def open_with_commit(
    store: Store, repo: Repo, who: Principal, revision: str, change: commits.Change, description: str,
    verify: Callable[[], None],
) -> tuple[int, str]:  # fmt: skip
    """A pull request and its first commit in one transaction: (number, commit)."""
    onto = BRANCH + revision.removeprefix(BRANCH)
    with store.write():
        base = repos.resolve(store, repo, onto)
        if change.parent and change.parent != base:
            base = repos.resolve(store, repo, change.parent)
        title = change.message.split("\n", 1)[0][:200].ljust(3, ".")
        number = create(store, repo, who, title, description, pull=True, base=base, onto=onto)
        ref = f"{PULL}{number}"
        sha = commits.commit_change(store, repo.id, ref, change, verify)
        if sha != base:
            note_commit(store, repo, ref, who, sha)
        _set_status(store, repo, number, "open")
    return number, sha


def find(store: Store, repo: Repo, number: int) -> sqlite3.Row:
    row = store.db.execute("SELECT * FROM discussions WHERE repo=? AND num=?", (repo.id, number)).fetchone()
    if row is None:
        raise problems.Problem(404, f"Discussion {number} does not exist")
    return cast(sqlite3.Row, row)


def require_open(store: Store, repo: Repo, ref: str) -> None:
    """Raises Problem 403 where the pull request of this ref is merged or closed."""
    row = find(store, repo, int(ref.rpartition("/")[2]))
    if row["status"] not in OPEN_STATES:
        raise problems.forbidden(f"Pull request {row['num']} is {row['status']}: open another one")


def _event(store: Store, repo: Repo, number: int, kind: str, who: str, data: dict[str, Any]) -> dict[str, Any]:
    """Record an event and return it as the API shows it."""
    with store.write() as db:
        cursor = db.execute(
            "INSERT INTO events (repo, num, type, author, data, created) VALUES (?,?,?,?,?,?)",
            (repo.id, number, kind, who, json.dumps(data), time.time()),
        )
        return _event_item(db.execute("SELECT * FROM events WHERE id=?", (cursor.lastrowid,)).fetchone())


def note_commit(store: Store, repo: Repo, ref: str, who: Principal, sha: str) -> None:
    """Record a commit pushed to a pull request."""
    data = {"oid": sha, "subject": store.read_commit(sha).title}
    _event(store, repo, int(ref.rpartition("/")[2]), "commit", who.name, data)


def comment(store: Store, repo: Repo, number: int, who: Principal, text: str) -> dict[str, Any]:
    """Add a comment and return its event."""
    if not text.strip() or len(text) > 65_536:
        raise problems.bad_request("A comment needs 1 to 65536 characters")
    return _event(store, repo, number, "comment", who.name, {"raw": text})


def _set_status(store: Store, repo: Repo, number: int, status: str) -> None:
    with store.write() as db:
        db.execute("UPDATE discussions SET status=? WHERE repo=? AND num=?", (status, repo.id, number))


def change_status(store: Store, repo: Repo, number: int, who: Principal, status: str) -> dict[str, Any]:
    """Open or close. Raises Problem 400 for another status, 409 where it is merged already."""
    if status not in ("open", "closed"):
        raise problems.bad_request("status must be open or closed")
    with store.write():
        if find(store, repo, number)["status"] == "merged":
            raise problems.conflict(f"Pull request {number} is merged already")
        _set_status(store, repo, number, status)
        return _event(store, repo, number, "status-change", who.name, {"status": status})


def rename(store: Store, repo: Repo, number: int, who: Principal, title: str) -> dict[str, Any]:
    title = _plain_title(title)
    with store.write() as db:
        old = find(store, repo, number)["title"]
        db.execute("UPDATE discussions SET title=? WHERE repo=? AND num=?", (title, repo.id, number))
        return _event(store, repo, number, "title-change", who.name, {"from": old, "to": title})


def _plain_title(title: str) -> str:
    title = " ".join(title.split())
    if not 3 <= len(title) <= 200:
        raise problems.bad_request("A title needs 3 to 200 characters")
    return title


def _trees(store: Store, repo: Repo, row: sqlite3.Row) -> tuple[str, str]:
    """The trees of the commit a pull request started from, and of its head."""
    head = repos.resolve(store, repo, f"{PULL}{row['num']}")
    return store.read_commit(row["base_commit"]).tree, store.read_commit(head).tree


def conflicts(store: Store, repo: Repo, row: sqlite3.Row) -> list[str]:
    """Paths that keep an open pull request from being merged now."""
    base, theirs = _trees(store, repo, row)
    ours = store.read_commit(repos.resolve(store, repo, row["base"])).tree
    return commits.merge_operations(store, base, ours, theirs)[1]


def merge(store: Store, repo: Repo, number: int, who: Principal, text: str = "") -> str:
    """Bring a pull request onto its branch as one commit, in one transaction, and return that commit.

    Raises Problem 409 naming the files where both sides changed the same ones differently, or where the pull
    request is merged or closed.
    """
    with store.write() as db:
        row = find(store, repo, number)
        if not row["is_pr"]:
            raise problems.bad_request(f"Discussion {number} is not a pull request")
        if row["status"] not in OPEN_STATES:
            raise problems.conflict(f"Pull request {number} is already {row['status']}")
        base, theirs = _trees(store, repo, row)
        target = repos.resolve(store, repo, row["base"])
        ours = store.read_commit(target).tree
        operations, clashes = commits.merge_operations(store, base, ours, theirs)
        if clashes:
            branch = row["base"].removeprefix(BRANCH)
            shown = ", ".join(clashes[:5]) + (", ..." if len(clashes) > 5 else "")
            raise problems.conflict(
                f"Pull request {number} conflicts with {branch} in {len(clashes)} file(s): {shown}",
                filesWithConflicts=clashes,
            )
        tree, objects = commits.apply_operations(store, ours, operations)
        sha = target
        if tree != ours:
            store.put_objects(objects)
            ahead = commits.history(store, repos.resolve(store, repo, f"{PULL}{number}"))
            merged = itertools.takewhile(lambda pair: pair[0] != row["base_commit"], ahead)
            lines = reversed([f"- {decoded.title} ({commit})" for commit, decoded in merged])
            message = f"{row['title']} (#{number})\n\n" + "\n".join(lines)
            sha = commits.write_commit(
                store, repo.id, tree, [target], commits.author_signature(row["author"]), message.strip()
            )
            commits.move_ref(store, repo.id, row["base"], sha)
        db.execute(
            "UPDATE discussions SET status='merged', merge_commit=? WHERE repo=? AND num=?", (sha, repo.id, number)
        )
        if text.strip():
            comment(store, repo, number, who, text)
        _event(store, repo, number, "status-change", who.name, {"status": "merged"})
        return sha


def _event_item(row: sqlite3.Row) -> dict[str, Any]:
    data = json.loads(row["data"])
    if row["type"] == "comment":
        latest = data | {"html": "", "updatedAt": iso(row["created"]), "author": {"name": row["author"]}}
        data = {"edited": False, "hidden": False, "numEdits": 0, "latest": latest, "reactions": []}
    return {
        "id": f"{row['id']:024x}",
        "type": row["type"],
        "author": {"name": row["author"], "type": "user"},
        "createdAt": iso(row["created"]),
        "data": data,
    }


def summary(repo: Repo, row: sqlite3.Row) -> dict[str, Any]:
    return {
        "num": row["num"],
        "title": row["title"],
        "status": row["status"],
        "author": {"name": row["author"], "type": "user"},
        "isPullRequest": bool(row["is_pr"]),
        "createdAt": iso(row["created"]),
        "repo": {"name": repo.full_name, "type": repo.type},
        "pinned": False,
    }


def list_all(store: Store, repo: Repo) -> list[sqlite3.Row]:
    """Every discussion of a repository, the newest first."""
    return store.db.execute("SELECT * FROM discussions WHERE repo=? ORDER BY num DESC", (repo.id,)).fetchall()


def details(store: Store, repo: Repo, number: int) -> dict[str, Any]:
    """One discussion with its events and, for a pull request, what it changes and which files conflict."""
    row = find(store, repo, number)
    events = store.db.execute("SELECT * FROM events WHERE repo=? AND num=? ORDER BY id", (repo.id, number))
    value = summary(repo, row) | {"events": [_event_item(event) for event in events]}
    if row["is_pr"]:
        changes: dict[str, Any] = {"base": row["base"]}
        value["filesWithConflicts"] = []
        if row["merge_commit"]:
            changes["mergeCommitId"] = row["merge_commit"]
        elif row["status"] in OPEN_STATES:
            with contextlib.suppress(problems.Problem):  # its branch was deleted: nothing to conflict with
                value["filesWithConflicts"] = conflicts(store, repo, row)
        base, theirs = _trees(store, repo, row)
        value["changes"] = changes
        value["diff"] = _diff(store, base, theirs)
    return value


def _diff(store: Store, old: str, new: str, most: int = 1000) -> str:
    """Which files a pull request changes, in the header lines of git's diff (no hunks)."""
    lines: list[str] = []
    zero = "0" * 40
    for path, before, after in itertools.islice(changed_files(store, old, new), most):
        lines.append(f"diff --git a/{path} b/{path}\n")
        if before is None and after is not None:
            lines.append(f"new file mode {after[0]}\n")
        elif before is not None and after is None:
            lines.append(f"deleted file mode {before[0]}\n")
        lines.append(f"index {before[1] if before else zero}..{after[1] if after else zero}\n")
    return "".join(lines)
