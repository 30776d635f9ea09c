"""The files of each embedded engine, and the locks that decide who may do what.

engines/<id>/
  engine.json   the running engine, written by its server once it answers; removed before it ends
  engine.log    what the server wrote since it started
  server.lock   held by the server process: an engine whose lock is free is dead
  users.lock    held, shared, by every user: the kernel releases a killed one's at once
  start.lock    held while an engine is started, joined, left or stopped

The id is a hash of file and settings, so equal requests meet in one folder.
"""

import contextlib
import fcntl
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..hub_sync.files import cache_dir, canonical_json, write_atomic


@dataclass(frozen=True)
class Engine:
    """A running llama.cpp server on the loopback.

    Attributes:
        id: 12 hex digits; the same GGUF with the same settings has the same id.
        url: base URL for OpenAI clients, http://127.0.0.1:PORT/v1. No key is needed, any model name is accepted.
        model: `org/name@commit/file` of a hub model, or the path of a file.
        context_tokens: prompt and answer together, per slot.
        slots: requests worked on at the same time.
        started_at: UTC, ISO 8601.
        keep: True if it outlives its users and ends only when stopped or idle for `idle_seconds`.
    """

    id: str
    pid: int
    url: str
    model: str
    gguf_sha256: str
    context_tokens: int
    slots: int
    threads: int
    started_at: str
    keep: bool
    idle_seconds: float


def open_without_proxy(address: str, timeout: float) -> Any:
    """The response to a GET on the loopback, whatever proxies the environment names; a context manager."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=timeout)


def engines_folder(folder: Path | None) -> Path:
    return folder if folder is not None else cache_dir() / "engines"


def engine_id(gguf_sha256: str, context_tokens: int, slots: int, threads: int) -> str:
    return hashlib.sha256(canonical_json([gguf_sha256, context_tokens, slots, threads])).hexdigest()[:12]


def read_engine(home: Path) -> Engine | None:
    """The engine of this folder if its server lives; None where it has not written itself down or is dead."""
    if not is_held(home / "server.lock"):
        return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Engine(**json.loads((home / "engine.json").read_text()))
    return None


def write_engine(home: Path, engine: Engine) -> None:
    write_atomic(home / "engine.json", json.dumps(asdict(engine), indent=1) + "\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock and hold it alone."""
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)  # by hand, as in `release`


@contextmanager
def try_lock(lock: Path | IO[bytes]) -> Iterator[bool]:
    """Hold the lock alone, or get False where anyone else holds it. An open file is left open."""
    with lock.open("ab") if isinstance(lock, Path) else contextlib.nullcontext(lock) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """True where another open file holds the lock alone."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def hold_as_user(home: Path) -> IO[bytes]:
    """Count as a user until `release` or the end of this process, kill -9 included."""
    stream = (home / "users.lock").open("ab")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream


def release(holder: IO[bytes]) -> None:
    """Stop counting. Unlocked by hand: a child forked meanwhile has the same open file and would go on holding it."""
    fcntl.flock(holder, fcntl.LOCK_UN)
    holder.close()
