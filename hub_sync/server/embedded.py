"""A hub in this process (`EmbeddedHub`), in a process of its own (`start_hub_process`), or in the foreground.

with EmbeddedHub() as hub:
    HfApi(endpoint=hub.endpoint, token=hub.token).create_repo("acme/demo")
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from ..errors import ConflictError, HubError, UsageError
from ..hub import LOOPBACK
from . import auth, xet
from .app import HubApp
from .auth import TokenRole
from .state import HubState, client_env, note_server, open_hub, read_token, running_server, server_lock

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConflictError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named: without it every answer waits 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)  # from here on connections wait instead of being refused
    except OSError as error:
        sock.close()
        raise ConflictError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    sock.set_inheritable(True)
    return sock


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Ends on SIGTERM and SIGINT like any other return; uvicorn's own would raise the signal again afterwards, and the
    process would die before the database is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def _server(hub: HubState, loopback_only: bool) -> uvicorn.Server:
    config = uvicorn.Config(
        HubApp(hub, loopback_only=loopback_only),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return _Server(config)


def _prepare(hub: HubState) -> None:
    """Before serving, with the root locked: sweep what a crash left, and drop expired xorbs."""
    hub.blobs.sweep()
    with hub.store.write() as db:
        db.execute("DELETE FROM parts")
    xet.expire(hub)


class EmbeddedHub:
    """A hub served from a thread of this process.

    Attributes (inside `with`): `endpoint`, `token` (of the local administrator), `env` (what a child process needs),
    `state`. `root` None makes a temporary root that vanishes afterwards. os.environ is left alone: huggingface_hub
    reads HF_ENDPOINT at import, so use `HfApi(endpoint=hub.endpoint, token=hub.token)` or a child process with `env`.
    """

    def __init__(self, root: Path | str | None = None, port: int = 0, *, multipart_bytes: int | None = None) -> None:
        self._wanted_root = Path(root) if root is not None else None
        self._port = port
        self._multipart_bytes = multipart_bytes
        self._stack = contextlib.ExitStack()
        self.endpoint = ""
        self.token = ""
        self.env: dict[str, str] = {}
        self.state: HubState

    def __enter__(self) -> EmbeddedHub:
        with contextlib.ExitStack() as stack:
            root = self._wanted_root or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hubwright-hub-")))
            self.state = open_hub(root)
            stack.callback(self.state.close)
            lock = stack.enter_context(server_lock(root))
            _prepare(self.state)
            self.state.multipart_bytes = self._multipart_bytes or self.state.multipart_bytes
            sock = bind("127.0.0.1", self._port)
            stack.callback(sock.close)
            self.endpoint = _url("127.0.0.1", sock.getsockname()[1])
            note_server(lock, self.endpoint)
            self.token = read_token(root)
            self.env = client_env(self.state, self.endpoint, self.token)
            server = _server(self.state, loopback_only=True)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="hubwright-hub", daemon=True)
            thread.start()
            stack.callback(_stop_thread, server, thread)
            deadline = time.monotonic() + START_TIMEOUT_S
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise HubError(f"the embedded hub on {root} did not start")
                time.sleep(0.01)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def create_user(self, name: str, role: TokenRole = "write") -> str:
        """Add an ordinary user (no administrator) and return a token of this role for it."""
        auth.create_user(self.state.store, name)
        return auth.create_token(self.state.store, name, role)

    def create_token(self, user: str, role: TokenRole = "write", lifetime_s: float = 0) -> str:
        """Another token for a user; `lifetime_s` 0 means no expiry."""
        return auth.create_token(self.state.store, user, role, lifetime_s=lifetime_s)


def _stop_thread(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(STOP_TIMEOUT_S)
    if thread.is_alive():
        server.force_exit = True
        thread.join(STOP_TIMEOUT_S)


def serve(
    root: Path, port: int, host: str = "127.0.0.1", *, allow_remote: bool = False, announce: bool = True
) -> None:
    """Serve a root in the foreground until interrupted. Raises ConflictError where it or the port is taken."""
    loopback = host in LOOPBACK
    if not loopback and not allow_remote:
        raise UsageError(
            f"--host {host} is not a loopback address: tokens would travel in the clear; put a TLS proxy in front, "
            "or add --allow-remote if the network is yours"
        )
    closing = contextlib.closing
    with closing(open_hub(root)) as hub, server_lock(root) as lock, closing(bind(host, port)) as sock:
        _prepare(hub)
        port = sock.getsockname()[1]
        url = _url("127.0.0.1" if host in ("localhost", "0.0.0.0", "::") else host, port)  # noqa: S104
        note_server(lock, url)
        if not loopback:
            print(f"warning: {host} is reachable from other machines and this hub speaks plain HTTP: tokens and "
                  "files travel in the clear", file=sys.stderr)  # fmt: skip
        if announce:
            print(f"hub    {url}\nroot   {root.resolve()}\ntoken  {(root / 'token').resolve()}\n"
                  f'use    eval "$(hubwright hub env --root {root} --port {port})"', flush=True)  # fmt: skip
        _server(hub, loopback).run(sockets=[sock])


@dataclass
class HubProcess(contextlib.AbstractContextManager["HubProcess"]):
    """A hub in a process of its own. `stop` ends it; `kill` does so without warning, for crash tests."""

    root: Path
    endpoint: str
    token: str
    env: dict[str, str]
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_hub_process(root: Path | str, port: int = 0, log: Path | None = None) -> HubProcess:
    """Start `python -m hubwright.hub_sync.server` on a root and wait until it answers. Raises HubError with the last
    line the process wrote where it does not start."""
    root = Path(root)
    log = log or root / "server.log"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "hubwright.hub_sync.server", "--root", str(root), "--port", str(port)]
    with log.open("ab") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        server = running_server(root)
        if server and server.get("pid") == process.pid and _answers(server["url"]):
            endpoint, token = server["url"], read_token(root)
            with contextlib.closing(open_hub(root)) as hub:
                return HubProcess(root, endpoint, token, client_env(hub, endpoint, token), process)
        time.sleep(0.02)
    process.kill()
    process.wait()
    lines = log.read_text(errors="replace").strip().splitlines()
    raise HubError(f"the hub on {root} did not start: {lines[-1] if lines else 'it said nothing'}")


def _answers(url: str) -> bool:
    """True where a server accepts connections at this address."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            return True
    except OSError:
        return False
