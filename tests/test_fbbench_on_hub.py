"""FB-Bench from the authors' file to a hub, read back by processes that know nothing but HF_ENDPOINT."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

READ = """
import sys
from datasets import load_dataset
repo_id = sys.argv[1]
rows = load_dataset(repo_id, revision="v1.0.0")["test"]
kinds = {name: str(kind) for name, kind in rows.features.items()}
assert kinds["messages"] == "List({'role': Value('string'), 'content': Value('string')})", kinds["messages"]
assert "'weight': Value('float64')" in kinds["checklist"] and kinds["any_of"] == "Value('bool')", kinds
streamed = load_dataset(repo_id, revision="v1.0.0", streaming=True, split="test")
print(len(rows), len({row["id"] for row in rows}), sum(1 for _ in streamed))
"""


@pytest.fixture
def source(shared_data) -> str:
    found = sorted(shared_data.rglob("fb_bench_dataset_v3.json"))
    if not found:
        pytest.skip("the authors' file is not here")
    return str(found[0])


def anonymous(tmp_path, repo_id: str) -> subprocess.CompletedProcess:
    """Read `repo_id` in a process with HF_ENDPOINT and a home of its own, and no token."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_ENDPOINT": os.environ["HF_ENDPOINT"], "HF_HOME": str(tmp_path / "home")}
    return subprocess.run([sys.executable, "-c", READ, repo_id], env=env, capture_output=True, text=True)


def test_591_typed_rows(hubwright_in_process, source, namespace, tmp_path):
    settings = ["--set", f"steps.fb_bench.with.source={source}", "--set", f"namespace={namespace}"]
    run = hubwright_in_process("run", "fbbench", *settings)
    assert run.returncode == 0, run.stderr[-2000:]
    read = anonymous(tmp_path, f"{namespace}/fb-bench")
    assert read.stdout.split() == ["591", "591", "591"], read.stderr[-2000:]
    checked = hubwright_in_process("verify", f"datasets/{namespace}/fb-bench@v1.0.0")
    assert checked.returncode == 0, checked.stdout


def test_private_is_refused_without_a_token(hubwright_in_process, source, namespace, tmp_path):
    settings = ["--set", f"steps.fb_bench.with.source={source}", "--set", f"namespace={namespace}"]
    run = hubwright_in_process("run", "fbbench", *settings, "--set", "steps.fb_bench.publish.private=true")
    assert run.returncode == 0, run.stderr[-2000:]
    read = anonymous(tmp_path, f"{namespace}/fb-bench")
    assert read.returncode != 0 and "591" not in read.stdout
    assert "DatasetNotFoundError" in read.stderr, read.stderr[-2000:]


def test_unlicensed_rows_need_a_reason(hubwright_in_process, api, source, namespace):
    settings = ["--set", f"steps.fb_bench.with.source={source}", "--set", f"namespace={namespace}"]
    run = hubwright_in_process("run", "fbbench", *settings, "--set", "steps.fb_bench.publish.accept_unlicensed=null")
    assert run.returncode == 3 and "states no licence" in run.stderr, run.stderr[-2000:]
    assert not api.repo_exists(f"{namespace}/fb-bench", repo_type="dataset")
