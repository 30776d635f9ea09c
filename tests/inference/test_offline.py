"""The guard of tests/conftest.py itself: nothing beyond the loopback is reached, and no name is looked up."""

from __future__ import annotations

import asyncio
import socket

import loopback_guard
import pytest

from hubwright.hub_sync.errors import UsageError
from hubwright.inference.client import ChatClient, Endpoint


def test_an_address_is_refused() -> None:
    with socket.socket() as plug, pytest.raises(ConnectionRefusedError, match="not the loopback"):
        plug.connect(("192.0.2.1", 80))
    with pytest.raises(ConnectionRefusedError):
        socket.getaddrinfo("hub.example", 443)
    assert loopback_guard.strayed == ["socket.connect 192.0.2.1", "socket.getaddrinfo hub.example"]
    loopback_guard.strayed.clear()


def test_the_client_is_seen_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")

    async def work() -> None:
        async with ChatClient(Endpoint("m", "http://192.0.2.1:9/v1", timeout=2, max_retries=0)) as chat:
            await chat.complete([{"role": "user", "content": "x"}])

    with pytest.raises(UsageError, match="cannot be reached"):
        asyncio.run(work())
    assert loopback_guard.strayed
    loopback_guard.strayed.clear()
