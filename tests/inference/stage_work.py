"""Work functions of the stage tests, and the stage as a process of its own: `python stage_work.py SETTINGS.json`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubwright.hub_sync.errors import HubwrightError
from hubwright.inference.budget import Budget
from hubwright.inference.client import ChatClient, Endpoint
from hubwright.inference.stage import Row, RowError, StageResult, run_stage


async def ask(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """One question a row; `attempts` of them until there is an answer."""
    message = {"role": "user", "content": f"{config['prompt']} {row['n']}"}
    reply = await chat.complete([message], temperature=0.0, attempts=config.get("attempts", 1))
    if not reply.ok:
        raise RowError(reply.error, final=reply.final)
    return {"n": row["n"], "text": reply.text}


async def dialogue(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """Three turns, each on the one before."""
    messages: list[dict[str, Any]] = []
    for turn in range(3):
        messages.append({"role": "user", "content": f"row {row['n']} turn {turn}"})
        reply = await chat.complete(messages, seed=row["n"])
        if not reply.ok:
            raise RowError(reply.error)
        messages.append({"role": "assistant", "content": reply.text})
    return {"messages": messages}


async def growing(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """Rows that need far more after the first twenty than those tell."""
    for turn in range(1 if row["n"] < 20 else 10):
        await chat.complete([{"role": "user", "content": f"row {row['n']} turn {turn}"}])
    return row


async def broken(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """A defect."""
    raise KeyError("nothing of this name")


def numbered(count: int) -> list[Row]:
    return [{"n": number} for number in range(count)]


def stage(url: str, folder: Path, rows: list[Row], **settings: Any) -> StageResult:
    """run_stage with what the tests want unless they say otherwise."""
    endpoint = Endpoint("local", url, **{"concurrency": 64, **settings.pop("endpoint", {})})
    config = settings.pop("config", {"prompt": "say"})
    settings.setdefault("recording", folder / "recording")
    return run_stage(
        settings.pop("work", "stage_work:ask"), rows, config, endpoint=endpoint, folder=folder, **settings
    )


def shuffle_listings() -> None:
    """Folders are listed in another order than the disk's."""
    real = os.scandir, os.listdir

    class Shuffled:
        def __init__(self, path: Any = ".") -> None:
            with real[0](path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name[::-1], reverse=True)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> Any:
            return iter(self.entries)

    os.scandir = Shuffled  # type: ignore[assignment, misc]
    os.listdir = lambda path=".": sorted(real[1](path), key=lambda name: name[::-1], reverse=True)  # type: ignore[assignment]


def echoes(count: int, prompt: str = "say") -> list[dict[str, Any]]:
    return [{"n": number, "text": f"echo {prompt} {number}"} for number in range(count)]


def start(folder: Path, url: str, **settings: Any) -> subprocess.Popen[bytes]:
    """The stage in a process of its own, in a group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f"{folder.name}.json"
    path.write_text(json.dumps({"url": url, "folder": str(folder), **settings}))
    return subprocess.Popen([sys.executable, __file__, str(path)], start_new_session=True, stderr=subprocess.PIPE)


def wait_for(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def main() -> int:
    if os.environ.get("SHUFFLE_LISTINGS"):
        shuffle_listings()
    settings = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(settings.pop("folder"))
    if "recording" in settings:
        settings["recording"] = Path(settings["recording"])
    if "budget" in settings:
        settings["budget"] = Budget(**settings["budget"])
    try:
        result = stage(settings.pop("url"), folder, numbered(settings.pop("count")), **settings)
    except HubwrightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    (folder / "result.json").write_text(json.dumps({"rows": result.rows, "failed": result.failed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
