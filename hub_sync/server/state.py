"""A hub's root folder, opened: database, blobs, secret, identity, the lock that keeps it to one server, and what an
unmodified client needs in its environment to use it.

root/
  hub.sqlite3      git objects, refs, repositories, users (WAL)
  blobs/           large files by SHA-256
  xorbs/           uploaded Xet blocks, by epoch
  tmp/             uploads in progress; swept at start
  token            the local user's token, mode 0600
  server.lock      held by the running server: its pid and URL
  client/<hub id>/ HF_HOME for clients of this hub
"""

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ConflictError, HubError, StorageError, UsageError
from ..hub import LOOPBACK
from . import auth
from .blobs import BlobStore
from .store import Store

DEFAULT_PORT = 8741
LOCAL_USER = "local"
LOCK_TRIES = 10


@dataclass
class HubState:
    """Everything the routes need. Made by `open_hub`; `close` it when done."""

    root: Path
    store: Store
    blobs: BlobStore
    hub_id: str
    secret: bytes
    # LFS uploads larger than this are split into parts of this size (bytes) where the client can.
    multipart_bytes: int = 1 << 30
    # (repository, commit) whose client had gone before the answer was sent: sent again, they are answered, not
    # refused. `unanswered` are those of which it is not known yet.
    undelivered: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=1000))
    unanswered: set[tuple[int, str]] = field(default_factory=set)

    @property
    def xet_epoch(self) -> str:
        return self.store.meta("xet_epoch") or "0"

    def close(self) -> None:
        self.store.close()


def open_hub(root: Path) -> HubState:
    """Open a hub's root, creating it where absent. Several processes may do so; only one may serve. Raises
    StorageError where the folder cannot be used."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _close_to_others(root)
        blobs = BlobStore(root)
        with (root / "open.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            store = Store(root / "hub.sqlite3")
            if store.meta("hub_id") is None:
                with store.write():
                    store.set_meta("secret", secrets.token_hex(32))
                    store.set_meta("hub_id", uuid.uuid4().hex[:16])
            _ensure_local_user(root, store)
    except OSError as error:
        raise StorageError(f"hub root {root}: {error.strerror or error}; choose another --root") from error
    except ValueError as error:
        raise StorageError(
            f"hub root: {error}; serve it with the version that wrote it, or choose another --root"
        ) from error
    return HubState(root, store, blobs, store.meta("hub_id") or "", bytes.fromhex(store.meta("secret") or ""))


def _close_to_others(root: Path) -> None:
    """Keep other users of the machine out of the data, whatever mode the root has: it may be a folder of theirs.
    SQLite gives its log the mode of the database, so the database is made before SQLite opens it."""
    for name in ("blobs", "xorbs", "tmp", "client"):
        (root / name).mkdir(exist_ok=True, mode=0o700)
        (root / name).chmod(0o700)
    os.close(os.open(root / "hub.sqlite3", os.O_WRONLY | os.O_CREAT, 0o600))
    for path in root.glob("hub.sqlite3*"):
        with contextlib.suppress(FileNotFoundError):  # another process closed its log meanwhile
            path.chmod(0o600)


def _ensure_local_user(root: Path, store: Store) -> None:
    """The local administrator, and its token in a file that only the owner reads. A deleted file makes a new token."""
    if store.db.execute("SELECT 1 FROM users WHERE name=?", (LOCAL_USER,)).fetchone() is None:
        auth.create_user(store, LOCAL_USER, admin=True)
    path = root / "token"
    token = path.read_text().strip() if path.exists() else ""
    digest = auth.token_digest(token)
    if token and store.db.execute("SELECT 1 FROM tokens WHERE sha256=?", (digest,)).fetchone():
        return
    token = auth.create_token(store, LOCAL_USER, "write", "local", token=token)
    fresh = root / "token.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_token(root: Path) -> str:
    return (root / "token").read_text().strip()


@contextmanager
def server_lock(root: Path) -> Iterator[Path]:
    """Hold the root for one server. Raises ConflictError that names the holder's pid and URL."""
    path = root / "server.lock"
    file = path.open("a+")
    try:
        for attempt in range(LOCK_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # a server, or for an instant `status` asking whether there is one
                server = running_server(root)
                if server and attempt == LOCK_TRIES - 1:
                    raise ConflictError(
                        f"hub root {root} is already served by pid {server.get('pid', '?')} at "
                        f"{server.get('url', '?')}; stop it or choose another --root"
                    ) from None
                time.sleep(0.05)
        else:
            raise ConflictError(f"hub root {root} is in use; stop its server or choose another --root")
        yield path
        path.write_text("")
    finally:
        file.close()


def note_server(path: Path, url: str) -> None:
    """Write who serves, for `status` and for the message of a second server."""
    path.write_text(json.dumps({"pid": os.getpid(), "url": url}))


def running_server(root: Path) -> dict | None:
    """{"pid", "url"} of the server that holds the root, or None."""
    path = root / "server.lock"
    with contextlib.suppress(OSError, ValueError), path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return dict(json.loads(path.read_text()))
    return None


def _is_held(root: Path) -> bool:
    """A server holds the root, whether or not it has said where."""
    with contextlib.suppress(OSError), (root / "server.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def require_running(root: Path) -> dict:
    """`running_server`, or HubError with the command that starts one."""
    server = running_server(root)
    if server is None:
        raise HubError(f"no hub is served from {root}; start one with `hubwright hub serve --root {root}`")
    return server


def client_env(hub: HubState, endpoint: str, token: str) -> dict[str, str]:
    """The variables by name. The client's caches lie below the hub's root, one folder per hub id: a wiped hub on the
    same port must not meet the caches of its predecessor."""
    home = hub.root.resolve() / "client" / hub.hub_id
    no_proxy = ",".join(dict.fromkeys([*filter(None, os.environ.get("NO_PROXY", "").split(",")), *LOOPBACK]))
    return {
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_XET_CACHE": str(home / "xet"),
        # On loopback, plain LFS is as fast as Xet and has fewer parts. Without this variable Xet works too.
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_XET_TELEMETRY_ENABLED": "0",
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def env_of_root(root: Path, port: int, host: str = "127.0.0.1") -> dict[str, str]:
    """`client_env` of a root, served or not; an absent root is created, with its token."""
    with contextlib.closing(open_hub(root)) as hub:
        return client_env(hub, f"http://{host}:{port}", read_token(root))


def port_of_root(root: Path, port: int | None, default: int) -> int:
    """The port of a root's hub: the one at which it is served, else the given one, else the default.

    Raises UsageError if it is served at another port than the given one, or another server listens at that port.
    """
    if server := running_server(root):
        served = urlsplit(str(server["url"])).port or 80
        if port not in (None, served):
            raise UsageError(f"hub root {root} is served at {server['url']}, not at port {port}: leave --port out")
        return served
    chosen = default if port is None else port
    if _is_held(root):
        return chosen  # its server is starting, and has not said its port yet
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", chosen), timeout=1):
        raise UsageError(
            f"port {chosen} belongs to another server, not to a hub of {root}: serve this root at a free port, and "
            "give the same --port here"
        )
    return chosen


def export_lines(env: dict[str, str]) -> str:
    """`export NAME=value` lines for a POSIX shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items())
