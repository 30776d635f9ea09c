"""The one SQLite database of a hub: git objects, refs, repositories, users, and what links them to blobs.

One `with store.write()` block is one durable transaction: objects, the compare-and-set of a ref, LFS links and
discussion rows become visible together or not at all. WAL with `synchronous=FULL` means that a transaction which
returned survives a crash of the process and of the machine.
"""

import json
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from . import objects as git
from .objects import Commit, GitObject, TreeEntry, decode_commit, decode_tree

SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 30.0
TREE_CACHE_ENTRIES = 100_000
LISTING_CACHE_ENTRIES = 200_000
DIFFERENCE_MIN_BYTES = 4096  # smaller trees are stored whole: one page of the database
CHAIN_MOST = 64  # differences between a tree and one that is stored whole
_CHUNK = 500  # SQLite's oldest limit on bound variables is 999


_CHAIN = """
    WITH RECURSIVE chain (data, base) AS (
        SELECT data, base FROM objects WHERE sha=? AND kind='tree'
        UNION ALL SELECT o.data, o.base FROM objects o JOIN chain ON o.sha = chain.base)
    SELECT data, base FROM chain"""

_Entries = TypeVar("_Entries", bound=Sized)


class BlobInfo(NamedTuple):
    """What a listing tells about a blob: its git size, and the large file it points to, if any."""

    size: int
    lfs: str | None
    lfs_size: int

    @property
    def content_size(self) -> int:
        """Bytes a download returns."""
        return self.lfs_size if self.lfs else self.size


class EntryCache(Generic[_Entries]):
    """The collections used last, as many as have `most` entries in all. Git objects never change: none gets stale."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._held: OrderedDict[Hashable, _Entries] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], _Entries]) -> _Entries:
        """The collection of this key, by `read` the first time. Shared with other callers: not to be changed."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        entries = read()
        with self._lock:
            if key not in self._held:
                self._held[key] = entries
                self._size += len(entries)
            while self._size > self._most and len(self._held) > 1:
                self._size -= len(self._held.popitem(last=False)[1])
        return entries


class Store:
    """Connections (one per thread) and the reading and writing of git objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        # Decoded trees by hash: a download of every file of a large folder would decode it once for each.
        self._trees: EntryCache[dict[str, TreeEntry]] = EntryCache(TREE_CACHE_ENTRIES)
        # Whole listings by tree hash, so that paging through a large folder walks it once.
        self.listings: EntryCache[list[TreeEntry]] = EntryCache(LISTING_CACHE_ENTRIES)
        # SQLite's busy handler sleeps between tries; writers of this process queue here instead.
        self._writer = threading.RLock()
        with self.write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in Path(__file__).with_name("schema.sql").read_text().split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version == 1:  # its trees are stored whole and stay so
                db.execute("ALTER TABLE objects ADD COLUMN base TEXT")
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise ValueError(f"{path} has schema {version}, this version reads {SCHEMA_VERSION}")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("PRAGMA cache_size=-16000")
        with self._lock:
            self._all.append(db)
        return db

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit: for reads outside a transaction."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction; joins the one already open in this thread. Rolls back on any exception."""
        db = self.db
        if db.in_transaction:
            yield db
            return
        with self._writer:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Fold the log into the database file and close every connection."""
        with self._lock:
            connections, self._all = self._all, []
        for number, db in enumerate(connections):
            if number == len(connections) - 1:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.close()
        self._local = threading.local()

    # Meta and refs

    def meta(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        with self.write() as db:
            db.execute(
                "INSERT INTO meta VALUES (?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
            )

    def tip(self, repo: int, ref: str) -> str | None:
        """The commit that a ref, by its full name, points to; None if there is no such ref."""
        row = self.db.execute("SELECT tip FROM refs WHERE repo=? AND name=?", (repo, ref)).fetchone()
        return row[0] if row else None

    # Git objects

    def put_objects(self, objects: Iterable[GitObject]) -> None:
        """Store objects; those already there are left alone. Pointers are recognised by their content."""
        rows = []
        for one in objects:
            lfs, lfs_size = (one.kind == "blob" and git.parse_pointer(one.data)) or (None, None)
            data, base = (one.difference, one.base) if self._is_short(one) else (one.data, None)
            rows.append((one.sha, one.kind, len(one.data), data, None, lfs, lfs_size, base))
        with self.write() as db:
            db.executemany("INSERT INTO objects VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", rows)

    def _is_short(self, tree: GitObject) -> bool:
        """True where a tree is stored as its difference: reading it takes few rows and about twice its own bytes."""
        if not tree.base or len(tree.data) < DIFFERENCE_MIN_BYTES:
            return False
        sizes = [len(data) for data, base in self._chain(tree.base) if base]
        return len(sizes) < CHAIN_MOST and sum(sizes) + len(tree.difference) <= len(tree.data) // 2

    def _chain(self, tree: str) -> list[sqlite3.Row]:
        """(data, base) of a tree, of the one that it is stored as a difference from, and so on to one stored whole."""
        rows = self.db.execute(_CHAIN, (tree,)).fetchall()
        if not rows or rows[-1]["base"]:
            raise LookupError(f"tree {tree} is not in the database")
        return rows

    def put_large_blob(self, sha: str, size: int, sha256: str) -> None:
        """Record a git blob whose bytes lie in the blob folder under `sha256`."""
        with self.write() as db:
            db.execute(
                "INSERT INTO objects VALUES (?,'blob',?,NULL,?,NULL,NULL,NULL) ON CONFLICT DO NOTHING",
                (sha, size, sha256),
            )

    def read_object(self, sha: str, kind: str) -> bytes:
        """The body of an object held in the database. Raises LookupError where it is absent or of another kind."""
        if kind == "tree":
            return git.encode_tree(self.read_tree(sha).values())
        row = self.db.execute("SELECT data FROM objects WHERE sha=? AND kind=?", (sha, kind)).fetchone()
        if row is None or row[0] is None:
            raise LookupError(f"{kind} {sha} is not in the database")
        return bytes(row[0])

    def read_commit(self, sha: str) -> Commit:
        return decode_commit(self.read_object(sha, "commit"))

    def read_tree(self, sha: str) -> dict[str, TreeEntry]:
        """The entries of a tree by name, in git's order. Shared with other callers: not to be changed."""
        return self._trees.get(sha, lambda: self._tree(sha))

    def _tree(self, sha: str) -> dict[str, TreeEntry]:
        *differences, whole = self._chain(sha)
        entries = {e.name: e for e in decode_tree(whole["data"])}
        for row in reversed(differences):
            git.apply_difference(entries, row["data"])
        return {e.name: e for e in git.in_git_order(entries.values())} if differences else entries

    def blob_location(self, sha: str) -> tuple[bytes | None, str | None, int]:
        """(content, sha256 in the blob folder, size) of a git blob; exactly one of the first two is set."""
        row = self.db.execute("SELECT data, blob, size FROM objects WHERE sha=? AND kind='blob'", (sha,)).fetchone()
        if row is None:
            raise LookupError(f"blob {sha} is not in the database")
        return (None if row["data"] is None else bytes(row["data"])), row["blob"], row["size"]

    def blob_infos(self, shas: Iterable[str]) -> dict[str, BlobInfo]:
        """Sizes and LFS links of many blobs by their sha; absent ones are left out."""
        unique = list(dict.fromkeys(shas))
        infos: dict[str, BlobInfo] = {}
        for at in range(0, len(unique), _CHUNK):
            chunk = unique[at : at + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT sha, size, lfs, lfs_size FROM objects WHERE sha IN ({marks})"  # noqa: S608
            for row in self.db.execute(query, chunk):
                infos[row["sha"]] = BlobInfo(row["size"], row["lfs"], row["lfs_size"] or 0)
        return infos

    def card(self, blob: str, read: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """The metadata of the card that this git blob is; `read` gives them the first time. None: cannot be read."""
        row = self.db.execute("SELECT data FROM cards WHERE blob=?", (blob,)).fetchone()
        if row is None:
            metadata = read()
            row = (None if metadata is None else json.dumps(metadata, ensure_ascii=False),)
            with self.write() as db:
                db.execute("INSERT INTO cards VALUES (?,?) ON CONFLICT DO NOTHING", (blob, row[0]))
        return None if row[0] is None else dict(json.loads(row[0]))

    # Blobs and who may use them

    def link_blob(self, repo: int, sha256: str, size: int) -> None:
        """The repository may now refer to this large file."""
        with self.write() as db:
            db.execute("INSERT INTO blobs VALUES (?,?,?) ON CONFLICT DO NOTHING", (sha256, size, time.time()))
            db.execute("INSERT INTO repo_lfs VALUES (?,?,?) ON CONFLICT DO NOTHING", (repo, sha256, size))

    def linked_size(self, repo: int, sha256: str) -> int | None:
        """Bytes of a large file the repository may refer to, else None."""
        row = self.db.execute("SELECT size FROM repo_lfs WHERE repo=? AND sha256=?", (repo, sha256)).fetchone()
        return row[0] if row else None
