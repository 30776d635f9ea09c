"""Large files: who may refer to which, and uploads in one or many parts.

A repository refers to a large file only after the file was uploaded to it, or where the caller can already read it
in another repository. Without that rule, knowing a SHA-256 would be enough to read somebody's private file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from ..files import fsync_path, sha256_file
from . import auth, problems
from .auth import Principal
from .blobs import disk_full
from .names import is_sha256
from .repos import Repo
from .state import HubState

LINK_LIFETIME_S = 24 * 3600.0
MAX_PARTS = 10_000


def usable_size(hub: HubState, who: Principal, repo: Repo, sha256: Any) -> int | None:
    """Bytes of a complete large file that `who` may refer to from `repo`, else None."""
    if not is_sha256(sha256):
        raise problems.bad_request("oid must be a SHA-256 in lower-case hex")
    size = hub.store.linked_size(repo.id, sha256)
    if size is None:
        rows = hub.store.db.execute(
            "SELECT r.namespace, r.private, l.size FROM repo_lfs l JOIN repos r ON r.id = l.repo WHERE l.sha256=?",
            (sha256,),
        ).fetchall()
        readable = (row for row in rows if auth.may_read(hub.store, who, row["namespace"], bool(row["private"])))
        size = next((row["size"] for row in readable), None)
    return size if size is not None and hub.blobs.size(sha256) == size else None


def upload_actions(hub: HubState, base_url: str, repo: Repo, who: Principal, oid: str, size: int, parts: bool) -> dict:
    """The signed addresses that take one file: the client sends neither its token nor our headers with them."""
    claims = {"repo": repo.id, "oid": oid, "size": size, "user": who.user_id}
    verify = {"href": f"{base_url}/{repo.hub_path}.git/info/lfs/objects/verify"}
    if not parts or size <= hub.multipart_bytes:
        return {"upload": {"href": f"{base_url}/_lfs/put/{_sign(hub, 'lfs-put', claims)}"}, "verify": verify}
    count = -(-size // hub.multipart_bytes)
    if count > MAX_PARTS:
        raise problems.too_large(f"{size} bytes need more than {MAX_PARTS} parts")
    claims |= {"upload": secrets.token_hex(12), "chunk": hub.multipart_bytes}
    header = {"chunk_size": str(hub.multipart_bytes)}
    for number in range(1, count + 1):
        header[f"{number:05d}"] = f"{base_url}/_lfs/part/{_sign(hub, 'lfs-part', claims | {'part': number})}"
    complete = _sign(hub, "lfs-complete", claims | {"parts": count})
    return {"upload": {"href": f"{base_url}/_lfs/complete/{complete}", "header": header}, "verify": verify}


def _sign(hub: HubState, use: str, claims: dict[str, Any]) -> str:
    return auth.sign(hub.secret, {"use": use, **claims}, LINK_LIFETIME_S)


def _part_file(hub: HubState, upload: str) -> Path:
    return hub.blobs.tmp / f"parts-{upload}"


class PartWriter:
    """One part on its way into the shared file of its upload, at its offset."""

    def __init__(self, hub: HubState, claims: dict[str, Any]) -> None:
        self._hub = hub
        self._upload: str = claims["upload"]
        self._number: int = claims["part"]
        self._at = (self._number - 1) * claims["chunk"]
        self._expected = min(claims["chunk"], claims["size"] - self._at)
        self._end = self._at + self._expected
        self._digest = hashlib.sha256()
        self._fd = os.open(_part_file(hub, self._upload), os.O_WRONLY | os.O_CREAT, 0o600)

    def write(self, data: bytes) -> None:
        if self._at + len(data) > self._end:
            raise problems.too_large(f"Part {self._number} is larger than {self._expected} bytes")
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, self._at)
                self._at += written
                view = view[written:]
        except OSError as error:
            raise disk_full(error) from error
        self._digest.update(data)

    def finish(self) -> str:
        """Note the part and return its ETag. Raises Problem 400 where it is too short."""
        if self._at != self._end:
            raise problems.bad_request(f"Part {self._number} has {self._at - self._end + self._expected} bytes, "
                                       f"expected {self._expected}")  # fmt: skip
        etag = self._digest.hexdigest()
        with self._hub.store.write() as db:
            db.execute(
                "INSERT INTO parts VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET etag=excluded.etag",
                (self._upload, self._number, self._expected, etag),
            )
        return etag

    def close(self) -> None:
        os.close(self._fd)


def complete_parts(hub: HubState, claims: dict[str, Any], sent: list[Any]) -> None:
    """Check the parts and the whole, and adopt the file. Repeating it after success does nothing. Raises Problem 400
    where a part is missing or the SHA-256 differs."""
    oid, size, upload = claims["oid"], claims["size"], claims["upload"]
    if hub.store.linked_size(claims["repo"], oid) == size and hub.blobs.size(oid) == size:
        return
    rows = hub.store.db.execute("SELECT number, etag FROM parts WHERE upload=? ORDER BY number", (upload,)).fetchall()
    stored = {row["number"]: row["etag"] for row in rows}
    claimed = {part.get("partNumber"): str(part.get("etag", "")).strip('"') for part in sent if isinstance(part, dict)}
    if stored != claimed or len(stored) != claims["parts"]:
        raise problems.bad_request("The parts do not match what was uploaded: upload the file again")
    path = _part_file(hub, upload)
    try:
        actual = sha256_file(path) if path.stat().st_size == size else ""
    except FileNotFoundError:
        raise problems.bad_request("This upload is not known any more: upload the file again") from None
    try:
        if actual != oid:
            raise problems.bad_request(f"Content does not match its SHA-256: expected {oid}, got {actual}")
        fsync_path(path)
        hub.blobs.adopt(path, oid)
        hub.store.link_blob(claims["repo"], oid, size)
    except OSError as error:
        raise disk_full(error) from error
    finally:
        path.unlink(missing_ok=True)
        with hub.store.write() as db:
            db.execute("DELETE FROM parts WHERE upload=?", (upload,))
