"""The embedded hub alone: durable commits a second, large uploads and the server's memory. Absolute figures.

Its peers here are the limits of the machine: one fsync a commit, and hashing plus writing 1 GiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMMITS = 200
GIB = 1 << 30


def main() -> None:
    """Start a hub in a process of its own, then measure through unmodified clients."""
    from hubwright.hub_sync.server.embedded import start_hub_process

    with tempfile.TemporaryDirectory(prefix="hubwright-bench-") as name:
        root = Path(name)
        hub = start_hub_process(root / "hub", 0)
        os.environ.update(hub.env)  # before huggingface_hub is first imported
        try:
            print("\n### Embedded hub\n\n| what | figure |\n|---|---:|")
            print(f"| fsync of 4 kB on this disk | {_fsyncs(root):.0f}/s |")
            print(f"| `HfApi.create_commit`, one after the other | {_commits(1):.0f}/s |")
            print(f"| the same from 8 threads, 8 repositories | {_commits(8):.0f}/s |")
            print(f"| one commit of 10,000 files | {_many_files():.1f} s |")
            data = root / "one.parquet"
            with data.open("wb") as stream:
                for _ in range(64):
                    stream.write(os.urandom(GIB // 64))
            for label, off in (("LFS", "1"), ("Xet", "0")):
                seconds = _upload(data, f"bench/{label.lower()}", off)
                print(f"| 1 GiB up by {label} | {seconds:.1f} s |")
                print(f"| peak RSS of the server so far | {_peak(hub.pid)} MB |")
        finally:
            hub.stop()


def _fsyncs(root: Path) -> float:
    path, started = root / "sync", time.perf_counter()
    with path.open("wb") as stream:
        for _ in range(COMMITS):
            stream.write(b"x" * 4096)
            stream.flush()
            os.fsync(stream.fileno())
    return COMMITS / (time.perf_counter() - started)


def _commits(threads: int) -> float:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()

    def work(i: int) -> None:
        repo_id = f"bench/c{threads}-{i}"
        for n in range(COMMITS // threads):
            operation = CommitOperationAdd("a.txt", f"{i} {n}".encode())
            api.create_commit(repo_id, operations=[operation], commit_message="m")

    for i in range(threads):
        api.create_repo(f"bench/c{threads}-{i}")
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return COMMITS / (time.perf_counter() - started)


def _many_files() -> float:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    api.create_repo("bench/many")
    operations = [CommitOperationAdd(f"d{i // 1000}/{i}.txt", str(i).encode()) for i in range(10_000)]
    started = time.perf_counter()
    api.create_commit("bench/many", operations=operations, commit_message="m")
    return time.perf_counter() - started


def _upload(path: Path, repo_id: str, disable_xet: str) -> float:
    code = (
        "from huggingface_hub import HfApi; import sys, time; a = HfApi(); a.create_repo(sys.argv[2]);"
        "t = time.perf_counter();"
        "a.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='one.parquet', repo_id=sys.argv[2]);"
        "print(time.perf_counter() - t)"
    )
    env = {**os.environ, "HF_HUB_DISABLE_XET": disable_xet, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), repo_id], env=env, capture_output=True, text=True, check=True
    )
    return float(run.stdout)


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
