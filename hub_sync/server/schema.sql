-- One statement ends with ";" at the end of a line. A change of these tables raises SCHEMA_VERSION in store.py.
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
-- `data` is the object's body; where `base` names another tree, the difference from that one.
CREATE TABLE objects (
    sha TEXT PRIMARY KEY, kind TEXT NOT NULL, size INTEGER NOT NULL, data BLOB,
    blob TEXT, lfs TEXT, lfs_size INTEGER, base TEXT);
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
-- The metadata of cards as JSON by their blob, NULL if they cannot be read. A card is parsed once.
CREATE TABLE cards (blob TEXT PRIMARY KEY, data TEXT) WITHOUT ROWID;
