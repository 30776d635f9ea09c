"""Logging in with a browser: an access token is exchanged for a session cookie, which reads but never writes.

Browsers send Basic credentials only below the folder that asked for them, so they never reached the other pages.
"""

from urllib.parse import parse_qs, quote

from starlette.responses import RedirectResponse, Response

from . import auth
from .pages import page
from .routing import Call, route
from .state import HubState


def cookie_name(hub: HubState) -> str:
    """Browsers share cookies between the ports of a host, so each hub has a name of its own."""
    return f"hubwright_{hub.hub_id}"


def _next(path: str | None) -> str:
    """Where to go afterwards: a path of this hub, and nothing that a browser reads as another host."""
    safe = path and path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return quote(path, safe="/?=&%@:+,;~") if path and safe else "/"


@route("GET", "/_hub/login")
def form(call: Call) -> Response:
    return page(call, "page_login", {"next": _next(call.query.get("next")), "failed": False})


@route("POST", "/_hub/login")
def login(call: Call) -> Response:
    fields = parse_qs(call.body.decode("utf-8", "replace"))
    target = _next(fields.get("next", [""])[0])
    session = auth.start_session(call.hub.store, call.hub.secret, fields.get("token", [""])[0].strip())
    if session is None:
        return page(call, "page_login", {"next": target, "failed": True}, 401)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        cookie_name(call.hub), session, max_age=auth.SESSION_LIFETIME_S, httponly=True, samesite="lax",
        secure=call.request.url.scheme == "https",
    )  # fmt: skip
    return answer


@route("POST", "/_hub/logout")
def logout(call: Call) -> Response:
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(cookie_name(call.hub), httponly=True, samesite="lax")
    return answer
