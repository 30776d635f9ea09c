"""No test connects this process beyond the loopback. A module of its own, so that tests can name it."""

from __future__ import annotations

import socket
import sys

LOOPBACK = ("127.", "::1", "localhost", "::ffff:127.")
strayed: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    """Audit hook: this process connects to the loopback only. Child processes are not watched."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "localhost"  # a path: a Unix socket
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host and not host.startswith((*LOOPBACK, "0.0.0.0")) and host != socket.gethostname():
        strayed.append(f"{event} {host}")
        raise ConnectionRefusedError(f"{host} is not the loopback")


sys.addaudithook(_watch)
