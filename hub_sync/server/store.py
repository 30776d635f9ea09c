"""The one SQLite database of a hub: git objects, refs, repositories, users, and what links them to blobs.

One `with store.write()` block is one durable transaction: objects, the compare-and-set of a ref, LFS links and
discussion rows become visible together or not at all. WAL with `synchronous=FULL` means that a transaction which
returned survives a crash of the process and of the machine.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .objects import Commit, GitObject, TreeEntry, decode_commit, decode_tree, parse_pointer

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0
TREE_CACHE_ENTRIES = 100_000
_CHUNK = 500  # SQLite's oldest limit on bound variables is 999

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE users (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, kind TEXT NOT NULL,
    fullname TEXT NOT NULL, email TEXT NOT NULL, admin INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL);
CREATE TABLE members (
    org INTEGER NOT NULL REFERENCES users(id), user INTEGER NOT NULL REFERENCES users(id),
    role TEXT NOT NULL, PRIMARY KEY (org, user)) WITHOUT ROWID;
CREATE TABLE tokens (
    sha256 TEXT PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id), name TEXT NOT NULL,
    role TEXT NOT NULL, created REAL NOT NULL, expires REAL) WITHOUT ROWID;
CREATE TABLE repos (
    id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, namespace TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE, private INTEGER NOT NULL, gated TEXT, sdk TEXT,
    created REAL NOT NULL, updated REAL NOT NULL, UNIQUE (type, namespace, name));
CREATE TABLE objects (
    sha TEXT PRIMARY KEY, kind TEXT NOT NULL, size INTEGER NOT NULL, data BLOB,
    blob TEXT, lfs TEXT, lfs_size INTEGER);
CREATE TABLE refs (
    repo INTEGER NOT NULL REFERENCES repos(id) ON DELETE CASCADE, name TEXT NOT NULL,
    target TEXT NOT NULL, tip TEXT NOT NULL, PRIMARY KEY (repo, name)) WITHOUT ROWID;
CREATE TABLE repo_commits (
    repo INTEGER NOT NULL REFERENCES repos(id) ON DELETE CASCADE, sha TEXT NOT NULL,
    PRIMARY KEY (repo, sha)) WITHOUT ROWID;
CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE repo_lfs (
    repo INTEGER NOT NULL REFERENCES repos(id) ON DELETE CASCADE, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (repo, sha256)) WITHOUT ROWID;
CREATE INDEX repo_lfs_by_blob ON repo_lfs (sha256);
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    PRIMARY KEY (upload, number)) WITHOUT ROWID;
CREATE TABLE xorbs (
    hash TEXT PRIMARY KEY, size INTEGER NOT NULL, chunks BLOB NOT NULL, created REAL NOT NULL);
CREATE TABLE xorb_owners (
    hash TEXT NOT NULL REFERENCES xorbs(hash) ON DELETE CASCADE, user INTEGER NOT NULL,
    PRIMARY KEY (hash, user)) WITHOUT ROWID;
CREATE TABLE discussions (
    repo INTEGER NOT NULL REFERENCES repos(id) ON DELETE CASCADE, num INTEGER NOT NULL, title TEXT NOT NULL,
    author TEXT NOT NULL, status TEXT NOT NULL, is_pr INTEGER NOT NULL, base TEXT, base_commit TEXT,
    merge_commit TEXT, created REAL NOT NULL, PRIMARY KEY (repo, num)) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, repo INTEGER NOT NULL, num INTEGER NOT NULL, type TEXT NOT NULL,
    author TEXT NOT NULL, data TEXT NOT NULL, created REAL NOT NULL,
    FOREIGN KEY (repo, num) REFERENCES discussions (repo, num) ON DELETE CASCADE);
CREATE INDEX events_by_discussion ON events (repo, num);
"""
# Added since: the metadata of cards as JSON by their blob, NULL where they cannot be read. A card is parsed once.
_CARDS = "CREATE TABLE IF NOT EXISTS cards (blob TEXT PRIMARY KEY, data TEXT) WITHOUT ROWID"


class BlobInfo:
    """What a listing tells about a blob: its git size, and the large file it points to, if any."""

    __slots__ = ("lfs", "lfs_size", "size")

    def __init__(self, size: int, lfs: str | None, lfs_size: int | None) -> None:
        self.size = size
        self.lfs = lfs
        self.lfs_size = lfs_size or 0

    @property
    def content_size(self) -> int:
        """Bytes a download returns."""
        return self.lfs_size if self.lfs else self.size


class Store:
    """Connections (one per thread) and the reading and writing of git objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        # Decoded trees by hash: a download of every file of a large folder would decode it once for each.
        self._trees: OrderedDict[str, dict[str, TreeEntry]] = OrderedDict()
        self._tree_entries = 0
        # SQLite's busy handler sleeps between tries; writers of this process queue here instead.
        self._writer = threading.RLock()
        with self.write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    if statement.strip():
                        db.execute(statement)
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise ValueError(f"{path} has schema {version}, this version reads {SCHEMA_VERSION}")
            db.execute(_CARDS)

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

    # Meta

    def meta(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        with self.write() as db:
            db.execute(
                "INSERT INTO meta VALUES (?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
            )

    # Git objects

    def put_objects(self, objects: Iterable[GitObject]) -> None:
        """Store objects; those already there are left alone. Pointers are recognised by their content."""
        rows = []
        for sha, kind, data in objects:
            lfs, lfs_size = (kind == "blob" and parse_pointer(data)) or (None, None)
            rows.append((sha, kind, len(data), data, None, lfs, lfs_size))
        with self.write() as db:
            db.executemany("INSERT INTO objects VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", rows)

    def put_large_blob(self, sha: str, size: int, sha256: str) -> None:
        """Record a git blob whose bytes lie in the blob folder under `sha256`."""
        with self.write() as db:
            db.execute(
                "INSERT INTO objects VALUES (?,'blob',?,NULL,?,NULL,NULL) ON CONFLICT DO NOTHING", (sha, size, sha256)
            )

    def read_object(self, sha: str, kind: str) -> bytes:
        """The body of an object held in the database. Raises LookupError where it is absent or of another kind."""
        row = self.db.execute("SELECT data FROM objects WHERE sha=? AND kind=?", (sha, kind)).fetchone()
        if row is None or row[0] is None:
            raise LookupError(f"{kind} {sha} is not in the database")
        return bytes(row[0])

    def read_commit(self, sha: str) -> Commit:
        return decode_commit(self.read_object(sha, "commit"))

    def read_tree(self, sha: str) -> dict[str, TreeEntry]:
        """The entries of a tree by name, in git's order. Shared with other callers: not to be changed."""
        with self._lock:
            if sha in self._trees:
                self._trees.move_to_end(sha)
                return self._trees[sha]
        entries = {entry.name: entry for entry in decode_tree(self.read_object(sha, "tree"))}
        with self._lock:
            if sha not in self._trees:
                self._trees[sha] = entries
                self._tree_entries += len(entries)
            while self._tree_entries > TREE_CACHE_ENTRIES and len(self._trees) > 1:
                self._tree_entries -= len(self._trees.popitem(last=False)[1])
        return entries

    def blob_location(self, sha: str) -> tuple[bytes | None, str | None, int]:
        """(content, sha256 in the blob folder, size) of a git blob; exactly one of the first two is set."""
        row = self.db.execute("SELECT data, blob, size FROM objects WHERE sha=? AND kind='blob'", (sha,)).fetchone()
        if row is None:
            raise LookupError(f"blob {sha} is not in the database")
        return (None if row["data"] is None else bytes(row["data"])), row["blob"], row["size"]

    def blob_infos(self, shas: Iterable[str]) -> dict[str, BlobInfo]:
        """Sizes and LFS links of many blobs by their sha; absent ones are left out."""
        wanted = list(dict.fromkeys(shas))
        found: dict[str, BlobInfo] = {}
        for at in range(0, len(wanted), _CHUNK):
            chunk = wanted[at : at + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT sha, size, lfs, lfs_size FROM objects WHERE sha IN ({marks})"  # noqa: S608
            for row in self.db.execute(query, chunk):
                found[row["sha"]] = BlobInfo(row["size"], row["lfs"], row["lfs_size"])
        return found

    def card(self, blob: str, read: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """The metadata of the card that this git blob is; `read` gives them the first time. None: cannot be read."""
        row = self.db.execute("SELECT data FROM cards WHERE blob=?", (blob,)).fetchone()
        if row is None:
            found = read()
            row = (None if found is None else json.dumps(found, ensure_ascii=False),)
            with self.write() as db:
                db.execute("INSERT INTO cards VALUES (?,?) ON CONFLICT DO NOTHING", (blob, row[0]))
        return None if row[0] is None else dict(json.loads(row[0]))

    # Blobs and who may use them

    def link_blob(self, repo: int, sha256: str, size: int) -> None:
        """The repository may now refer to this large file."""
        with self.write() as db:
            now = time.time()
            db.execute("INSERT INTO blobs VALUES (?,?,?) ON CONFLICT DO NOTHING", (sha256, size, now))
            db.execute("INSERT INTO repo_lfs VALUES (?,?,?) ON CONFLICT DO NOTHING", (repo, sha256, size))

    def linked_size(self, repo: int, sha256: str) -> int | None:
        """Bytes of a large file the repository may refer to, else None."""
        row = self.db.execute("SELECT size FROM repo_lfs WHERE repo=? AND sha256=?", (repo, sha256)).fetchone()
        return row[0] if row else None
