"""Thousands of malformed requests: whatever comes, the answer is a refusal, never a crash."""

from __future__ import annotations

import json
import random
import re

import pytest
from huggingface_hub.utils import httpx

from hubwright.hub_sync.server.routing import ROUTES

SEGMENTS = [
    "main", "x", "%2e%2e", "..", "%00", "a%2Fb", "refs%2Fpr%2F1", "0" * 40, "%F0%9F%98%80", "%ff", "-1", "1",
    "99999999999999999999", "README.md", "a/b/c", "%0d%0aX: y", "'\"<", "default", "None", "",
]  # fmt: skip
VALUES = [
    None, True, 1, -1, 1.5, "x", "", "main", "\ud800", "a" * 300, [], ["x"], {}, {"a": 1}, 10**30, "../..", "model",
    "dataset", "acme", "\x00", "\n",
]  # fmt: skip
KEYS = (
    "name organization type visibility private fromRepo toRepo startingPoint tag message files gitIgnore title status "
    "description pullRequest comment operation objects transfers parts content repoType paths expand gated oid size sdk "
    "key value path encoding summary parentCommit"
).split()  # fmt: skip
QUERY = ["limit", "cursor", "p", "expand", "recursive", "create_pr", "blobs", "full", "q", "filter", "include_prs"]


def some_object(rng: random.Random, depth: int = 0) -> dict:
    def value():
        if depth > 1 or rng.random() < 0.7:
            return rng.choice(VALUES)
        return rng.choice([some_object(rng, depth + 1), [some_object(rng, depth + 1)]])

    return {rng.choice(KEYS): value() for _ in range(rng.randint(0, 6))}


def some_body(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.6:
        return json.dumps(some_object(rng)).encode()
    if kind < 0.8:
        lines = [{"key": "header", "value": some_object(rng) | {"summary": "s"}}]
        for _ in range(3):
            fixed = {"path": rng.choice(["a", "a/b", "README.md"]), "content": "eA=="}
            key = rng.choice(["file", "lfsFile", "deletedFile", "deletedFolder", "z"])
            lines.append({"key": key, "value": some_object(rng) | fixed})
        return b"\n".join(json.dumps(line).encode() for line in lines)
    return rng.randbytes(rng.randint(0, 300))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_no_request_breaks_the_server(http, repo, seed):
    rng = random.Random(seed)
    sent = 0
    for _ in range(4000 if seed else 800):
        route = rng.choice([route for route in ROUTES if "repos/delete" not in route.template])
        path = route.template.replace("{T}", rng.choice(["models", "datasets"])).replace("{P}", "")
        path = path.replace("{repo}", rng.choice([repo, repo, repo, "x/" + rng.choice(SEGMENTS)]))
        path = re.sub(r"\{\w+\*?\}", lambda _: rng.choice(SEGMENTS), path)
        if rng.random() < 0.3:
            path += "?" + "&".join(f"{rng.choice(QUERY)}={rng.choice(SEGMENTS)}" for _ in range(2))
        method = route.method if rng.random() < 0.95 else rng.choice(["PUT", "POST", "DELETE", "GET", "HEAD", "PATCH"])
        headers = {
            "Range": rng.choice(["bytes=0-", "bytes=-0", "bytes=5-1", "x", "bytes=99999999999999999999-"]),
            "Accept": rng.choice(["*/*", "text/html"]),
        }
        try:
            answer = http.request(method, path, content=some_body(rng), headers=headers)
        except (httpx.InvalidURL, httpx.LocalProtocolError):
            continue
        sent += 1
        assert answer.status_code < 500 or answer.status_code == 501, (method, path, answer.text[:300])
    assert sent > 500
