"""Xet's upload API (version 1). Newer calls (upload grants, shards v2) answer 404: clients then use these.

Chunk look-ups across repositories answer 404 as well: they would tell one user what another one stores.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from . import problems, xet
from .names import is_sha256
from .routing import Call, read_body, route, run_while_connected, stream_to
from .xet_format import SHARD_MAX_BYTES, XORB_MAX_BYTES

# A footer and per-chunk headers come on top of the data.
_XORB_BODY = XORB_MAX_BYTES + (4 << 20)


@route("GET", "/api/{T}/{repo}/xet-write-token/{rev*}")
def write_token(call: Call) -> Response:
    """The revision is not checked: with create_pr the client does not know it yet and sends `None`."""
    connection = xet.connection(call.hub, call.base_url, call.writable(), call.who)
    headers = {
        "X-Xet-Cas-Url": connection["casUrl"],
        "X-Xet-Access-Token": connection["accessToken"],
        "X-Xet-Token-Expiration": str(connection["exp"]),
        "Cache-Control": "no-store",
    }
    return JSONResponse(connection, headers=headers)


def _claims(call: Call) -> dict:
    return xet.check_token(call.hub, call.request.headers.get("authorization"), call.params["place"])


@route("POST", "/_cas/{place}/v1/xorbs/default/{hash}", streams=True)
async def post_xorb(call: Call) -> Response:
    claims = await run_in_threadpool(_claims, call)
    if not is_sha256(call.params["hash"]):  # the same form
        raise problems.bad_request("The xorb's hash must be 64 hex digits")
    with xet.incoming_xorb(call.hub) as (path, file):

        def write(piece: bytes) -> None:
            file.write(piece)
            if file.tell() > _XORB_BODY:
                raise problems.too_large(f"A xorb may have {_XORB_BODY} bytes")

        await stream_to(call.request, write)
        await run_in_threadpool(file.flush)
        new = await run_in_threadpool(xet.store_xorb, call.hub, call.params["hash"], path, claims["user"])
    return JSONResponse({"was_inserted": new})


@route("POST", "/_cas/{place}/v1/shards", streams=True)
async def post_shard(call: Call) -> Response:
    claims = await run_in_threadpool(_claims, call)
    data = await read_body(call.request, SHARD_MAX_BYTES)
    added = await run_while_connected(call.request, lambda gone: xet.store_shard(call.hub, data, claims, gone))
    return JSONResponse({"result": 1 if added else 0})


@route("GET", "/_cas/{place}/{rest*}", streams=True)
@route("POST", "/_cas/{place}/{rest*}", streams=True)
async def absent(call: Call) -> Response:
    """The body is taken and dropped, so that the client reads the answer instead of a broken pipe."""
    await read_body(call.request, _XORB_BODY)
    raise problems.Problem(404, "Not found")
