"""The process of one embedded engine: `python -m hubwright.inference.engine_server HOME SETTINGS` (engine.py runs it).

llama.cpp's own HTTP server, on the loopback. A thread watches the locks of engine_state.py and ends the process when
no user is left.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .engine_state import Engine, locked, open_without_proxy, read_engine, try_lock, write_engine

POLL_S = 0.5
# Memory for prompts that are not in a slot any more, MiB (our choice; llama.cpp's own 8192 may be all there is).
PROMPT_CACHE_MIB = 512


def main(home: Path, settings: dict[str, Any]) -> int:
    """Serve until killed or unused. Exit codes: 2 for settings the model cannot have, 3 where it cannot be served."""
    with locked(home / "server.lock"):
        (home / "engine.json").unlink(missing_ok=True)  # a predecessor's
        watch = _Watch(home, settings)
        threading.Thread(target=watch.run, name="watch", daemon=True).start()
        import xllamacpp

        try:
            server = xllamacpp.Server(_params(xllamacpp, settings))
        except (RuntimeError, ValueError) as error:
            print(f"llama.cpp cannot serve it: {' '.join(str(error).split())}", flush=True)
            return 3
        with open_without_proxy(f"{server.listening_address}/slots", timeout=30) as answer:
            per_slot = json.load(answer)[0]["n_ctx"]
        if per_slot < settings["context_tokens"]:
            print(f"the model was trained for {per_slot} tokens: ask for a context of at most that", flush=True)
            return 2
        served = {name: settings[name] for name in Engine.__dataclass_fields__ if name in settings}
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        url = f"{server.listening_address}/v1"
        write_engine(home, Engine(id=home.name, pid=os.getpid(), url=url, started_at=started, **served))
        watch.requests = lambda: _tokens(server.handle_metrics())
        threading.Event().wait()  # SIGTERM ends the process: nothing here needs tidying
    return 0


def _params(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = settings["gguf"]
    params.model_alias = {settings["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["context_tokens"] * settings["slots"]  # llama.cpp divides it among the slots
    params.kv_unified = False
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
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

    def __init__(self, home: Path, settings: dict[str, Any]) -> None:
        self.home = home
        self.keep: bool = settings["keep"]
        self.idle_seconds: float = settings["idle_seconds"]
        self.requests: Callable[[], float] | None = None
        # Open from the beginning: should the folder be deleted, users that are in still hold these files.
        self.start_lock = (home / "start.lock").open("ab")
        self.users_lock = (home / "users.lock").open("ab")

    def run(self) -> None:
        last, last_count = time.monotonic(), -1.0
        while True:
            time.sleep(POLL_S)
            if self.keep and self.requests:
                # Before any lock is taken: it waits for the batch that is being computed.
                count = self.requests()
                if count != last_count:
                    last, last_count = time.monotonic(), count
            # Under start.lock nobody can join between the look and the end.
            with try_lock(self.start_lock) as mine:
                if not mine:
                    last = time.monotonic()
                    continue
                engine = read_engine(self.home)  # a later `start` may have made it a kept one
                if engine:
                    self.keep, self.idle_seconds = engine.keep, engine.idle_seconds
                with try_lock(self.users_lock) as alone:
                    if not alone:
                        last = time.monotonic()
                    elif not self.keep or (self.requests and time.monotonic() - last >= self.idle_seconds):
                        (self.home / "engine.json").unlink(missing_ok=True)
                        os._exit(0)


def _tokens(metrics: str) -> float:
    total = 0.0
    for line in metrics.splitlines():
        name, _, value = line.partition(" ")
        if name in ("llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total", "llamacpp:n_decode_total"):
            with suppress(ValueError):
                total += float(value)
    return total


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
