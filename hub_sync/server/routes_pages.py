"""The pages a person sees in a browser. Plain HTML from templates, one style sheet, no scripts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.responses import HTMLResponse, Response

from . import pages, problems
from .problems import Problem
from .routing import Call, Route


def page(call: Call, template: str, values: dict[str, Any], status: int = 200) -> Response:
    """A template as a response; `values` are what it shows besides the visitor."""
    headers = {
        "Content-Security-Policy": pages.PAGE_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(pages.render(template, **{"who": call.who, **values}), status, headers)


def index(call: Call) -> Response:
    return page(call, "page_index", pages.index(call.hub, call.who, call.query.get("q", "")))


def repository(call: Call) -> Response:
    return page(call, "page_repo", pages.repository(call.hub, call.readable()))


def folder(call: Call) -> Response:
    path = call.params.get("path", "").strip("/")
    return page(call, "page_tree", pages.folder(call.hub, call.readable(), call.params["rev"], path))


def file(call: Call) -> Response:
    return page(call, "page_file", pages.file(call.hub, call.readable(), call.params["rev"], call.params["path"]))


def log(call: Call) -> Response:
    number = call.int_query("p", 0, 0, 10**6)
    return page(call, "page_commits", pages.log(call.hub, call.readable(), call.params["rev"], number))


def commit(call: Call) -> Response:
    return page(call, "page_commit", pages.commit(call.hub, call.readable(), call.params["rev"]))


def pulls(call: Call) -> Response:
    return page(call, "page_pulls", pages.pulls(call.hub, call.readable()))


def pull(call: Call) -> Response:
    if not call.params["num"].isdecimal() or len(call.params["num"]) > 9:
        raise Problem(404, "There is no such pull request")
    return page(call, "page_pull", pages.pull(call.hub, call.readable(), int(call.params["num"])))


@lru_cache(maxsize=1)
def _style() -> str:
    return (Path(__file__).parent / "style.css").read_text()


def style(call: Call) -> Response:
    return Response(_style(), media_type="text/css", headers={"Cache-Control": "max-age=300"})


def favicon(call: Call) -> Response:
    return Response(status_code=204)


def wants_page(call: Call) -> bool:
    """True where a browser asks for something that is neither API nor file."""
    path: str = call.request.scope["path"]
    accepts = call.request.headers.get("accept", "")
    machine = path.startswith(("/api/", "/_cas/", "/_lfs/")) or "/resolve/" in path or "/info/lfs/" in path
    return call.request.method == "GET" and "text/html" in accepts and not machine


def error_page(call: Call, problem: Problem, headers: dict[str, str]) -> Response:
    values = {"status": problem.status, "message": problem.message, "here": call.request.url.path}
    response = page(call, "page_error", values, problem.status)
    for key, value in headers.items():
        response.headers[key] = value
    if problem.message == problems.INVALID_CREDENTIALS:
        response.headers["WWW-Authenticate"] = 'Basic realm="an access token as the password"'
    return response


ROUTES = [
    Route("GET", "/", index),
    Route("GET", "/_hub/style.css", style),
    Route("GET", "/favicon.ico", favicon),
    Route("GET", "/{P}{repo}", repository),
    Route("GET", "/{P}{repo}/tree/{rev}", folder),
    Route("GET", "/{P}{repo}/tree/{rev}/{path*}", folder),
    Route("GET", "/{P}{repo}/blob/{rev}/{path*}", file),
    Route("GET", "/{P}{repo}/commits/{rev*}", log),
    Route("GET", "/{P}{repo}/commit/{rev}", commit),
    Route("GET", "/{P}{repo}/discussions", pulls),
    Route("GET", "/{P}{repo}/discussions/{num}", pull),
]
