"""The server as a process: its lock, its environment lines, and what survives kill -9."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hubwright.hub_sync.errors import ConflictError, StorageError, UsageError
from hubwright.hub_sync.files import sha256_file
from hubwright.hub_sync.server import EmbeddedHub, env_of_root, serve, start_hub_process


def hub_command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "hubwright", "hub", *arguments], capture_output=True, text=True, cwd=cwd, timeout=60
    )


def test_one_server_per_root(tmp_path):
    with start_hub_process(tmp_path / "h") as hub:
        with pytest.raises(ConflictError, match=f"pid {hub.pid}"), EmbeddedHub(tmp_path / "h"):
            pass
        second = hub_command("serve", "--root", str(tmp_path / "h"), "--port", "0")
        assert second.returncode == 5 and str(hub.pid) in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
    with EmbeddedHub(tmp_path / "h"):
        pass


def test_a_taken_port_is_said_in_one_line(tmp_path, server):
    port = int(server.endpoint.rpartition(":")[2])
    with pytest.raises(ConflictError, match="another --port"), EmbeddedHub(tmp_path / "h", port):
        pass


def test_a_root_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="--root"), EmbeddedHub(tmp_path / "file"):
        pass


def test_other_machines_are_let_in_only_on_request(tmp_path):
    with pytest.raises(UsageError, match="clear"):
        serve(tmp_path / "h", 0, "0.0.0.0")
    assert not (tmp_path / "h").exists()


def test_the_environment_is_known_before_and_after_the_start(tmp_path):
    before = env_of_root(tmp_path / "h", 4711)
    token_file = tmp_path / "h" / "token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600 and before["HF_TOKEN"] == token_file.read_text().strip()
    assert before["HF_ENDPOINT"] == "http://127.0.0.1:4711" and before["HF_HUB_DISABLE_XET"] == "1"
    with start_hub_process(tmp_path / "h") as hub:
        assert HfApi(endpoint=hub.endpoint, token=before["HF_TOKEN"]).whoami()["name"] == "local"
        port = hub.endpoint.rpartition(":")[2]
        lines = hub_command("env", "--root", str(tmp_path / "h"), "--port", port).stdout
        shell = subprocess.run(["sh", "-c", f"{lines}\nenv"], capture_output=True, text=True).stdout
        for key, value in hub.env.items():
            assert f"{key}={value}" in shell.splitlines()
    token_file.unlink()
    assert env_of_root(tmp_path / "h", 1)["HF_TOKEN"] != before["HF_TOKEN"]


def test_env_names_the_port_that_is_served_and_refuses_another_servers(tmp_path):
    with start_hub_process(tmp_path / "h") as hub:
        port = int(hub.endpoint.rpartition(":")[2])
        assert f"HF_ENDPOINT={hub.endpoint}\n" in hub_command("env", "--root", str(tmp_path / "h")).stdout
        wrong = hub_command("env", "--root", str(tmp_path / "h"), "--port", "1")
        assert wrong.returncode == 2 and f"is served at {hub.endpoint}, not at port 1" in wrong.stderr
        other = hub_command("env", "--root", str(tmp_path / "other"), "--port", str(port))
        assert other.returncode == 2 and f"port {port} belongs to another server" in other.stderr
        assert "export" not in wrong.stdout + other.stdout


def test_status_says_what_is_there(tmp_path):
    root = str(tmp_path / "h")
    assert hub_command("status", "--root", root).returncode == 4
    with start_hub_process(tmp_path / "h") as hub:
        HfApi(endpoint=hub.endpoint, token=hub.token).create_repo("acme/x", private=True)
        out = hub_command("status", "--root", root).stdout
        assert hub.endpoint in out and str(hub.pid) in out and "1 models" in out


def test_seeds_are_listed_without_a_hub(tmp_path):
    done = hub_command("seed", "--list", cwd=tmp_path)
    assert done.returncode == 0 and "HuggingFaceTB/SmolLM2-135M-Instruct" in done.stdout
    assert hub_command("seed", "no-such-seed", "--root", str(tmp_path / "h")).returncode == 2


def test_importing_the_server_loads_nothing_heavy():
    code = """
import sys, hubwright.hub_sync.server as s
s.EmbeddedHub
import hubwright.hub_sync.server.seed, hubwright.cli.hub
heavy = {"torch", "transformers", "datasets", "pyarrow", "huggingface_hub", "pandas"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_keys_in_the_log(tmp_path):
    command = [sys.executable, "-m", "hubwright", "hub", "serve", "--root", str(tmp_path / "h"), "--port", "0", "-v"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[1]
            assert [process.stdout.readline().split()[0] for _ in range(2)] == ["root", "token"]
            assert 'eval "$(hubwright hub env' in process.stdout.readline()
            token = (tmp_path / "h" / "token").read_text().strip()
            api = HfApi(endpoint=url, token=token)
            api.create_repo("acme/x")
            api.upload_file(path_or_fileobj=os.urandom(3000), path_in_repo="w.bin", repo_id="acme/x")
        finally:
            process.terminate()
        log = process.stderr.read()
    assert "POST /api/models/acme/x/commit/main 200" in log and "PUT /_lfs/put/... 200" in log
    assert token not in log and "Traceback" not in log and process.returncode == 0


def test_leftovers_of_a_crash_are_swept(tmp_path):
    with EmbeddedHub(tmp_path / "h"):
        pass
    (tmp_path / "h" / "tmp" / "in-dead").write_bytes(b"half")
    with EmbeddedHub(tmp_path / "h"):
        assert list((tmp_path / "h" / "tmp").iterdir()) == []


def kill_under_load(root: Path, kills: int, commits: int) -> int:
    """Four writers commit small and large files while the server is killed; return the number of commits checked.

    The server is killed whenever so many more commits were acknowledged, a little later each time, so that each kill
    falls into the work however fast the machine is.
    """
    acknowledged: list[tuple[str, str, bytes]] = []
    lock, stop = threading.Lock(), threading.Event()
    hub = start_hub_process(root)
    port = int(hub.endpoint.rpartition(":")[2])
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for writer in range(4):
        api.create_repo(f"acme/w{writer}")

    def work(writer: int) -> None:
        mine = HfApi(endpoint=hub.endpoint, token=hub.token)
        number = 0
        while not stop.is_set():
            number += 1
            data = os.urandom(11 << 20 if number % 5 == 0 else 2000)
            path = f"{number}.{'bin' if number % 2 else 'txt'}"
            try:
                info = mine.create_commit(
                    f"acme/w{writer}", [CommitOperationAdd(path, data)], commit_message=f"commit {number}"
                )
            except Exception:
                time.sleep(0.05)
                continue
            with lock:
                acknowledged.append((f"acme/w{writer}", info.oid, hash_of(path, data)))

    def hash_of(path: str, data: bytes) -> bytes:
        import hashlib

        return f"{path} {hashlib.sha256(data).hexdigest()}".encode()

    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    try:
        for round_ in range(kills):
            wait_for(lambda: len(acknowledged), commits * (round_ + 1))
            time.sleep(0.01 * (round_ % 5))
            hub.kill()
            hub = start_hub_process(root, port)
        wait_for(lambda: len(acknowledged), commits * (kills + 1))
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    hub.kill()
    check_after_kills(root, acknowledged)
    return len(acknowledged)


def wait_for(count: Callable[[], int], enough: int) -> None:
    deadline = time.monotonic() + 240
    while count() < enough:
        assert time.monotonic() < deadline, f"{count()} of {enough}"
        time.sleep(0.005)


def check_after_kills(root: Path, acknowledged: list[tuple[str, str, bytes]]) -> None:
    """Every acknowledged commit is there with its file; the database and every blob are whole."""
    with sqlite3.connect(root / "hub.sqlite3") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    for path in (root / "blobs").rglob("*"):
        if path.is_file():
            assert sha256_file(path) == path.name
    with EmbeddedHub(root) as hub:
        store = hub.state.store
        for row in store.db.execute("SELECT sha256, size FROM blobs").fetchall():
            assert hub.state.blobs.size(row["sha256"]) == row["size"]
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        histories = {
            repo: {c.commit_id for c in api.list_repo_commits(repo)} for repo in {r for r, _, _ in acknowledged}
        }
        for repo, oid, expected in acknowledged:
            assert oid in histories[repo], f"{repo} lost {oid}"
            path, sha = expected.decode().split()
            (info,) = api.get_paths_info(repo, path, revision=oid)
            if info.lfs:
                assert info.lfs.sha256 == sha
        assert list((root / "tmp").iterdir()) == []


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    assert kill_under_load(tmp_path / "h", kills=3, commits=5) >= 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_again_and_again(tmp_path):
    count = kill_under_load(tmp_path / "h", kills=20, commits=10)
    print(f"{count} acknowledged commits, none lost")
    assert count >= 210
