"""The process of one embedded engine: `python -m hubwright.inference.engine_server HOME SETTINGS` (engine.py runs it).

llama.cpp's own HTTP server, on the loopback. A thread beside it watches the locks of engine_state.py and ends the
process when no user is left, so that no engine outlives what it was started for.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .engine_state import Engine, locked, read_engine, tried, write_engine

POLL_S = 0.5
# Memory for prompts that are not in a slot any more, MiB (our choice; llama.cpp's own 8192 may be all there is).
PROMPT_CACHE_MIB = 512


def main(home: Path, wanted: dict[str, Any]) -> int:
    """Serve until killed or unused. Exit codes: 2 for settings the model cannot have, 3 where it cannot be served."""
    with locked(home / "server.lock"):
        (home / "engine.json").unlink(missing_ok=True)  # a predecessor's
        watch = _Watch(home, wanted)
        threading.Thread(target=watch.run, name="watch", daemon=True).start()
        import xllamacpp

        try:
            server = xllamacpp.Server(_params(xllamacpp, wanted))
        except (RuntimeError, ValueError) as error:
            print(f"llama.cpp cannot serve it: {' '.join(str(error).split())}", flush=True)
            return 3
        per_slot = _get(server.listening_address, "/slots")[0]["n_ctx"]
        if per_slot < wanted["context_tokens"]:
            print(f"the model was trained for {per_slot} tokens: ask for a context of at most that", flush=True)
            return 2
        settings = {k: wanted[k] for k in Engine.__dataclass_fields__ if k in wanted}
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        url = f"{server.listening_address}/v1"
        write_engine(home, Engine(id=home.name, pid=os.getpid(), url=url, started_at=started, **settings))
        watch.requests = lambda: _tokens(server.handle_metrics())
        threading.Event().wait()  # SIGTERM ends the process: nothing here needs tidying
    return 0


def _params(xllamacpp: Any, wanted: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = wanted["gguf"]
    params.model_alias = {wanted["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = wanted["slots"]
    params.n_ctx = wanted["context_tokens"] * wanted["slots"]  # llama.cpp divides it among the slots
    params.kv_unified = False
    params.cpuparams.n_threads = wanted["threads"]
    params.cpuparams_batch.n_threads = wanted["threads"]
    params.cache_prompt = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.verbosity = 2  # warnings and errors: a line per request would fill the disk in a long run
    params.ui = False
    params.cors_origins = ""  # no page in a browser has business here
    return params


class _Watch:
    """Ends the process when nobody needs it. `requests` gives a number that changes with every request served."""

    def __init__(self, home: Path, wanted: dict[str, Any]) -> None:
        self.home = home
        self.keep: bool = wanted["keep"]
        self.idle_seconds: float = wanted["idle_seconds"]
        self.requests: Callable[[], float] | None = None
        # Open from the beginning: should the folder be deleted, users that are in still hold these files.
        self.start_lock = (home / "start.lock").open("ab")
        self.users_lock = (home / "users.lock").open("ab")

    def run(self) -> None:
        last, seen = time.monotonic(), -1.0
        while True:
            time.sleep(POLL_S)
            if self.keep and self.requests:
                # Before any lock is taken: it waits for the batch that is being computed.
                count = self.requests()
                if count != seen:
                    last, seen = time.monotonic(), count
            # Under start.lock nobody can join between the look and the end.
            with tried(self.start_lock) as mine:
                if not mine:
                    last = time.monotonic()
                    continue
                engine = read_engine(self.home)  # a later `start` may have made it a kept one
                if engine:
                    self.keep, self.idle_seconds = engine.keep, engine.idle_seconds
                with tried(self.users_lock) as alone:
                    if not alone:
                        last = time.monotonic()
                    elif not self.keep or (self.requests and time.monotonic() - last >= self.idle_seconds):
                        (self.home / "engine.json").unlink(missing_ok=True)
                        os._exit(0)


def _tokens(metrics: str) -> float:
    """Tokens read and written so far, from llama.cpp's metrics."""
    total = 0.0
    for line in metrics.splitlines():
        name, _, value = line.partition(" ")
        if name in ("llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total", "llamacpp:n_decode_total"):
            with suppress(ValueError):
                total += float(value)
    return total


def _get(address: str, path: str) -> Any:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address + path, timeout=30) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
