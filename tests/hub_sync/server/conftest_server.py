"""Helpers of the server's tests: request bodies as the clients write them."""

from __future__ import annotations

import base64
import json
import struct
import time
from functools import lru_cache

import lz4.frame


def commit_lines(summary: str, *items: tuple[str, dict], parent: str | None = None) -> bytes:
    """The NDJSON body of a commit."""
    header = {"summary": summary, "description": ""} | ({"parentCommit": parent} if parent else {})
    rows = [{"key": "header", "value": header}, *({"key": key, "value": value} for key, value in items)]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def regular(path: str, content: bytes) -> tuple[str, dict]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


@lru_cache(maxsize=1)
def plain_client():
    """One HTTP client for all raw requests: making one loads the certificate store each time."""
    from huggingface_hub.utils import httpx

    return httpx.Client(trust_env=False)


def chunked(*chunks: bytes, scheme: int = 0) -> bytes:
    """A xorb as a client would serialize it."""
    out = b""
    for chunk in chunks:
        body = lz4.frame.compress(chunk) if scheme else chunk
        out += bytes([0]) + len(body).to_bytes(3, "little") + bytes([scheme]) + len(chunk).to_bytes(3, "little") + body
    return out


def shard(sha256: str | None, segments: list[tuple[str, int, int, int]]) -> bytes:
    """A shard with one file."""

    def raw(text: str) -> bytes:
        return struct.pack("<4Q", *(int(text[i : i + 16], 16) for i in range(0, 64, 16)))

    flags = (1 << 30) if sha256 else 0
    out = bytes(32) + struct.pack("<QQ", 2, 0) + struct.pack("<32sIIQ", bytes(32), flags, len(segments), 0)
    for xorb, length, start, stop in segments:
        out += struct.pack("<32sIIII", raw(xorb), 0, length, start, stop)
    if sha256:
        out += raw(sha256) + bytes(16)
    return out + b"\xff" * 32 + bytes(16) + b"\xff" * 32 + bytes(16)


def xet_post(server, repo: str):
    """post(path, body) with a Xet token of the administrator for `repo`."""
    token = plain_client().get(
        f"{server.endpoint}/api/models/{repo}/xet-write-token/main",
        headers={"Authorization": f"Bearer {server.token}"},
    )
    assert token.headers["X-Xet-Cas-Url"] == token.json()["casUrl"] and token.json()["exp"] > time.time()

    def post(path: str, body: bytes, key: str | None = None):
        headers = {"Authorization": f"Bearer {key or token.json()['accessToken']}"}
        return plain_client().post(token.json()["casUrl"] + path, content=body, headers=headers)

    return post
