"""Run tool code that nobody has read: one process per sandbox, with limits, without files, processes or network.

    with Sandbox(code) as box:
        outcome = box.call("get_weather", {"city": "Oslo"})

Whatever the code does, `call` returns within its time: with a value, or with one line that says what went wrong. What
is contained and how: `jail.py`. Bounds are our choice.
"""

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..hub_sync.errors import DataError

JAIL = Path(__file__).with_name("jail.py")
ROOM = 4096  # bytes a frame may have beyond the result: names, errors, punctuation
Kind = Literal["ok", "raised", "unknown", "not_json", "too_large", "timeout", "died"]


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use.

    Attributes:
        seconds: wall clock of one call, and of loading the code.
        cpu_seconds: processor time of the whole sandbox.
        memory_mb: address space of the process, MiB.
        result_bytes: characters of a result's JSON.
    """

    seconds: float = 2.0
    cpu_seconds: int = 30
    memory_mb: int = 512
    result_bytes: int = 65_536


@dataclass(frozen=True)
class Outcome:
    """What came of a call: `value`, parsed JSON, where `kind` is "ok"; else `error`, one line."""

    kind: Kind
    value: Any = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """The call returned a value."""
        return self.kind == "ok"


class Sandbox(contextlib.AbstractContextManager["Sandbox"]):
    """A process that has loaded `code` and answers calls of its functions.

    Args:
        code: Python; its functions take keyword arguments and return JSON. It may import what `jail.MODULES` lists.
        limits: see `Limits`.
        modules: modules of the user's own, importable here or below `paths`, whose names the calls may use as well.
            They are loaded before the bars go down and are trusted until then.
        seed: of `random`.

    A sandbox that timed out or died answers "died" from then on; what it did before is lost with it. Raises DataError
    where the code cannot be loaded.
    """

    def __init__(
        self,
        code: str,
        limits: Limits = Limits(),
        modules: Sequence[str] = (),
        paths: Sequence[str | Path] = (),
        seed: int = 0,
    ) -> None:
        self.limits = limits
        self._begin = {
            "code": code, "limits": asdict(limits), "modules": list(modules), "seed": seed,
            "paths": [str(path) for path in paths],
        }  # fmt: skip
        self._start()

    def _start(self) -> None:
        self._number = 0
        self._end = ""
        # A fixed hash seed: sets are in the same order every time. Nothing else of our environment goes in.
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", str(JAIL)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0"},
            start_new_session=True,
            bufsize=0,
        )
        ready = self._exchange(self._begin, self.limits.seconds + 10 * bool(self._begin["modules"]))
        #: True if the kernel answers none but the calls that computing needs (Linux on x86-64 and ARM).
        self.filtered = bool(ready.get("filtered"))
        if ready["kind"] != "ok":
            self.close()
            raise DataError(f"tool code cannot be loaded: {ready['error']}")

    def begin_again(self) -> None:
        """A new process with the code loaded again, whatever became of the old one."""
        self.close()
        self._start()

    def call(self, function: str, arguments: dict[str, Any]) -> Outcome:
        """What `function(**arguments)` returns. Never raises for what the tool does."""
        return self._ask("call", function, arguments)

    def look(self, variable: str) -> Outcome:
        """A global of the code, such as its state."""
        return self._ask("look", variable, {})

    def close(self) -> None:
        """End the process; nothing of it is left."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, do: str, name: str, arguments: dict[str, Any]) -> Outcome:
        if self._end:
            return Outcome("died", error=self._end)
        self._number += 1
        request = {"id": self._number, "do": do, "name": name, "arguments": arguments}
        reply = self._exchange(request, self.limits.seconds)
        if reply["kind"] == "ok":
            return Outcome("ok", json.loads(reply["value"]))
        return Outcome(reply["kind"], error=reply["error"])

    def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a frame and await its reply; a process that does not give one is ended."""
        deadline = time.monotonic() + seconds
        body = json.dumps(message).encode()
        try:
            self._send(struct.pack(">I", len(body)) + body, deadline)
            (size,) = struct.unpack(">I", self._receive(4, deadline))
            if size > 6 * self.limits.result_bytes + ROOM:  # one character is at most six bytes of JSON in JSON
                raise ValueError(f"a reply of {size:,} bytes")
            reply = json.loads(self._receive(size, deadline))
            if reply.get("id") != message.get("id") or not isinstance(reply.get("kind"), str):
                raise ValueError("a reply to another call")
            return reply
        except TimeoutError:
            return self._ended("timeout", f"no result within {seconds:g} s")
        except (OSError, EOFError):
            return self._ended("died", "")
        except (ValueError, KeyError, AttributeError, RecursionError) as error:  # the code wrote to the pipe itself
            return self._ended("died", f"the tool's process sent {str(error)[:100]}")

    def _ended(self, kind: Kind, reason: str) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            if kind == "timeout":
                self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._process.kill()
        code = self._process.wait()
        self._end = (
            reason or f"the tool's process ended ({'signal ' + str(-code) if code < 0 else 'code ' + str(code)})"
        )
        return {"kind": kind, "error": self._end}

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        os.set_blocking(pipe, False)
        rest = memoryview(data)
        while rest:
            if not select.select([], [pipe], [], _left(deadline))[1]:
                raise TimeoutError
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(pipe, rest) :]

    def _receive(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        pipe, parts = self._process.stdout.fileno(), bytearray()
        while len(parts) < size:
            if not select.select([pipe], [], [], _left(deadline))[0]:
                raise TimeoutError
            part = os.read(pipe, min(size - len(parts), 1 << 16))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
