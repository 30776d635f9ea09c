"""A stage on a Ray cluster of this machine: the time of one and of two workers where the model takes 50 ms a request.

    python -m benchmarks.ray

12,000 requests, 16 in flight per worker; two workers take at most 0.6 of one's time where two processors are idle.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUESTS, SECONDS, IN_FLIGHT, AIM = 12_000, 0.05, 16, 0.6


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    """The address of a cluster with two processors."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", f"--port={port}",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats",
        "--object-store-memory=100000000", f"--temp-dir={folder}",
    ]  # fmt: skip
    head = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert head.stdout is not None
    next(line for line in head.stdout if "Ray runtime started" in line)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure and print a table."""
    echo = [sys.executable, str(ROOT / "benchmarks/chat_echo.py"), str(SECONDS)]
    server = subprocess.Popen(echo, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    url, seconds = server.stdout.readline().strip(), {}
    print("| workers | seconds | ideal |\n|---:|---:|---:|")
    # Ray's sockets need a short path.
    with _cluster(Path(f"/tmp/hubwright-ray-{os.getpid()}")) as address, tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            job = {
                "url": url, "folder": f"{folder}/{workers}", "count": REQUESTS, "engine": "ray", "workers": workers,
                "endpoint": {"concurrency": IN_FLIGHT * workers},
            }  # fmt: skip
            Path(job["folder"]).mkdir()
            path = Path(folder) / f"{workers}.json"
            path.write_text(json.dumps(job))
            start = time.perf_counter()
            command = [sys.executable, str(ROOT / "tests/inference/stage_work.py"), str(path)]
            subprocess.run(command, check=True, env=os.environ | {"RAY_ADDRESS": address})
            seconds[workers] = time.perf_counter() - start
            print(
                f"| {workers} | {seconds[workers]:.1f} | {REQUESTS * SECONDS / IN_FLIGHT / workers:.1f} |", flush=True
            )
    server.stdin.close()
    ratio = seconds[2] / seconds[1]
    print(f"\nTwo workers: {ratio:.2f} of one's time (at most {AIM}): {'met' if ratio <= AIM else 'NOT MET'}.")


if __name__ == "__main__":
    main()
