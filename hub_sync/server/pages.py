"""Rendering of the pages that a person sees in a browser: Jinja templates, one style sheet, no scripts anywhere."""

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.responses import HTMLResponse, Response

from .problems import INVALID_CREDENTIALS, Problem
from .routing import Call

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


def human_bytes(count: float) -> str:
    """Bytes with a decimal unit, as the Hub shows them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The templates of this folder; `{{ ... }}` is escaped as HTML in those that are named page_*."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    env.filters["bytes"] = human_bytes
    env.filters["segment"] = lambda text: quote(str(text), safe="")
    env.filters["path"] = lambda text: quote(str(text))
    env.filters["day"] = lambda text: str(text)[:16].replace("T", " ")
    return env


def page(call: Call, template: str, values: dict[str, Any], status: int = 200) -> Response:
    """A template as a response; `values` are what it shows besides the visitor."""
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    html = environment().get_template(f"{template}.jinja").render(who=call.who, **values)
    return HTMLResponse(html, status, headers)


def wants_page(call: Call) -> bool:
    """True where a browser asks for something that is neither API nor file."""
    path: str = call.request.scope["path"]
    accepts = call.request.headers.get("accept", "")
    machine = path.startswith(("/api/", "/_cas/", "/_lfs/")) or "/resolve/" in path or "/info/lfs/" in path
    return call.request.method == "GET" and "text/html" in accepts and not machine


def error_page(call: Call, problem: Problem, headers: dict[str, str]) -> Response:
    """A refusal as a page."""
    values = {"status": problem.status, "message": problem.message, "here": call.request.url.path}
    response = page(call, "page_error", values, problem.status)
    response.headers.update(headers)
    if problem.message == INVALID_CREDENTIALS:
        response.headers["WWW-Authenticate"] = 'Basic realm="an access token as the password"'
    return response
