"""An embedded model server: llama.cpp (through `xllamacpp`) on the loopback, with a GGUF file from the hub.

with shared_engine(ArtifactRef.parse("org/name-GGUF", "model")) as engine:
    ...  # any OpenAI client at engine.url

It starts when first needed. Users of the same file and settings share it, from any process, and it ends with its last
user, killed ones included. Started with `keep` (`hubwright engine start`) it stays until it is stopped or idle.
"""

import glob
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from ..hub_sync.errors import DataError, UsageError
from ..hub_sync.files import sha256_file
from ..hub_sync.pull import list_remote_files, pull
from ..hub_sync.refs import ArtifactRef
from .engine_state import (
    Engine,
    engine_id,
    engines_folder,
    hold_as_user,
    is_held,
    locked,
    open_without_proxy,
    read_engine,
    release,
    try_lock,
    write_engine,
)

__all__ = ["Engine", "list_engines", "shared_engine", "start_engine", "stop_engine"]

START_TIMEOUT_S = 300.0  # a large file on a cold disk
STOP_TIMEOUT_S = 10.0
IDLE_SECONDS = 600.0
_POLL_S = 0.05
_REASON = "error loading model: "

# Engines this process started without `keep`: it is their user until it stops them or ends.
_own_locks: dict[Path, IO[bytes]] = {}
_children: dict[int, subprocess.Popen[bytes]] = {}


def start_engine(
    model: ArtifactRef | Path,
    *,
    file: str | None = None,
    context_tokens: int = 8192,
    slots: int = 1,
    threads: int | None = None,
    folder: Path | None = None,
    keep: bool = False,
    idle_seconds: float = IDLE_SECONDS,
) -> Engine:
    """A running server; one that serves the same already is returned.

    Args:
        model: a model repository (pulled at its commit, only the GGUF, hash verified) or a GGUF file.
        file: which GGUF of the repository; needed if there are several.
        context_tokens: per slot, prompt and answer together (our choice: 8192).
        slots: requests worked on at the same time. Memory for the context grows with slots x context_tokens.
        threads: None for all CPUs this process may use.
        folder: where engines are recorded; None for the cache (HUBWRIGHT_CACHE).
        keep: False: the engine ends with its last user. True: it ends when nobody has used it for `idle_seconds`.

    Raises UsageError for an absent file, a choice to make, or settings the model cannot have; DataError for a file
    that is not GGUF or a server that does not start (with its log's reason); HubError from the hub.
    """
    sizes = {"context_tokens": context_tokens, "slots": slots}
    home, settings = _prepare(model, file, folder, threads, keep=keep, idle_seconds=idle_seconds, **sizes)
    with _joined(home, settings) as (engine, holder):
        if keep or home in _own_locks:
            release(holder)
        else:
            _own_locks[home] = holder
    return engine


def list_engines(folder: Path | None = None) -> list[Engine]:
    """The engines that run, oldest first. What dead ones left is removed."""
    _reap()
    engines = []
    for state in engines_folder(folder).glob("*/engine.json"):
        engine = read_engine(state.parent)
        if engine:
            engines.append(engine)
            continue
        with try_lock(state.parent / "start.lock") as mine:  # not while one is being started there
            if mine and not is_held(state.parent / "server.lock"):
                state.unlink(missing_ok=True)
    return sorted(engines, key=lambda engine: (engine.started_at, engine.id))


def stop_engine(id: str, folder: Path | None = None) -> bool:
    """Stop one engine, used or not. False where none of this id runs."""
    home = engines_folder(folder) / id
    if not (home / "start.lock").exists():
        return False
    with locked(home / "start.lock"):
        engine = read_engine(home)
        if engine:
            _stop(home, engine)
        (home / "engine.json").unlink(missing_ok=True)
    holder = _own_locks.pop(home, None)
    if holder:
        release(holder)
    return engine is not None


@contextmanager
def shared_engine(
    model: ArtifactRef | Path,
    *,
    file: str | None = None,
    context_tokens: int = 8192,
    slots: int = 1,
    threads: int | None = None,
    folder: Path | None = None,
) -> Iterator[Engine]:
    """Use an engine: one that serves the same is joined, else it is started; the last user out stops it.

    Arguments and errors as in `start_engine`. One that was started with `keep` is joined but not stopped.
    """
    home, settings = _prepare(model, file, folder, threads, context_tokens=context_tokens, slots=slots)
    with _joined(home, settings) as (engine, holder):
        pass
    try:
        yield engine
    finally:
        _leave(home, holder)


def _prepare(
    model: ArtifactRef | Path, file: str | None, folder: Path | None, threads: int | None, **settings: Any
) -> tuple[Path, dict[str, Any]]:
    """The engine's folder, named by a hash of file and settings and created, and all that its server is told."""
    if find_spec("xllamacpp") is None:
        raise UsageError("the embedded engine needs xllamacpp: pip install 'hubwright[llm]'")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings["threads"] = threads if threads is not None else cpus
    sizes = {name: settings[name] for name in ("context_tokens", "slots", "threads")}
    for name, value in sizes.items():
        if value < 1:
            raise UsageError(f"{name} is {value}: give a number above 0")
    gguf, label, alias = _find_gguf(model, file)
    with gguf.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise DataError(f"{label} is not a GGUF file: it does not begin with the bytes GGUF")
    digest = sha256_file(gguf)
    home = engines_folder(folder).absolute() / engine_id(digest, **sizes)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = {"gguf": str(gguf.absolute()), "alias": alias, "model": label, "gguf_sha256": digest}
    return home, paths | {"keep": False, "idle_seconds": IDLE_SECONDS} | settings


def _find_gguf(model: ArtifactRef | Path, file: str | None) -> tuple[Path, str, str]:
    if isinstance(model, Path):
        path = model / file if file else model
        if not path.is_file():
            raise UsageError(f"{path}: no such file; give a GGUF file, or a model of the hub as org/name")
        return path, str(path.absolute()), path.stem
    ref = model.resolve()
    if file is None:
        files = sorted(path for path in list_remote_files(ref) if path.lower().endswith(".gguf"))
        if not files:
            raise UsageError(f"model {ref} holds no GGUF file; use a repository that does (often named ...-GGUF)")
        if len(files) > 1:
            raise UsageError(f"model {ref} holds several GGUF files: say which with file: {', '.join(files)}")
        file = files[0]
    return pull(ref, [glob.escape(file)]) / file, f"{ref}/{file}", ref.repo_id


@contextmanager
def _joined(home: Path, settings: dict[str, Any]) -> Iterator[tuple[Engine, IO[bytes]]]:
    with locked(home / "start.lock"):
        holder = hold_as_user(home)
        try:
            engine = _join_or_launch(home, settings)
        except BaseException:
            release(holder)
            raise
        yield engine, holder


def _join_or_launch(home: Path, settings: dict[str, Any]) -> Engine:
    """With start.lock and users.lock held: the engine that runs here, or a new one."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while is_held(home / "server.lock"):  # a server without engine.json is still loading; its starter was killed
        engine = read_engine(home)
        if engine:
            if settings["keep"] and not engine.keep:
                engine = replace(engine, keep=True, idle_seconds=settings["idle_seconds"])
                write_engine(home, engine)
            return engine
        if time.monotonic() > deadline:
            raise DataError(f"an engine that another process began in {home} does not come up; see its engine.log")
        time.sleep(_POLL_S)
    return _launch(home, settings, deadline)


def _launch(home: Path, settings: dict[str, Any], deadline: float) -> Engine:
    _reap()
    log = home / "engine.log"
    command = [sys.executable, "-m", "hubwright.inference.engine_server", str(home), json.dumps(settings)]
    # OpenMP's threads spin while they wait, which on shared CPUs starves those that they wait for: at load 4 on 2 CPUs
    # 1 to 8 tokens/s spinning, 12 to 15 sleeping (Qwen 1.5B, Q4_K_M). On quiet CPUs sleeping at once costs a quarter,
    # which a thousand turns of spinning nearly win back (LOG.md).
    waiting = {} if "OMP_WAIT_POLICY" in os.environ else {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
    env = waiting | os.environ
    with log.open("wb") as sink:
        # A session of its own: Ctrl-C in the terminal reaches the user of the engine, who then stops it in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=home, env=env, start_new_session=True
        )
    _children[process.pid] = process
    try:
        while process.poll() is None and time.monotonic() < deadline:
            engine = read_engine(home)
            if engine and engine.pid == process.pid and _healthy(engine.url):
                return engine
            time.sleep(_POLL_S)
    except BaseException:
        process.kill()
        process.wait()
        raise
    late = process.poll() is None
    process.kill()
    code = process.wait()
    (home / "engine.json").unlink(missing_ok=True)
    why = f"no answer within {START_TIMEOUT_S:.0f} s" if late else f"exit code {code}"
    kind = UsageError if code == UsageError.exit_code else DataError
    raise kind(f"the engine for {settings['model']} did not start ({why}): {_last_words(log)}; its log is {log}")


def _last_words(log: Path) -> str:
    """The line of the log that says why: llama.cpp follows its reason with several that only say that it failed."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    reasons = [line.partition(_REASON)[2] for line in lines if _REASON in line]
    return (reasons or lines)[-1].strip()


def _healthy(url: str) -> bool:
    address = url.removesuffix("/v1") + "/health"
    try:
        with open_without_proxy(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _leave(home: Path, holder: IO[bytes]) -> None:
    """No longer a user; the last one stops the engine."""
    if not home.is_dir():  # deleted meanwhile: the server sees that nobody is left and ends
        release(holder)
        return
    with locked(home / "start.lock"):
        release(holder)
        with try_lock(home / "users.lock") as alone:
            engine = read_engine(home)
            if alone and engine and not engine.keep:
                _stop(home, engine)


def _stop(home: Path, engine: Engine) -> None:
    """End the server by its pid, which is its own: it holds server.lock, and start.lock is ours."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(engine.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while is_held(home / "server.lock") and time.monotonic() < deadline:
            time.sleep(0.01)
        if not is_held(home / "server.lock"):
            break
    (home / "engine.json").unlink(missing_ok=True)
    child = _children.pop(engine.pid, None)
    if child:
        child.wait()


def _reap() -> None:
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
