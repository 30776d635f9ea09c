"""Helpers of the server's tests: request bodies as the clients write them."""

from __future__ import annotations

import base64
import json
from functools import lru_cache


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
