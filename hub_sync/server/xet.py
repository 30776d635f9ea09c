"""Xet uploads: xorbs come in, a shard says which chunks make which file, the file is rebuilt and kept as a blob.

Downloads stay plain HTTP; xorbs are kept only so that a later upload need not send the same chunks again. Clients
remember by server address which xorbs they sent, so the address carries the hub's id, the user, and an epoch that
changes whenever xorbs are dropped: nobody is told to use chunks that are gone or that another user sent.

The API is version 1: newer calls (upload grants, shards v2) answer 404, and clients then use these. Chunk look-ups
across repositories answer 404 as well: they would tell one user what another one stores.
"""

import contextlib
import mmap
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ..files import fsync_path
from . import auth, problems, xet_format
from .blobs import MAX_FILE_BYTES, disk_full
from .names import is_sha256
from .routing import Call, ClientGone, read_body, route, run_while_connected, stream_to
from .state import HubState

TOKEN_LIFETIME_S = 3600.0
XORB_LIFETIME_S = 7 * 24 * 3600.0
PIECE_BYTES = 1 << 20
# Files that a shard describes may be larger than the xorbs they are made of, since chunks repeat: by this factor, and
# by this many bytes whatever the xorbs have.
REPEATED_FACTOR = 8
REPEATED_BYTES = 1 << 30
# A footer and per-chunk headers come on top of the data.
_XORB_BODY = xet_format.XORB_MAX_BYTES + (4 << 20)
# Unpacking and hashing is work for the processor: more at once only takes memory.
_VERIFYING = threading.BoundedSemaphore(2)


def _folder(hub: HubState) -> Path:
    return hub.root / "xorbs" / hub.xet_epoch


def _path(hub: HubState, xorb: str) -> Path:
    return _folder(hub) / xorb[:2] / xorb


def expire(hub: HubState) -> bool:
    """Drop all xorbs and start a new epoch once the oldest is a week old. Call before serving."""
    oldest = hub.store.db.execute("SELECT MIN(created) FROM xorbs").fetchone()[0]
    if oldest is None or oldest > time.time() - XORB_LIFETIME_S:
        return False
    old = _folder(hub)
    with hub.store.write() as db:
        hub.store.set_meta("xet_epoch", str(int(hub.xet_epoch) + 1))
        db.execute("DELETE FROM xorbs")
    shutil.rmtree(old, ignore_errors=True)
    return True


@contextlib.contextmanager
def incoming_xorb(hub: HubState) -> Iterator[tuple[Path, BinaryIO]]:
    """A file of `tmp/` for a xorb that arrives; removed where it was not kept."""
    path = hub.blobs.tmp / f"xorb-{secrets.token_hex(8)}"
    try:
        with path.open("xb") as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


def store_xorb(hub: HubState, claimed: str, path: Path, user: int) -> bool:
    """Verify a complete file of `tmp/` and keep it as a xorb; False where it was here. Raises Problem 400 where the
    bytes do not have this hash."""
    size = path.stat().st_size
    try:
        with _VERIFYING, _mapped(path) as data:
            actual, chunks = xet_format.index_xorb(data)
    except xet_format.FormatError as error:
        raise problems.bad_request(f"Invalid xorb: {error}") from None
    if actual != claimed:
        raise problems.bad_request(f"The xorb's hash is {actual}, not {claimed}")
    with hub.store.write() as db:
        if db.execute("SELECT 1 FROM xorbs WHERE hash=?", (actual,)).fetchone():
            db.execute("INSERT INTO xorb_owners VALUES (?,?) ON CONFLICT DO NOTHING", (actual, user))
            return False
    target = _path(hub, actual)
    try:
        fsync_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():  # sent twice at once: the first stays
            path.replace(target)
        fsync_path(target.parent)
    except OSError as error:
        raise disk_full(error) from error
    with hub.store.write() as db:
        db.execute(
            "INSERT INTO xorbs VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
            (actual, size, xet_format.pack_index(chunks), time.time()),
        )
        db.execute("INSERT INTO xorb_owners VALUES (?,?) ON CONFLICT DO NOTHING", (actual, user))
    return True


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    """A file's bytes without reading them into memory; nothing where it is empty."""
    if path.stat().st_size == 0:
        yield memoryview(b"")
        return
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        yield view


def store_shard(hub: HubState, data: bytes, claims: dict[str, Any], gone: threading.Event) -> int:
    """Rebuild every file of a shard and link it to the repository of the token; return how many were new.

    Raises Problem 400 where a file needs chunks this user never sent, or does not hash to what the shard claims; 413
    where the files are out of proportion to the chunks; 507 where the disk cannot hold them; ClientGone once `gone`
    is set.
    """
    try:
        recipes = xet_format.parse_shard(data)
    except xet_format.FormatError as error:
        raise problems.bad_request(f"Invalid shard: {error}") from None
    new = [recipe for recipe in recipes if not _is_here(hub, recipe, claims["repo"])]
    _check_claims(hub, new, claims["user"])
    for recipe in new:
        _rebuild(hub, recipe, claims, gone)
    return len(new)


def _is_here(hub: HubState, recipe: xet_format.FileRecipe, repo: int) -> bool:
    """True where the file is linked to this very repository already. A mere claim of a hash gives nothing."""
    if recipe.sha256 is None:
        return False
    return hub.store.linked_size(repo, recipe.sha256) == hub.blobs.size(recipe.sha256) == recipe.size


def _check_claims(hub: HubState, recipes: Sequence[xet_format.FileRecipe], user: int) -> None:
    """Check all segments of all files before a byte is written; raises as `store_shard` does. A segment may repeat
    chunks (zeros, tied weights), but a few kilobytes must not become gigabytes on disk."""
    ends: dict[str, list[int]] = {}  # of each xorb named, where each chunk ends in its raw bytes; 0 first
    size = sent = 0
    for recipe in recipes:
        if recipe.size > MAX_FILE_BYTES:
            raise problems.too_large(f"Files may have {MAX_FILE_BYTES} bytes")
        for xorb, length, start, stop in recipe.segments:
            if xorb not in ends:
                ends[xorb] = list(accumulate((chunk.length for chunk in _index(hub, xorb, user)), initial=0))
                sent += ends[xorb][-1]
            count = len(ends[xorb]) - 1
            if not 0 <= start < stop <= count:
                raise problems.bad_request(f"Xorb {xorb} has {count} chunks, not [{start}, {stop})")
            if ends[xorb][stop] - ends[xorb][start] != length:
                raise problems.bad_request(f"Chunks [{start}, {stop}) of xorb {xorb} have other than {length} bytes")
            size += length
    if size > REPEATED_BYTES + REPEATED_FACTOR * sent:
        raise problems.too_large(
            f"The upload makes files of {size} bytes out of blocks of {sent} bytes; at most {REPEATED_FACTOR} times "
            f"as much and {REPEATED_BYTES} bytes are taken: set HF_HUB_DISABLE_XET=1 to send every byte"
        )
    free = shutil.disk_usage(hub.blobs.tmp).free
    if size > free:
        raise problems.Problem(507, f"The hub's disk has {free} bytes free, the upload needs {size}")


def _rebuild(hub: HubState, recipe: xet_format.FileRecipe, claims: dict[str, Any], gone: threading.Event) -> None:
    with hub.blobs.writer(recipe.size) as writer:
        buffer = bytearray()
        for segment in recipe.segments:
            for chunk in _chunks(hub, segment, claims["user"]):
                buffer += chunk
                if len(buffer) >= PIECE_BYTES:
                    if gone.is_set():
                        raise ClientGone
                    writer.write(buffer)
                    buffer.clear()
        if buffer:
            writer.write(buffer)
        sha256 = writer.commit(recipe.sha256, recipe.size)
    hub.store.link_blob(claims["repo"], sha256, recipe.size)


def _index(hub: HubState, xorb: str, user: int) -> list[xet_format.Chunk]:
    """The chunks of a xorb. Raises Problem 400 where this user did not send it."""
    row = hub.store.db.execute(
        "SELECT x.chunks FROM xorbs x JOIN xorb_owners o ON o.hash = x.hash WHERE x.hash=? AND o.user=?", (xorb, user)
    ).fetchone()
    if row is None:
        raise problems.bad_request(f"Xorb {xorb} was not uploaded by you: upload it first")
    return xet_format.unpack_index(row["chunks"])


def _chunks(hub: HubState, segment: xet_format.Segment, user: int) -> Iterator[bytes | bytearray]:
    """The raw chunks of a segment, read one after the other."""
    chunks = _index(hub, segment.xorb, user)
    with _mapped(_path(hub, segment.xorb)) as data:
        for chunk in chunks[segment.start : segment.stop]:
            try:
                yield xet_format.read_chunk(data, chunk.offset)[0]
            except xet_format.FormatError as error:
                raise problems.Problem(500, f"Stored xorb {segment.xorb} is damaged: {error}") from None


@route("GET", "/api/{T}/{repo}/xet-write-token/{rev*}")
def write_token(call: Call) -> Response:
    """Where and with which short-lived token to upload; `exp` is seconds since the epoch.

    The revision is not checked: with create_pr the client does not know it yet and sends `None`.
    """
    repo, hub, user, expires = call.writable(), call.hub, call.who.user_id, int(time.time() + TOKEN_LIFETIME_S)
    token = auth.sign(hub.secret, {"use": "xet", "repo": repo.id, "user": user}, TOKEN_LIFETIME_S)
    url = f"{call.base_url}/_cas/{hub.hub_id}-{hub.xet_epoch}-{user}"
    headers = {
        "X-Xet-Cas-Url": url,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
        "Cache-Control": "no-store",
    }
    return JSONResponse({"accessToken": token, "casUrl": url, "exp": expires}, headers=headers)


def _claims(call: Call) -> dict[str, Any]:
    """The claims of a CAS request. Raises Problem 401, also where the address is of an epoch that is over."""
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise problems.login_required()
    claims = auth.unsign(call.hub.secret, token.strip(), "xet")
    if call.params["place"] != f"{call.hub.hub_id}-{call.hub.xet_epoch}-{claims['user']}":
        raise problems.Problem(401, "This upload address is no longer valid: start the upload again")
    return claims


@route("POST", "/_cas/{place}/v1/xorbs/default/{hash}", streams=True)
async def post_xorb(call: Call) -> Response:
    claims = await run_in_threadpool(_claims, call)
    if not is_sha256(call.params["hash"]):  # the same form
        raise problems.bad_request("The xorb's hash must be 64 hex digits")
    with incoming_xorb(call.hub) as (path, file):

        def write(piece: bytes) -> None:
            file.write(piece)
            if file.tell() > _XORB_BODY:
                raise problems.too_large(f"A xorb may have {_XORB_BODY} bytes")

        await stream_to(call.request, write)
        await run_in_threadpool(file.flush)
        new = await run_in_threadpool(store_xorb, call.hub, call.params["hash"], path, claims["user"])
    return JSONResponse({"was_inserted": new})


@route("POST", "/_cas/{place}/v1/shards", streams=True)
async def post_shard(call: Call) -> Response:
    claims = await run_in_threadpool(_claims, call)
    data = await read_body(call.request, xet_format.SHARD_MAX_BYTES)
    added = await run_while_connected(call.request, lambda gone: store_shard(call.hub, data, claims, gone))
    return JSONResponse({"result": 1 if added else 0})


@route("GET", "/_cas/{place}/{rest*}", streams=True)
@route("POST", "/_cas/{place}/{rest*}", streams=True)
async def absent(call: Call) -> Response:
    """The body is taken and dropped, so that the client reads the answer instead of a broken pipe."""
    await read_body(call.request, _XORB_BODY)
    raise problems.Problem(404, "Not found")
