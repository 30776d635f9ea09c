"""What this hub is and holds: for `hubwright hub status`, and to know when it answers."""

from __future__ import annotations

import os
from importlib.metadata import version

from starlette.responses import JSONResponse, Response

from .routing import Call, Route
from .state import HubState


def counts(hub: HubState) -> dict[str, int]:
    """Numbers over the whole root; sizes in bytes."""
    db = hub.store.db
    blobs, blob_bytes = db.execute("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM blobs").fetchone()
    objects, object_bytes = db.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(data)), 0) FROM objects").fetchone()
    repos = {row[0]: row[1] for row in db.execute("SELECT type, COUNT(*) FROM repos GROUP BY type")}
    return {
        "models": repos.get("model", 0),
        "datasets": repos.get("dataset", 0),
        "spaces": repos.get("space", 0),
        "blobs": blobs,
        "blob_bytes": blob_bytes,
        "git_objects": objects,
        "git_bytes": object_bytes,
    }


def status(call: Call) -> Response:
    """Health for everybody; counts only for those who log in, as they include private repositories."""
    value: dict = {"status": "ok", "server": "hubwright", "version": version("hubwright"), "id": call.hub.hub_id}
    if not call.who.anonymous:
        value |= {"pid": os.getpid(), **counts(call.hub)}
    return JSONResponse(value)


ROUTES = [Route("GET", "/_hub/status", status)]
