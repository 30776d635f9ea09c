"""The git-lfs batch API: who may refer to which large file, signed addresses, uploads in one or many parts.

A repository refers to a large file only after the file was uploaded to it, or where the caller can already read it
in another repository. Without that rule, knowing a SHA-256 would be enough to read somebody's private file.
"""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ..files import fsync_path, sha256_file
from . import auth, problems
from .auth import Principal
from .blobs import MAX_FILE_BYTES, disk_full
from .names import is_sha256
from .repos import Repo
from .routes_files import Content, send
from .routing import Call, route, stream_to
from .state import HubState

LINK_LIFETIME_S = 24 * 3600.0
MAX_PARTS = 10_000
MEDIA_TYPE = "application/vnd.git-lfs+json"
MAX_OBJECTS = 1000


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


def _objects(body: dict[str, Any]) -> list[tuple[str, int]]:
    objects = body.get("objects")
    if not isinstance(objects, list) or len(objects) > MAX_OBJECTS:
        raise problems.bad_request(f"objects must be an array of at most {MAX_OBJECTS} items")
    pairs = []
    for item in objects:
        oid, size = (item.get("oid"), item.get("size")) if isinstance(item, dict) else (None, None)
        if not is_sha256(oid) or not isinstance(size, int) or size < 0:
            raise problems.invalid_path("An object needs an oid (SHA-256 in lower-case hex) and a size in bytes")
        assert isinstance(oid, str)
        pairs.append((oid, size))
    return pairs


@route("POST", "/{P}{repo}.git/info/lfs/objects/batch")
def batch(call: Call) -> Response:
    """Where to send or fetch each object. An object without `actions` is here already."""
    body = call.json()
    operation = body.get("operation")
    if operation not in ("upload", "download"):
        raise problems.bad_request("operation must be upload or download")
    if body.get("hash_algo", "sha256") != "sha256":
        raise problems.Problem(409, "hash_algo must be sha256")
    repo = call.writable() if operation == "upload" else call.readable()
    hub, answer = call.hub, []
    transfers = body.get("transfers")
    parts = isinstance(transfers, list) and "multipart" in transfers
    for oid, size in _objects(body):
        item: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
        if operation == "upload":
            known = usable_size(hub, call.who, repo, oid)
            if known is not None and known == size:
                hub.store.link_blob(repo.id, oid, size)
            elif size > MAX_FILE_BYTES:
                item["error"] = {"code": 413, "message": f"Files may have {MAX_FILE_BYTES} bytes"}
            else:
                item["actions"] = upload_actions(hub, call.base_url, repo, call.who, oid, size, parts)
        elif hub.store.linked_size(repo.id, oid) is None or hub.blobs.size(oid) is None:
            item["error"] = {"code": 404, "message": "Object does not exist"}
        else:
            signed = auth.sign(hub.secret, {"use": "lfs-get", "oid": oid}, LINK_LIFETIME_S)
            item["actions"] = {"download": {"href": f"{call.base_url}/_lfs/get/{signed}"}}
        answer.append(item)
    several = any("header" in item.get("actions", {}).get("upload", {}) for item in answer)
    value = {"transfer": "multipart" if several else "basic", "objects": answer, "hash_algo": "sha256"}
    return JSONResponse(value, media_type=MEDIA_TYPE)


@route("POST", "/{P}{repo}.git/info/lfs/objects/verify")
def verify(call: Call) -> Response:
    repo = call.writable()
    ((oid, size),) = _objects({"objects": [call.json()]})
    if call.hub.store.linked_size(repo.id, oid) != size or call.hub.blobs.size(oid) != size:
        raise problems.Problem(404, "The upload of this object is not complete")
    return JSONResponse({"message": "ok"}, media_type=MEDIA_TYPE)


@route("PUT", "/_lfs/put/{signed}", streams=True)
async def put(call: Call) -> Response:
    """Take a whole file at a signed address."""
    hub = call.hub
    claims = auth.unsign(hub.secret, call.params["signed"], "lfs-put")
    with hub.blobs.writer(claims["size"]) as writer:
        await stream_to(call.request, writer.write)

        def finish() -> None:
            writer.commit(claims["oid"], claims["size"])
            hub.store.link_blob(claims["repo"], claims["oid"], claims["size"])

        await run_in_threadpool(finish)
    return Response(headers={"ETag": f'"{claims["oid"]}"'})


@route("PUT", "/_lfs/part/{signed}", streams=True)
async def put_part(call: Call) -> Response:
    claims = auth.unsign(call.hub.secret, call.params["signed"], "lfs-part")
    writer = PartWriter(call.hub, claims)
    try:
        await stream_to(call.request, writer.write)
        etag = await run_in_threadpool(writer.finish)
    finally:
        writer.close()
    return Response(headers={"ETag": f'"{etag}"'})


@route("POST", "/_lfs/complete/{signed}")
def complete(call: Call) -> Response:
    claims = auth.unsign(call.hub.secret, call.params["signed"], "lfs-complete")
    sent = call.json().get("parts")
    complete_parts(call.hub, claims, sent if isinstance(sent, list) else [])
    return JSONResponse({"success": True}, media_type=MEDIA_TYPE)


@route("GET", "/_lfs/get/{signed}")
def get(call: Call) -> Response:
    oid = auth.unsign(call.hub.secret, call.params["signed"], "lfs-get")["oid"]
    size = call.hub.blobs.size(oid)
    if size is None:
        raise problems.Problem(404, "Object does not exist")
    return send(call, Content(size, oid, None, oid, True), {"Content-Type": "application/octet-stream"})
