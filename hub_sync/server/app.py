"""The ASGI application: routes, authentication, refusals as the clients read them, and one log line per request.

Starlette gives requests and responses; routing is our own (routing.py says why).
"""

import logging
import secrets
import sqlite3
import time
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ..hub import LOOPBACK
from . import auth, pages, problems, routes_login
from .problems import Problem
from .routing import Call, Route, match, read_body
from .state import HubState

log = logging.getLogger("hubwright.hub")

_DRAIN_BYTES = 8 << 20
for _module in ("lfs", "routes_commit", "routes_discussions", "routes_files", "routes_pages", "routes_repos", "xet"):
    import_module(f".{_module}", __package__)  # its handlers add their routes


class HubApp:
    """Serves one `HubState`. `loopback_only` refuses foreign Host headers: a web page can forge them through DNS."""

    def __init__(self, hub: HubState, *, loopback_only: bool = True) -> None:
        self.hub = hub
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        request = Request(scope, receive)
        request_id = (request.headers.get("x-request-id") or request.headers.get("x-amzn-trace-id") or "")[:100]
        if not request_id or not request_id.isascii() or not request_id.isprintable():
            request_id = secrets.token_hex(8)
        sent = {"status": 0, "bytes": 0}

        async def tracked(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            else:
                sent["bytes"] += len(message.get("body", b""))
            await send(message)

        call = Call(self.hub, request, {})
        try:
            response = await self._respond(call)
            await response(scope, receive, tracked)
        except ClientDisconnect:
            sent["status"] = sent["status"] or 499
        finally:
            if log.isEnabledFor(logging.INFO):
                # The path without its query, and never a signed address: both can carry keys.
                path = request.scope["path"]
                path = path.rsplit("/", 1)[0] + "/..." if path.startswith("/_lfs/") else path
                elapsed = (time.perf_counter() - started) * 1000
                log.info(
                    "%s %s %s %.1f ms %d B %s", request.method, path, sent["status"], elapsed, sent["bytes"],
                    call.who.name or "-",
                )  # fmt: skip

    async def _respond(self, call: Call) -> Response:
        try:
            return await self._dispatch(call)
        except Problem as problem:
            return await self._refuse(call, problem)
        except sqlite3.IntegrityError:
            return await self._refuse(call, Problem(409, "The repository changed or was deleted meanwhile"))
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                return await self._refuse(call, Problem(409, "The hub is busy: try again"))
            log.exception("database error")
            status = 507 if "full" in str(error) else 500
            return await self._refuse(call, Problem(status, f"The hub's database says: {error}"))
        except UnicodeEncodeError:
            return await self._refuse(call, Problem(400, "The request contains text that is not valid Unicode"))
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("%s %s failed", call.request.method, call.request.scope["path"])
            return await self._refuse(call, Problem(500, "Internal error: see the hub's log"))

    async def _dispatch(self, call: Call) -> Response:
        request = call.request
        self._check_origin(request)
        raw_path: str = request.scope["raw_path"].decode("ascii", "replace")
        matched = match(request.method, raw_path)
        if isinstance(matched, list):
            return await run_in_threadpool(self._unmatched, call, raw_path, matched)
        route, call.params = matched
        if raw_path.startswith("/_cas/"):  # authenticated by its own short-lived token
            return await route.handler(call)  # type: ignore[misc]
        if route.streams:
            call.who = await run_in_threadpool(self._identify, request)
            return await route.handler(call)  # type: ignore[misc]
        if request.method not in ("GET", "HEAD"):
            call.body = await read_body(request)
        return await run_in_threadpool(self._run, route, call)

    def _identify(self, request: Request) -> auth.Principal:
        """The sender by its token; a browser that only reads, by its session cookie."""
        authorization = request.headers.get("authorization")
        if authorization is None and request.method in ("GET", "HEAD"):
            cookie = request.cookies.get(routes_login.cookie_name(self.hub))
            return auth.of_session(self.hub.store, self.hub.secret, cookie)
        return auth.identify(self.hub.store, authorization)

    def _run(self, route: Route, call: Call) -> Response:
        call.who = self._identify(call.request)
        response: Any = route.handler(call)
        assert isinstance(response, Response)
        return response

    def _check_origin(self, request: Request) -> None:
        """Keep web pages of other origins out: forged host names, and posts a browser sends on their behalf."""
        if self._loopback_only:
            host = request.headers.get("host", "")
            name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            if name.lower().strip("[]") not in LOOPBACK:
                raise Problem(421, f"This hub answers on {', '.join(LOOPBACK)} only, not as {host[:100]!r}")
        site = request.headers.get("sec-fetch-site", "none")
        if request.method not in ("GET", "HEAD") and site not in ("none", "same-origin"):
            raise problems.forbidden("Requests from other web sites are refused")

    def _unmatched(self, call: Call, raw_path: str, allowed: list[str]) -> Response:
        """What is no route: an unknown repository, a part of the Hub that is not here, or nothing at all."""
        call.who = self._identify(call.request)
        parts = [unquote(part, errors="replace") for part in raw_path.strip("/").split("/")]
        if parts[0] == "api" and len(parts) > 2 and parts[1] in ("models", "datasets", "spaces"):
            call.params = {"T": parts[1], "namespace": parts[2], "name": "".join(parts[3:4])}
            call.readable()
            if not allowed:
                raise problems.not_implemented(f"{call.request.method} {'/'.join(parts[4:]) or raw_path}")
        if allowed:
            raise Problem(405, "Method not allowed", headers={"Allow": ", ".join(sorted(set(allowed)))})
        if parts[0] == "api":
            raise problems.not_implemented(f"{call.request.method} {raw_path}")
        if "resolve" in parts or raw_path.endswith("/info/lfs/objects/batch"):
            raise problems.repo_not_found(call.who.anonymous)
        raise Problem(404, "Not found")

    async def _refuse(self, call: Call, problem: Problem) -> Response:
        if call.request.method not in ("GET", "HEAD"):
            await _drain(call.request)
        message = " ".join(problem.message.split()).encode("ascii", "backslashreplace").decode()[:2000]
        message = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message)
        headers = {**problem.headers, "X-Error-Message": message}
        if problem.code:
            headers["X-Error-Code"] = problem.code
        if pages.wants_page(call):
            return pages.error_page(call, problem, headers)
        return JSONResponse({"error": problem.message, **problem.extra}, problem.status, headers)


async def _drain(request: Request) -> None:
    """Read what is left of a refused upload, up to a limit: a client that is still sending misses the answer."""
    left = _DRAIN_BYTES
    try:
        async for piece in request.stream():
            left -= len(piece)
            if left < 0:
                return
    except (ClientDisconnect, RuntimeError):  # RuntimeError: the body was read already
        return
