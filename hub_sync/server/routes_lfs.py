"""The git-lfs batch API: signed upload and download addresses, single and multi-part uploads, verification."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from . import auth, lfs, problems
from .blobs import MAX_FILE_BYTES
from .names import is_sha256
from .routes_files import Content, send
from .routing import Call, route, stream_to

MEDIA_TYPE = "application/vnd.git-lfs+json"
MAX_OBJECTS = 1000


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
            known = lfs.usable_size(hub, call.who, repo, oid)
            if known is not None and known == size:
                hub.store.link_blob(repo.id, oid, size)
            elif size > MAX_FILE_BYTES:
                item["error"] = {"code": 413, "message": f"Files may have {MAX_FILE_BYTES} bytes"}
            else:
                item["actions"] = lfs.upload_actions(hub, call.base_url, repo, call.who, oid, size, parts)
        elif hub.store.linked_size(repo.id, oid) is None or hub.blobs.size(oid) is None:
            item["error"] = {"code": 404, "message": "Object does not exist"}
        else:
            signed = auth.sign(hub.secret, {"use": "lfs-get", "oid": oid}, lfs.LINK_LIFETIME_S)
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
    writer = lfs.PartWriter(call.hub, claims)
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
    lfs.complete_parts(call.hub, claims, sent if isinstance(sent, list) else [])
    return JSONResponse({"success": True}, media_type=MEDIA_TYPE)


@route("GET", "/_lfs/get/{signed}")
def get(call: Call) -> Response:
    oid = auth.unsign(call.hub.secret, call.params["signed"], "lfs-get")["oid"]
    size = call.hub.blobs.size(oid)
    if size is None:
        raise problems.Problem(404, "Object does not exist")
    return send(call, Content(size, oid, None, oid, True), {"Content-Type": "application/octet-stream"})
