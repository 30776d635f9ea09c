"""The Ray engine on a real cluster of one node, started for the test and ended with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from raw_server import RawServer
from stage_work import numbered, stage

from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.files import manifest

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return plug.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of two CPUs. With --block, ending that one process ends the node's own processes."""
    folder = Path("/tmp") / f"hw-ray-{os.getpid()}"  # Ray's socket paths must be short
    port = free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--dashboard-port={free_port()}"]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000"]
    process = subprocess.Popen(
        [*command, f"--temp-dir={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Ray runtime started" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        _, alive = psutil.wait_procs(children, timeout=20)
        subprocess.run(["rm", "-rf", str(folder)])
    assert not alive, alive


def start(address: str, folder: Path, url: str, **settings: Any) -> subprocess.Popen[bytes]:
    """The stage in a process of its own: ray.init leaves threads behind in the one that calls it."""
    folder.mkdir(parents=True)
    path = folder.parent / f"{folder.name}.json"
    path.write_text(json.dumps({"url": url, "folder": str(folder), "engine": "ray", "workers": 2, **settings}))
    return subprocess.Popen(
        [sys.executable, str(HERE / "stage_work.py"), str(path)],
        env={**os.environ, "RAY_ADDRESS": address, "RAY_USAGE_STATS_ENABLED": "0"},
        stderr=subprocess.PIPE,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def busy_workers(folder: Path) -> list[psutil.Process]:
    """Ray's worker processes that have recorded something: the pid is in a segment's name."""
    pids = {int(path.name.split("-")[1]) for path in (folder / "recording").glob("*.jsonl")}
    return [
        psutil.Process(pid)
        for pid in sorted(pids)
        if psutil.pid_exists(pid) and psutil.Process(pid).name() != "python"
    ]


@pytest.mark.slow  # needs the extra `ray`, which `make test-all` installs
def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    process = start("", tmp_path / "ray", "http://127.0.0.1:9/v1", count=1)
    said = process.communicate(timeout=60)[1].decode()
    if process.returncode == 0:
        pytest.skip("a cluster runs on this machine")
    assert process.returncode == UsageError.exit_code and said.startswith("no Ray cluster to join")
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_ray_gives_the_bytes_of_a_local_run(cluster: str, tmp_path: Path) -> None:
    with RawServer("shuffle", delay=0.05) as server:
        local = stage(server.url, tmp_path / "local", numbered(600), shard_rows=50)
        process = start(cluster, tmp_path / "ray", server.url, count=600, shard_rows=50)
        assert process.wait(120) == 0, process.communicate()[1]
        assert server.stats()["requests"] == 1200
    assert json.loads((tmp_path / "ray/result.json").read_text())["rows"] == local.rows
    assert manifest(tmp_path / "ray/shards") == manifest(tmp_path / "local/shards")
    assert len(list((tmp_path / "ray/recording").iterdir())) == 3  # the probe's, and one a Ray worker


@pytest.mark.slow
def test_a_killed_ray_worker_loses_nothing(cluster: str, tmp_path: Path) -> None:
    with RawServer("echo", delay=0.2) as server:
        settings: dict[str, Any] = {"count": 800, "shard_rows": 100, "endpoint": {"concurrency": 16}}
        process = start(cluster, tmp_path / "ray", server.url, **settings)
        wait_for(lambda: server.stats()["requests"] >= 150)
        workers = [worker for worker in busy_workers(tmp_path / "ray") if worker.pid != process.pid]
        assert len(workers) == 2 and process.poll() is None
        os.kill(workers[0].pid, signal.SIGKILL)
        assert process.wait(120) == 0, process.communicate()[1]
        assert server.stats()["requests"] - 800 <= 8  # what it had in flight
    rows = json.loads((tmp_path / "ray/result.json").read_text())["rows"]
    assert [row["n"] for row in rows] == list(range(800)) and all(
        row["text"] == f"echo say {row['n']}" for row in rows
    )


@pytest.mark.slow
def test_caps_and_failures_come_back_from_ray(cluster: str, tmp_path: Path) -> None:
    with RawServer("echo") as server:
        settings: dict[str, Any] = {"count": 100, "shard_rows": 10, "work": "stage_work:growing"}
        process = start(cluster, tmp_path / "ray", server.url, **settings, budget={"max_requests": 200})
        said = process.communicate(timeout=120)[1].decode()
        assert process.returncode == UsageError.exit_code and "max_requests" in said.splitlines()[-1]
        assert 100 < server.stats()["requests"] <= 200


def shards(address: str, folder: Path, **plan: Any) -> tuple[list[Any] | None, str]:
    """(rows, message) of shards of a model's work on Ray, in a process of its own."""
    folder.mkdir(exist_ok=True)
    path = folder / "plan.json"
    settings = {"folder": str(folder / "run"), "log": str(folder / "log"), "count": 30, "engine": "ray", "workers": 2}
    path.write_text(json.dumps({**settings, **plan}))
    done = subprocess.run(
        [sys.executable, str(HERE / "shard_work.py"), str(path)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "RAY_ADDRESS": address, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(HERE)},
    )  # fmt: skip
    result = folder / "run" / "result.json"
    return json.loads(result.read_text()) if result.exists() else None, done.stderr


@pytest.mark.slow
def test_models_work_on_ray_gives_the_shards_of_a_local_run(cluster: str, tmp_path: Path) -> None:
    local, _ = shards(cluster, tmp_path / "local", engine="local", workers=1)
    rows, message = shards(cluster, tmp_path / "ray")
    assert rows == local == [{"n": 2 * n} for n in range(30)], message
    assert manifest(tmp_path / "ray/run/shards") == manifest(tmp_path / "local/run/shards")
    assert sorted(map(int, (tmp_path / "ray/log").read_text().split())) == list(range(0, 30, 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "line"), [({"fail": 17}, "no number 17"), ({"end": 17}, "a Ray worker ended over shard 4")]
)
def test_a_fault_of_a_models_worker_on_ray_is_one_line_and_the_rest_is_kept(
    fault: dict[str, int], line: str, cluster: str, tmp_path: Path
) -> None:
    rows, message = shards(cluster, tmp_path / "ray", **fault)
    assert rows is None and line in message.splitlines()[-1], message
    done = len(list((tmp_path / "ray/run/shards").glob("*.jsonl")))
    assert done >= 1
    (tmp_path / "ray/log").unlink()
    rows, message = shards(cluster, tmp_path / "ray")
    assert rows == [{"n": 2 * n} for n in range(30)], message
    assert len((tmp_path / "ray/log").read_text().split()) == 8 - done
