"""Merge, get killed at a state, merge again: a program that reads a job as JSON and prints what each run left.

torch is imported once, then every run is a fork of this process, so that a kill is a real SIGKILL and cheap.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from merge_parts import merged

from hubwright.trainers.merge import writer


def arm(point: str) -> None:
    """Let this process die at STATE:COUNT."""
    state, _, count = point.partition(":")
    left = [int(count)]

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def at(target: Any, name: str, before: Any = None, after: Any = None, when: Any = lambda *_: True) -> None:
        original = getattr(target, name)

        def wrapper(*arguments: Any) -> Any:
            left[0] -= when(*arguments)
            now = left[0] == 0 and when(*arguments)
            if now and before:
                before(*arguments)
            result = original(*arguments)
            if now and after:
                after(*arguments)
            return result

        setattr(target, name, wrapper)

    def half(merge: writer.Writer, name: str, first: int, block: Any) -> None:
        descriptor, offset = merge._places[name]
        os.pwrite(descriptor, block[: len(block) // 2], offset + first)
        die()

    def torn(merge: writer.Writer, name: str) -> None:
        """The kill falls into the line of the journal."""
        os.truncate(merge.journal, merge.journal.stat().st_size - 3)
        die()

    named = (lambda source, target: Path(target).suffix == ".safetensors",)
    match state:
        case "write":
            at(writer.Writer, "write", before=die)
        case "half":
            at(writer.Writer, "write", before=half)
        case "finish":
            at(writer.Writer, "finish", before=die)
        case "noted":
            at(writer.Writer, "finish", after=die)
        case "torn":
            at(writer.Writer, "finish", after=torn)
        case "rename":
            at(Path, "replace", after=die, when=named[0])
        case "index":
            at(writer, "write_atomic", before=die, when=lambda path, *_: Path(path).name == writer.INDEX)
        case "unlink":
            at(Path, "unlink", before=die, when=lambda path: path.name == "journal.jsonl")


def fork(models: Path, out: Path, point: str | None) -> int:
    """Exit status of one run; -9 if it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if point:
                arm(point)
            near = {name: models / name for name in "abc"}
            said = {name: {"weight": 0.5, "density": 0.3} for name in near}
            speed = {"threads": 1, "block_mb": 1} if point else {"threads": 2, "block_mb": 4}  # resumed with others
            merged(out, models / "base", near, method="ties", models=said, shard_size="300KB", **speed)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    job = json.load(sys.stdin)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, points in job["cases"].items():
        out = Path(job["folder"]) / name
        end = [] if None in points else [None]
        for point in [one for one in points if one] + end:
            status = fork(Path(job["models"]), out, point)
            journal = out / "journal.jsonl"
            found.setdefault(name, []).append(
                {
                    "status": status,
                    "model": (out / writer.INDEX).exists(),
                    "noted": len(journal.read_text().splitlines()) - 1 if journal.exists() else None,
                }
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
