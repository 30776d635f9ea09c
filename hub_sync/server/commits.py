"""Commits: applying operations to a branch in one transaction, history, and three-way merges."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..text import well_formed
from . import problems
from .names import split_path
from .objects import Commit, Signature, encode_commit, make_object
from .problems import BRANCH_MOVED, Problem
from .store import Store
from .tree import TreeEditor, changed_files, find

MAX_OPERATIONS = 25_000
MAX_MESSAGE_CHARS = 100_000


@dataclass(frozen=True)
class Operation:
    """One change of a commit. `sha` is the blob to put at `path`; deletions have none."""

    kind: Literal["put", "delete", "delete_folder"]
    path: str
    sha: str = ""


class StaleParent(Problem):
    """The branch moved since the change was prepared. `same`: its head is just what this change would have made.

    That alone does not make it a replay: two writers that take the same step on the same parent look alike, and
    one of them lost the race. Only the caller knows whether the first answer was delivered.
    """

    def __init__(self, head: str, same: bool) -> None:
        super().__init__(412, BRANCH_MOVED)
        self.head = head
        self.same = same


@dataclass
class Change:
    """A commit to be made: what the author says, on which parent it was prepared, and the operations in order."""

    message: str
    author: Signature
    parent: str | None = None
    operations: list[Operation] = field(default_factory=list)


def author_signature(name: str) -> Signature:
    """A user as author, now."""
    plain = name.replace("<", "").replace(">", "").replace("\n", " ")
    return Signature(plain, f"{name}@users.noreply.localhost", int(time.time()))


def join_message(summary: object, description: object) -> str:
    """Git's message from the client's two fields. Raises Problem 400 where the summary is missing."""
    summary = summary if isinstance(summary, str) else ""
    description = description if isinstance(description, str) else ""
    title = " ".join(summary.replace("\x00", "").split("\n")).strip()
    body = description.replace("\x00", "").replace("\r\n", "\n").strip()
    if not title:
        raise problems.bad_request("A commit needs a summary")
    if len(title) + len(body) > MAX_MESSAGE_CHARS:
        raise problems.bad_request(f"The commit message is longer than {MAX_MESSAGE_CHARS} characters")
    return well_formed(f"{title}\n\n{body}" if body else title)


def apply_operations(store: Store, tree: str, operations: Sequence[Operation]) -> tuple[str, list]:
    """The hash of `tree` after the operations, and the new tree objects (not yet stored)."""
    editor = TreeEditor(store, tree)
    for operation in operations:
        segments = split_path(operation.path)
        if operation.kind == "put":
            editor.set_file(segments, operation.sha)
        else:
            editor.delete(segments, folder=operation.kind == "delete_folder")
    return editor.write()


def write_commit(store: Store, repo: int, tree: str, parents: Sequence[str], author: Signature, message: str) -> str:
    """Store a commit object and note that it belongs to the repository. Its tree must be stored already."""
    commit = make_object("commit", encode_commit(Commit(tree, tuple(parents), author, message)))
    with store.write() as db:
        store.put_objects([commit])
        db.execute("INSERT INTO repo_commits VALUES (?,?) ON CONFLICT DO NOTHING", (repo, commit.sha))
    return commit.sha


def commit_change(store: Store, repo: int, ref: str, change: Change, verify: Callable[[], None] | None = None) -> str:
    """Apply a change to a ref in one transaction and return the commit the ref then points to.

    `verify` runs inside the transaction, before anything is written. A change that alters nothing returns the head
    without a commit. Raises StaleParent (412) where `change.parent` is no longer the head, Problem 404 for a ref that
    does not exist.
    """
    with store.write():
        if verify:
            verify()
        head = store.tip(repo, ref)
        if head is None:
            raise problems.revision_not_found(ref.removeprefix("refs/heads/"))
        if change.parent and change.parent != head:
            raise StaleParent(head, same=_is_same_commit(store, head, change))
        tip = store.read_commit(head)
        tree, objects = apply_operations(store, tip.tree, change.operations)
        if tree == tip.tree:
            return head
        store.put_objects(objects)
        sha = write_commit(store, repo, tree, [head], change.author, change.message)
        move_ref(store, repo, ref, sha)
        return sha


def _is_same_commit(store: Store, head: str, change: Change) -> bool:
    tip = store.read_commit(head)
    if tip.parents != (change.parent,) or tip.message != change.message or tip.author.name != change.author.name:
        return False
    assert change.parent is not None
    try:
        tree, _ = apply_operations(store, store.read_commit(change.parent).tree, change.operations)
    except (Problem, LookupError):
        return False
    return tree == tip.tree


def move_ref(store: Store, repo: int, ref: str, tip: str, target: str | None = None) -> None:
    """Point a ref (new or old) at a commit; `target` is the tag object of an annotated tag."""
    with store.write() as db:
        db.execute(
            "INSERT INTO refs VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET target=excluded.target, tip=excluded.tip",
            (repo, ref, target or tip, tip),
        )
        db.execute("UPDATE repos SET updated=? WHERE id=?", (time.time(), repo))


def history(store: Store, commit: str) -> Iterator[tuple[str, Commit]]:
    """A commit and its ancestors along the first parent, newest first. Every commit made here has at most one."""
    sha: str | None = commit
    while sha:
        decoded = store.read_commit(sha)
        yield sha, decoded
        sha = decoded.parents[0] if decoded.parents else None


def history_page(store: Store, commit: str, skip: int, most: int) -> tuple[list[tuple[str, Commit]], str | None]:
    """At most `most` commits of the history of `commit`, without the first `skip`, and the one after them."""
    rows = list(itertools.islice(history(store, commit), skip, skip + most))
    parents = rows[-1][1].parents if rows else ()
    return rows, parents[0] if parents else None


def last_commits(store: Store, commit: str, paths: Sequence[str]) -> dict[str, tuple[str, Commit]]:
    """For each path, the newest commit in the history of `commit` that changed it."""
    newest: dict[str, tuple[str, Commit]] = {}
    sought = {path: path.split("/") for path in paths}
    current: dict[str, str | None] = {}
    below: tuple[str, Commit] | None = None
    for sha, decoded in history(store, commit):
        for path, segments in list(sought.items()):
            entry = find(store, decoded.tree, segments)
            now = entry.sha if entry else None
            if below is not None and now != current[path]:
                newest[path] = below
                del sought[path]
            current[path] = now
        if not sought:
            return newest
        below = (sha, decoded)
    return newest | (dict.fromkeys(sought, below) if below else {})


def merge_operations(store: Store, base: str, ours: str, theirs: str) -> tuple[list[Operation], list[str]]:
    """The operations that bring `base..theirs` (trees) onto `ours`, and the paths both sides changed differently."""
    mine = {path: after for path, _, after in changed_files(store, base, ours)}
    operations: list[Operation] = []
    deletions: list[Operation] = []
    conflicts: list[str] = []
    for path, _, after in changed_files(store, base, theirs):
        if path in mine:
            if mine[path] != after:
                conflicts.append(path)
            continue
        if after is None:
            deletions.append(Operation("delete", path))
        else:
            operations.append(Operation("put", path, after[1]))
    # Deletions first: a file may have become a folder.
    merged = [*deletions, *operations]
    if not conflicts:
        try:
            apply_operations(store, ours, merged)
        except Problem:  # a file on one side, a folder on the other
            conflicts = sorted({operation.path for operation in merged})
    return merged, conflicts
