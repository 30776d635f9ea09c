"""Kill -9 at random points, of the whole stage and of single workers: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from raw_server import RawServer
from stage_work import echoes, start, wait_for


def kill_and_resume(tmp_path: Path, *, kills: int, count: int, in_flight: int, **settings: Any) -> dict[str, float]:
    """Kill -9 at random points of the work, then finish. Gives the counts of what was asked too often."""
    dice = random.Random(0)
    with RawServer("echo", delay=0.02) as server:
        settings |= {"count": count, "endpoint": {"concurrency": in_flight}, "shard_rows": 200}
        points = sorted(dice.sample(range(in_flight, count - in_flight), kills))
        for number, point in enumerate(points):
            # Killed once this many rows were asked for, duplicates by former kills included; no more are answered.
            target = point + number * in_flight // 2
            server.hold(target)
            process = start(tmp_path / "run", server.url, **settings)
            wait_for(lambda: server.stats()["requests"] >= target or process.poll() is not None)
            assert process.poll() is None, process.communicate()[1]  # a kill that hits nothing counts for nothing
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            server.hold()
            wait_for(lambda: server.stats()["running"] == 0)
        process = start(tmp_path / "run", server.url, **settings)
        assert process.wait(120) == 0, process.communicate()[1]
        stats = server.stats()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["rows"] == echoes(count) and not result["failed"]
    assert len(stats["asked"]) == count
    twice = stats["requests"] - count
    assert twice <= kills * in_flight
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    return {"kills": kills, "asked twice": twice, "allowed": kills * in_flight}


def test_kill_9_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Fault 1, in small."""
    kill_and_resume(tmp_path, kills=3, count=600, in_flight=16)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_at_twenty_points(tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Fault 1: 5,000 rows, 64 in flight."""
    figures = kill_and_resume(tmp_path, kills=20, count=5000, in_flight=64, workers=workers)
    with capsys.disabled():
        print(f"\nfault 1, {workers} workers: {figures}")


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(pid: int) -> list[int]:
    """The spawned children, without multiprocessing's resource tracker."""
    return [child for child in children(pid) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    """Its shards are done by another, its recorded answers used, and the other workers go on."""
    with RawServer("echo", delay=0.02) as server:
        settings = {"count": 600, "shard_rows": 50, "workers": 2, "endpoint": {"concurrency": 16}}
        process = start(tmp_path / "run", server.url, **settings)
        killed: list[int] = []
        for point in (150, 350):
            server.hold(point)
            wait_for(lambda: server.stats()["requests"] >= point)
            wait_for(lambda: len(workers_of(process.pid)) == 2)  # a killed one is replaced
            killed.append(workers_of(process.pid)[0])
            os.kill(killed[-1], signal.SIGKILL)
        server.hold()
        assert process.wait(120) == 0, process.communicate()[1]
        assert server.stats()["requests"] - 600 <= 2 * 8
    assert json.loads((tmp_path / "run" / "result.json").read_text())["rows"] == echoes(600)
    assert len(set(killed)) == 2


def test_workers_end_with_the_process_that_feeds_them(tmp_path: Path) -> None:
    with RawServer("echo", delay=0.02) as server:
        server.hold(100)
        process = start(tmp_path / "run", server.url, count=2000, workers=2, shard_rows=50)
        wait_for(lambda: server.stats()["requests"] >= 100)
        workers = children(process.pid)
        process.kill()
        process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in workers))


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
