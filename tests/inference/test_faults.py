"""What goes wrong on the wire and on the disk, done for real, with the acceptance figures of each."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, completion
from pydantic import BaseModel
from raw_server import RawServer, perfect_wall
from stage_work import numbered, stage
from starlette.responses import JSONResponse

from hubwright.hub_sync.errors import StorageError
from hubwright.inference.client import ChatClient, Endpoint
from hubwright.inference.requests import Reply
from hubwright.inference.store import RecordingStore
from hubwright.inference.transport import DOUBTS, AnswerIds

HERE = Path(__file__).parent


def answers(count: int) -> list[dict[str, Any]]:
    return [{"n": number, "text": f"echo say {number}"} for number in range(count)]


def test_a_busy_server_fails_no_row(tmp_path: Path) -> None:
    """Fault 3 without its clock."""
    with RawServer("busy", delay=0.01, share=0.3, wait=0.1) as server:
        result = stage(server.url, tmp_path, numbered(400))
        assert server.stats()["statuses"]["429"] > 60
    assert result.rows == answers(400) and result.usage.retries > 60 and result.usage.requests == 400


def test_the_ideal_is_what_arithmetic_says() -> None:
    assert perfect_wall([], 4, 8, 0.2, 1.0) == pytest.approx(0.4)
    assert perfect_wall([True], 4, 4, 0.2, 1.0) == pytest.approx(1.2)
    assert perfect_wall([True, True], 1, 2, 0.5, 1.0) == pytest.approx(2.0)


@pytest.mark.parametrize("attempts", [1, 4])
def test_garbage_is_never_recorded_as_usable_nor_used(tmp_path: Path, attempts: int) -> None:
    """Fault 5: 20 % of the bodies are null, empty, cut, no JSON or have no answer; the first four are tried again."""
    config = {"prompt": "say", "attempts": attempts}
    with RawServer("garbage", share=0.2) as server:
        result = stage(server.url, tmp_path, numbered(400), config=config, max_failed=1.0)
        stats = server.stats()
    assert all(row["text"] == f"echo say {row['n']}" for row in result.rows)
    assert len(result.rows) + len(result.failed) == 400
    outcomes = result.usage.outcomes
    assert sum(outcomes.values()) == 400 and outcomes["ok"] == len(result.rows)
    assert sum(outcomes.get(name, 0) for name in ("empty", "truncated", "failed")) == len(result.failed)
    assert result.usage.requests + result.usage.retries == stats["requests"]
    usable = [record for record in RecordingStore(tmp_path / "recording").records() if record["usable"]]
    assert len(usable) == len(result.rows)
    assert all(record["reply"]["text"].startswith("echo") for record in usable)
    assert (20 < len(result.failed) < 60) if attempts == 1 else len(result.failed) < 4


@pytest.mark.parametrize("behaviour", ["never", "loris"])
def test_a_server_that_never_ends_is_given_up(tmp_path: Path, behaviour: str) -> None:
    """Fault 6: three tries, each timed out. `python -m benchmarks inference_limits` has the seconds."""
    with RawServer(behaviour) as server:
        settings = {"concurrency": 16, "timeout": 0.5, "max_retries": 2}
        result = stage(server.url, tmp_path, numbered(16), endpoint=settings, max_failed=1.0)
        assert server.stats()["requests"] >= 16
    assert len(result.failed) == 16 and {row["error"] for row in result.failed} == {"timed out"}


@pytest.mark.parametrize(
    ("behaviour", "count", "options"),
    [
        ("resets", 80, {"share": 0.3, "delay": 0.02}),
        ("twice", 40, {"later": 0, "delay": 0.01}),
        ("twice", 40, {"later": 0.005, "delay": 0.01}),
        ("twice", 40, {"later": 0.05, "delay": 0.01}),
        ("shuffle", 80, {"delay": 0.1}),
    ],
)
def test_every_row_gets_its_own_answer(tmp_path: Path, behaviour: str, count: int, options: dict[str, float]) -> None:
    """Fault 7: resets in the body, answers sent twice on a connection that is kept, answers out of order."""
    with RawServer(behaviour, **options) as server:
        result = stage(server.url, tmp_path, numbered(count), endpoint={"concurrency": 8, "max_retries": 30})
        assert server.stats()["requests"] >= count
    assert not result.failed and result.rows == answers(count)
    assert (result.usage.retries > 10) == (behaviour == "resets") or behaviour == "twice"


def test_the_very_same_answer_to_many_is_no_stray() -> None:
    """Servers whose answers carry one id, or the second as id, are believed."""
    for ids in (lambda number: "chatcmpl-1", lambda number: f"chatcmpl-{number % 2}"):

        def script(body: dict[str, Any], number: int, ids: Any = ids) -> Any:
            return JSONResponse(completion(f"yes {body['messages'][0]['content']}") | {"id": ids(number)})

        with ChatServer(script) as server:
            replies = ask(server.url, *(["q", str(n)] for n in range(40)), concurrency=4)
            assert len(server.bodies) == 40
        assert [reply.text for reply in replies] == [f"yes {n}" for n in range(40)]


def ask(url: str, *asked: list[str], concurrency: int = 16, store: RecordingStore | None = None) -> list[Reply]:
    async def work() -> list[Reply]:
        async with ChatClient(Endpoint("local", url, concurrency=concurrency), store=store) as chat:
            turns = [[{"role": "user", "content": said}] for _, said in asked]
            return list(await asyncio.gather(*(chat.complete(turn) for turn in turns)))

    return asyncio.run(work())


def run_limited(tmp_path: Path, wrapper: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    return subprocess.run(
        [*wrapper, sys.executable, str(HERE / "stage_work.py"), str(path)], capture_output=True, text=True, timeout=120
    )


def whole_and_no_more(folder: Path) -> int:
    """Every file with a final name is whole; gives the number of shards."""
    found = sorted((folder / "shards").glob("*.jsonl"))
    for path in found:
        *rows, last = path.read_bytes().splitlines()
        assert "sha256" in json.loads(last) and all(json.loads(row) for row in rows)
    if (folder / "failed.jsonl").exists():
        assert all(json.loads(line) for line in (folder / "failed.jsonl").open())
    return len(found)


@pytest.mark.parametrize("limit", [3_000, 40_000])
def test_files_may_not_grow(tmp_path: Path, limit: int) -> None:
    """Fault 8 by RLIMIT_FSIZE: a shard or a segment reaches the largest size a file may have."""
    recording = {} if limit > 3_000 else {"recording": str(tmp_path / "recording")}
    with RawServer("echo") as server:
        done = run_limited(
            tmp_path,
            ["prlimit", f"--fsize={limit}"],
            url=server.url,
            folder=str(tmp_path / "run"),
            count=300,
            shard_rows=64,
            **recording,
        )
        assert done.returncode == StorageError.exit_code, done.stderr
        assert len(done.stderr.splitlines()) == 1 and str(tmp_path) in done.stderr
        before = whole_and_no_more(tmp_path / "run")
        done = run_limited(
            tmp_path, [], url=server.url, folder=str(tmp_path / "run"), count=300, shard_rows=64, **recording
        )
        assert done.returncode == 0 and whole_and_no_more(tmp_path / "run") == 5 >= before
        assert server.stats()["requests"] <= 300 + 64  # what was recorded is used
    assert json.loads((tmp_path / "run/result.json").read_text())["rows"] == answers(300)


def test_a_full_disk(tmp_path: Path) -> None:
    """Fault 8 on a real file system of 20 MB, in a mount namespace of its own."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not permitted here")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    first = tmp_path / "first.json"
    script = (
        f"mount -t tmpfs -o size=20m none {disk} || exit 99\n"
        f"{sys.executable} {HERE / 'stage_work.py'} {first} || exit 98\n"  # an artefact from before
        f"cp -r {disk}/run/shards {kept}\n"
        f"dd if=/dev/zero of={disk}/ballast bs=1k status=none 2>/dev/null\n"
        f"dd if=/dev/null of={disk}/ballast bs=1k seek=$(( $(stat -c %s {disk}/ballast) / 1024 - 60 )) status=none\n"
        f"{sys.executable} {HERE / 'stage_work.py'} {tmp_path / 'settings.json'}\n"
        "code=$?\n"
        f"cp -r {disk}/run {tmp_path / 'run'}\n"
        f"rm {disk}/ballast\n"
        f"{sys.executable} {HERE / 'stage_work.py'} {tmp_path / 'settings.json'} || exit 97\n"
        f"cp {disk}/run/result.json {tmp_path / 'result.json'}\n"
        "exit $code\n"
    )
    with RawServer("echo") as server:
        settings = {"url": server.url, "folder": str(disk / "run"), "shard_rows": 64}
        first.write_text(json.dumps({**settings, "count": 128}))
        done = run_limited(tmp_path, ["unshare", "-rm", "sh", "-c", script, "--"], **settings | {"count": 640})
    if done.returncode == 99:
        pytest.skip("tmpfs cannot be mounted here")
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "No space left on device" in done.stderr or "the disk is full" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert whole_and_no_more(tmp_path / "run") >= 2
    for path in kept.iterdir():  # what was there before is intact
        assert (tmp_path / "run" / "shards" / path.name).read_bytes() == path.read_bytes()
    assert json.loads((tmp_path / "result.json").read_text())["rows"] == answers(640)


@pytest.mark.parametrize("damage", ["cut", "torn", "flip", "empty", "gone"])
def test_a_damaged_shard_is_redone_alone(tmp_path: Path, damage: str) -> None:
    """Fault 9, shards: found by the checksum and made again from the recorded answers."""
    with RawServer("echo") as server:
        stage(server.url, tmp_path, numbered(100), shard_rows=25)
        paths = sorted((tmp_path / "shards").iterdir())
        whole = [path.read_bytes() for path in paths]
        lines = whole[2].splitlines(keepends=True)
        if damage == "gone":
            paths[2].unlink()
        else:
            flipped = bytearray(whole[2])
            flipped[200] ^= 1
            paths[2].write_bytes(
                {"cut": b"".join(lines[:10]), "torn": whole[2][:-1], "flip": bytes(flipped), "empty": b""}[damage]
            )
        times = [path.stat().st_mtime_ns for path in paths if path.exists()]
        result = stage(server.url, tmp_path, numbered(100), shard_rows=25)
        assert result.rows == answers(100) and result.usage.recorded == 25 and server.stats()["requests"] == 100
    assert [path.read_bytes() for path in paths] == whole
    assert [p.stat().st_mtime_ns for n, p in enumerate(paths) if n != 2] == [
        t for n, t in enumerate(times) if n != 2 or len(times) == 3
    ]


def test_a_damaged_answer_is_asked_again_alone(tmp_path: Path) -> None:
    """Fault 9, recorded answers: a flipped byte, and a torn last line."""
    with RawServer("echo") as server:
        stage(server.url, tmp_path / "one", numbered(50), recording=tmp_path / "recording")
        path = max((tmp_path / "recording").iterdir(), key=lambda path: path.stat().st_size)
        path.write_bytes(path.read_bytes().replace(b"echo say 33", b"echo say 34")[:-9])
        result = stage(server.url, tmp_path / "two", numbered(50), recording=tmp_path / "recording")
        asked = server.stats()["asked"]
    assert result.rows == answers(50)
    assert result.usage.recorded == 48 and result.usage.requests == 2
    twice = [said for said, count in asked.items() if count > 1]
    assert len(twice) == 2 and "say 33" in twice


class Verdict(BaseModel):
    good: bool
    why: str


def test_typed_answers_tools_and_logprobs(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    tokens = [{"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "b", "logprob": -2.0}]}]

    def script(body: dict[str, Any], number: int) -> Any:
        if "response_format" in body:
            said = body["messages"][0]["content"]
            return '{"good": true, "why": "是"}' if said == "typed" else '{"good": "perhaps"}'
        if "tools" in body:
            return JSONResponse(completion(None, tool_calls=[call], finish_reason="tool_calls"))
        if body.get("logprobs"):
            whole = completion("a")
            whole["choices"][0]["logprobs"] = {"content": tokens}
            return JSONResponse(whole)
        raise AssertionError(body)

    async def work(url: str, replay: bool = False) -> list[Reply]:
        with RecordingStore(tmp_path / "recording", readonly=replay) as store:
            async with ChatClient(Endpoint("local", url), store=store, replay=replay) as chat:
                typed: dict[str, Any] = {
                    "response_format": {"type": "json_schema", "json_schema": Verdict.model_json_schema()},
                    "parse": lambda reply: Verdict.model_validate_json(reply.text),
                }
                return [
                    await chat.complete([{"role": "user", "content": "typed"}], **typed),
                    await chat.complete([{"role": "user", "content": "mistyped"}], **typed),
                    await chat.complete([{"role": "user", "content": "x"}], tools=[{"type": "function"}]),
                    await chat.complete([{"role": "user", "content": "x"}], logprobs=True, top_logprobs=1),
                ]

    with ChatServer(script) as server:
        replies = asyncio.run(work(server.url))
        assert server.bodies[0]["response_format"]["json_schema"]["required"] == ["good", "why"]
    good, bad, tool, scored = replies
    assert good.value == Verdict(good=True, why="是")
    assert bad.outcome == "invalid" and "good" in bad.error and "\n" not in bad.error
    assert tool.ok and tool.tool_calls == (call,)
    assert scored.logprobs == tuple(tokens)
    again = asyncio.run(work(server.url, replay=True))
    assert again == replies and all(reply.recorded for reply in again)


def test_the_first_answer_of_all_is_not_believed_twice() -> None:
    """It had been: no other id was known yet, as with a server that gives all answers one."""
    ids = AnswerIds()
    assert not ids.strayed({"id": "a"}, b"one", b"row 3")
    assert ids.strayed({"id": "a"}, b"one", b"row 8")
    assert not ids.strayed({"id": "b"}, b"two", b"row 8")
    assert ids.strayed({"id": "a"}, b"one", b"row 9") and ids.strayed({"id": "b"}, b"two", b"row 9")


def test_a_server_of_one_id_and_one_answer_is_believed_in_the_end() -> None:
    ids = AnswerIds()
    doubted = [ids.strayed({"id": "always"}, b"yes", b"row %d" % number) for number in range(40)]
    assert not doubted[0] and sum(doubted) == DOUBTS
    again = [ids.strayed({"id": "always"}, b"yes", b"row %d" % number) for number in range(40)]
    assert not any(again)


def test_draws_differ_and_one_question_is_asked_once(tmp_path: Path) -> None:
    async def work(url: str) -> list[str]:
        with RecordingStore(tmp_path) as store:
            async with ChatClient(Endpoint("local", url), store=store) as chat:
                turn = [{"role": "user", "content": "the same"}]
                replies = await asyncio.gather(
                    *(chat.complete(turn) for _ in range(5)), *(chat.complete(turn, draw=n) for n in range(3))
                )
                return [reply.text for reply in replies]

    with ChatServer(lambda body, number: f"answer {number}") as server:
        first, second = asyncio.run(work(server.url)), asyncio.run(work(server.url))
        assert len(server.bodies) == 3
    assert first == second and len(set(first[:6])) == 1 and len(set(first)) == 3


def test_an_unusable_answer_is_asked_for_again_unless_it_is_settled(tmp_path: Path) -> None:
    def never(reply: Reply) -> None:
        raise ValueError(f"{reply.text} is of no use")

    async def work(url: str, settled: bool) -> str:
        with RecordingStore(tmp_path) as store:
            async with ChatClient(Endpoint("local", url), store=store) as chat:
                return (await chat.complete([{"role": "user", "content": "x"}], parse=never, settled=settled)).error

    with ChatServer(lambda body, number: f"answer {number}") as server:
        said = [asyncio.run(work(server.url, settled)) for settled in (False, False, True, True)]
        assert len(server.bodies) == 2
    assert said[1] == said[2] == said[3] != said[0]


def test_an_answer_under_way_is_kept_when_its_asker_gives_up(tmp_path: Path) -> None:
    async def work(url: str) -> None:
        with RecordingStore(tmp_path) as store:
            async with ChatClient(Endpoint("local", url), store=store) as chat:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(chat.complete([{"role": "user", "content": "slow"}]), 0.2)

    with RawServer("echo", delay=0.6) as server:
        asyncio.run(work(server.url))
        assert server.stats()["requests"] == 1
    assert len(RecordingStore(tmp_path)) == 1
