"""Running recipes against the embedded hub: skipping, locking, killing, refusing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = """\
name: small
namespace: {namespace}
steps:
  sample:
    uses: fbbench
    with: {{source: sample}}
    publish: {{dataset: fb-sample, tag: v1.0.0}}
  drills:
    uses: feedback_drills
    with: {drills}
    publish: {{dataset: drills, tag: v1.0.0}}
"""
DRILLS = "{train_rows: 64, test_rows: 16, seed: 3}"


@pytest.fixture
def recipe(tmp_path, namespace) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.format(namespace=namespace, drills=DRILLS))
    return path


def steps(run: subprocess.CompletedProcess) -> dict[str, dict]:
    assert run.returncode == 0, run.stderr[-3000:]
    return {s["step"]: s for s in json.loads(run.stdout)["steps"]}


def data_files(api, repo_id: str, revision: str) -> dict[str, str]:
    """Path -> hash of what determines the artifact; cards and provenance hold times."""
    tree = api.list_repo_tree(repo_id, repo_type="dataset", revision=revision, recursive=True)
    skip = {"README.md", "provenance.json", "recipe.yaml", "recipe.lock", ".gitattributes"}
    return {f.path: f.lfs.sha256 if f.lfs else f.blob_id for f in tree if hasattr(f, "blob_id") and f.path not in skip}


def test_run_skip_status_verify(hubwright, hubwright_in_process, api, recipe, namespace, tmp_path):
    dry = steps(hubwright_in_process("run", "small.yaml", "--dry-run", "--format", "json"))
    assert {s["state"] for s in dry.values()} == {"pending"}
    assert not (tmp_path / "small.lock").exists()
    first = steps(hubwright("run", "small.yaml", "--format", "json"))
    assert {s["state"] for s in first.values()} == {"published"}
    again = steps(hubwright_in_process("run", "small.yaml", "--format", "json"))
    assert {s["state"] for s in again.values()} == {"skipped"}
    assert {n: s["commit"] for n, s in again.items()} == {n: s["commit"] for n, s in first.items()}
    status = steps(hubwright_in_process("status", "small.yaml", "--format", "json"))
    assert {n: s["commit"] for n, s in status.items()} == {n: s["commit"] for n, s in first.items()}
    lock = json.loads((tmp_path / "small.lock").read_text())
    assert lock["steps"]["drills"]["commit"] == first["drills"]["commit"]
    for name in ("fb-sample", "drills"):
        assert len(api.list_repo_commits(f"{namespace}/{name}", repo_type="dataset")) == 2
        checked = hubwright_in_process("verify", f"datasets/{namespace}/{name}@v1.0.0", "--format", "json")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert all(c["ok"] for c in json.loads(checked.stdout)["checks"])


def test_another_machine_finds_the_finished_steps(hubwright_in_process, recipe, tmp_path):
    first = steps(hubwright_in_process("run", "small.yaml", "--format", "json"))
    (tmp_path / "small.lock").unlink()
    again = steps(hubwright_in_process("run", "small.yaml", "--runs", "elsewhere", "--format", "json"))
    assert {s["state"] for s in again.values()} == {"skipped"}
    assert {n: s["commit"] for n, s in again.items()} == {n: s["commit"] for n, s in first.items()}


def test_only_and_changed_settings(hubwright_in_process, recipe):
    only = steps(hubwright_in_process("run", "small.yaml", "--only", "drills", "--format", "json"))
    assert (only["drills"]["state"], only["sample"]["state"]) == ("published", "pending")
    changed = hubwright_in_process("run", "small.yaml", "--only", "drills", "--set", "steps.drills.with.seed=4")
    assert changed.returncode == 5
    assert "tag v1.0.0 already names commit" in changed.stderr and "raise the version" in changed.stderr
    raised = ["--set", "steps.drills.with.seed=4", "--set", "steps.drills.publish.tag=v1.1.0"]
    again = steps(hubwright_in_process("run", "small.yaml", "--only", "drills", *raised, "--format", "json"))
    assert again["drills"]["tag"] == "v1.1.0"
    unknown = hubwright_in_process("run", "small.yaml", "--only", "drill")
    assert unknown.returncode == 2 and "no such step" in unknown.stderr


def test_verify_finds_a_changed_figure(hubwright_in_process, api, recipe, namespace):
    steps(hubwright_in_process("run", "small.yaml", "--only", "drills", "--format", "json"))
    repo_id = f"{namespace}/drills"
    path = Path(api.hf_hub_download(repo_id, "README.md", repo_type="dataset"))
    text = path.read_text()
    assert "64" in text
    api.upload_file(
        path_or_fileobj=text.replace("64", "65", 1).encode(),
        path_in_repo="README.md",
        repo_id=repo_id,
        repo_type="dataset",
    )
    checked = hubwright_in_process("verify", f"datasets/{repo_id}", "--format", "json")
    assert checked.returncode == 3
    failed = [c for c in json.loads(checked.stdout)["checks"] if c["ok"] is False]
    assert "README.md differs from line" in " ".join(c["detail"] for c in failed)


def test_verify_with_a_file_that_no_record_names_fails(hubwright_in_process, api, recipe, namespace):
    steps(hubwright_in_process("run", "small.yaml", "--only", "drills", "--format", "json"))
    repo_id = f"{namespace}/drills"
    good = json.loads(hubwright_in_process("verify", f"datasets/{repo_id}", "--format", "json").stdout)["checks"]
    assert all(check["ok"] for check in good)
    api.upload_file(path_or_fileobj=b"x", path_in_repo="data/more.txt", repo_id=repo_id, repo_type="dataset")
    checked = hubwright_in_process("verify", f"datasets/{repo_id}", "--format", "json")
    assert checked.returncode == 3
    failed = {c["name"]: c["detail"] for c in json.loads(checked.stdout)["checks"] if c["ok"] is False}
    assert failed["files match provenance.json"] == "data/more.txt is in the repository and in no record"


def test_second_run_of_a_recipe_waits_its_turn(hubwright_in_process, recipe, tmp_path):
    command = [sys.executable, "-m", "hubwright", "run", "small.yaml"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lock = tmp_path / "runs" / "small" / ".lock"
        deadline = time.monotonic() + 60
        while not (lock.exists() and lock.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGSTOP)
        second = hubwright_in_process("run", "small.yaml")
        assert second.returncode == 5
        assert f"in use by process {first.pid}" in second.stderr
    finally:
        os.kill(first.pid, signal.SIGCONT)
        first.communicate(timeout=120)
    assert first.returncode == 0


def check_kills(hubwright, hubwright_in_process, api, namespace, tmp_path, kills):
    """Kill a fresh run at a random moment, let it end, compare with a run left alone; `kills` times."""
    clock = random.Random(kills)

    def recipe_for(name: str) -> list[str]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "small.yaml").write_text(RECIPE.format(namespace=f"{namespace}-{name}", drills=DRILLS))
        return ["run", f"{name}/small.yaml", "--runs", f"{name}/runs", "--format", "json"]

    started = time.monotonic()
    alone = steps(hubwright(*recipe_for("alone")))
    whole = time.monotonic() - started
    hits = tries = 0
    while hits < kills:
        assert tries < 4 * kills, f"only {hits} of {tries} kills hit a running process"
        run = f"k{tries}"
        command = recipe_for(run)
        process = subprocess.Popen(
            [sys.executable, "-m", "hubwright", *command], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        # A random moment of each k-th part of the run, so that no part of it is left out; a run that ended before its
        # moment does not count and is tried again.
        time.sleep(whole * (hits + clock.random()) / kills)
        tries += 1
        process.kill()
        if process.wait() != -signal.SIGKILL:
            whole *= 0.9  # this machine is faster now than when the run left alone was timed
            continue
        hits += 1
        for name in ("fb-sample", "drills"):
            repo_id = f"{namespace}-{run}/{name}"
            if api.repo_exists(repo_id, repo_type="dataset"):
                files = set(api.list_repo_files(repo_id, repo_type="dataset"))
                complete = {"README.md", "provenance.json"} <= files and any(f.endswith(".parquet") for f in files)
                assert files <= {".gitattributes"} or complete, f"main is half-written: {files}"
        for name, step in steps(hubwright_in_process(*command)).items():
            repo_id = step["repo_id"]
            assert len(api.list_repo_commits(repo_id, repo_type="dataset")) == 2
            expected = data_files(api, alone[name]["repo_id"], alone[name]["commit"])
            assert data_files(api, repo_id, step["commit"]) == expected
            tags = {t.name: t.target_commit for t in api.list_repo_refs(repo_id, repo_type="dataset").tags}
            assert tags == {"v1.0.0": step["commit"]}


def test_killed_run_continues(hubwright, hubwright_in_process, api, namespace, tmp_path):
    check_kills(hubwright, hubwright_in_process, api, namespace, tmp_path, kills=2)


@pytest.mark.slow
def test_killed_ten_times(hubwright, hubwright_in_process, api, namespace, tmp_path):
    check_kills(hubwright, hubwright_in_process, api, namespace, tmp_path, kills=10)


def test_damaged_output_is_made_again(hubwright_in_process, api, recipe, namespace, tmp_path):
    steps(hubwright_in_process("run", "small.yaml", "--only", "drills", "--keep-work", "--format", "json"))
    api.delete_repo(f"{namespace}/drills", repo_type="dataset")
    path = next((tmp_path / "runs" / "small").glob("drills-*/output/data/*.parquet"))
    path.write_bytes(path.read_bytes()[:-10])
    again = steps(hubwright_in_process("run", "small.yaml", "--only", "drills", "--format", "json"))
    assert again["drills"]["state"] == "published"
    checked = hubwright_in_process("verify", f"datasets/{namespace}/drills@v1.0.0")
    assert checked.returncode == 0, checked.stdout


BAD_SOURCES = {
    "no such file": (None, 2, "is not a file here"),
    "not JSON": ("{", 3, "JSON"),
    "empty list": ("[]", 3, ""),
    "not a list": ('{"a": 1}', 3, ""),
    "unknown field": ('[{"bench": 1}]', 3, ""),
    "binary": (b"\x00\xff\xfe", 3, ""),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_source_publishes_nothing(hubwright_in_process, api, tmp_path, namespace, name):
    content, code, said = BAD_SOURCES[name]
    source = tmp_path / "rows.json"
    if content is not None:
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
    text = RECIPE.format(namespace=namespace, drills=DRILLS).replace("source: sample", "source: ./rows.json")
    (tmp_path / "small.yaml").write_text(text)
    run = hubwright_in_process("run", "small.yaml", "--only", "sample", "--format", "json")
    assert run.returncode == code, run.stderr[-2000:]
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("hubwright: ") and said in lines[0], run.stderr
    assert not api.repo_exists(f"{namespace}/fb-sample", repo_type="dataset")


def test_a_split_that_nobody_could_load_is_not_written(tmp_path):
    from datasets import Dataset

    from hubwright.hub_sync.errors import DataError
    from hubwright.making import write_dataset

    rows = Dataset.from_dict({"a": [1]})
    write_dataset({"tools": {"train": rows}}, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.parquet")] == ["train-00000-of-00001.parquet"]
    with pytest.raises(DataError, match="split 'all' of 'tools' cannot be loaded by name: call it train"):
        write_dataset({"tools": {"all": rows}}, tmp_path)


def test_unreachable_hub_is_one_line(hubwright, recipe):
    run = hubwright("run", "small.yaml", "--format", "json", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert run.returncode == 4
    assert "cannot be reached" in run.stderr and run.stderr.count("\n") == 1


def test_unfinished_work_with_other_settings_is_not_passed_over(hubwright_in_process, recipe, tmp_path):
    command = [sys.executable, "-m", "hubwright", "run", "small.yaml", "--only", "drills"]
    slow = ["--set", "steps.drills.with.train_rows=200000"]
    process = subprocess.Popen([*command, *slow], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    runs = tmp_path / "runs" / "small"
    deadline = time.monotonic() + 60
    while not list(runs.glob("drills-*/step.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    (begun,) = runs.glob("drills-*")
    assert not (begun / "done.json").exists()
    (begun / "work").mkdir(exist_ok=True)
    (begun / "work" / "shard").touch()  # something to go on with
    refused = hubwright_in_process("run", "small.yaml", "--only", "drills")
    assert refused.returncode == 2
    assert "with.train_rows was 200000, now 64" in refused.stderr and "--fresh" in refused.stderr
    assert refused.stderr.strip().splitlines()[-1].startswith("hubwright: step drills has unfinished work")
    assert list(runs.glob("drills-*")) == [begun]
    fresh = hubwright_in_process("run", "small.yaml", "--only", "drills", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert f"set aside {Path('runs/small') / begun.name}" in fresh.stderr
    assert (begun / "step.json").exists() and (begun / "set-aside").exists()
    again = steps(hubwright_in_process("run", "small.yaml", "--only", "drills", "--keep-work", "--format", "json"))
    assert again["drills"]["state"] == "skipped"
    assert list(runs.glob("drills-*")) == [begun]  # what was published left nothing
    (runs / "recording").mkdir(exist_ok=True)
    listed = json.loads(hubwright_in_process("clean", "small.yaml", "--dry-run", "--format", "json").stdout)
    assert [(f["state"], f["folder"]) for f in listed["folders"]] == [("set aside", f"runs/small/{begun.name}")]
    (begun / "set-aside").unlink()
    assert hubwright_in_process("clean", "small.yaml").stdout == "freed 0.0 MB\n"
    assert begun.exists(), "unfinished work stays"
    assert "unfinished" in hubwright_in_process("clean", "small.yaml", "--all").stdout
    assert not begun.exists() and (runs / "recording").exists()


def test_work_of_a_published_step_is_removed_unless_it_is_to_be_kept(hubwright_in_process, recipe, tmp_path):
    runs = tmp_path / "runs" / "small"
    command = ("run", "small.yaml", "--only", "drills", "--format", "json")
    assert steps(hubwright_in_process(*command, "--keep-work"))["drills"]["state"] == "published"
    (kept,) = runs.glob("drills-*")
    listed = json.loads(hubwright_in_process("clean", "small.yaml", "--dry-run", "--format", "json").stdout)
    assert listed["folders"][0]["state"] == "published" and listed["folders"][0]["bytes"] > 1000
    # As if killed between publishing and tidying: the next run finds the published commit, and tidies.
    assert steps(hubwright_in_process(*command))["drills"]["state"] == "skipped"
    assert not kept.exists()


def test_run_with_a_forbidden_licence_is_refused_before_any_step_works(
    hubwright_in_process, hub, api, namespace, tmp_path
):
    """The conflict is in the last step's input, two steps after the first that would work."""
    from huggingface_hub.utils import get_session

    for name, head in {"nd": "license: CC BY-ND 4.0", "broken": "license: [mit"}.items():
        repo = api.create_repo(f"{namespace}/{name}", repo_type="dataset").repo_id
        files = {"README.md": f"---\n{head}\n---\n", "data/train.jsonl": '{"messages": []}\n'}
        lines = [{"key": "header", "value": {"summary": "m"}}]  # the client would refuse a broken card itself
        lines += [{"key": "file", "value": {"path": p, "content": t, "encoding": "utf-8"}} for p, t in files.items()]
        get_session().post(
            f"{api.endpoint}/api/datasets/{repo}/commit/main",
            content="".join(json.dumps(line) + "\n" for line in lines),
            headers={"Authorization": f"Bearer {hub.token}"},
        ).raise_for_status()
    text = """\
name: chain
namespace: {namespace}
steps:
  drills:
    uses: feedback_drills
    with: {drills}
    publish: {{dataset: drills}}
  mixed:
    uses: mix
    inputs: {{part_a: steps.drills, part_b: {namespace}/{name}}}
    publish: {{dataset: mixed}}
"""
    for name, reason in {"nd": "cc-by-nd-4.0 allows no derivatives", "broken": "README.md cannot be read"}.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.format(namespace=namespace, drills=DRILLS, name=name))
        done = hubwright_in_process("run", str(path))
        assert done.returncode == 3 and len(done.stderr.strip().splitlines()) == 3, done.stderr
        assert "step mixed: " in done.stderr and f"part_b {namespace}/{name}" in done.stderr and reason in done.stderr
        assert not api.repo_exists(f"{namespace}/drills", repo_type="dataset"), "a step worked before the refusal"


def test_clean_of_a_recipe_without_a_namespace_asks_no_hub(hubwright, tmp_path):
    text = RECIPE.replace("namespace: {namespace}\n", "").format(drills=DRILLS)
    (tmp_path / "small.yaml").write_text(text)
    (tmp_path / "runs" / "small" / f"drills-{'0' * 16}" / "work").mkdir(parents=True)
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": ""}  # nobody listens there
    listed = hubwright("clean", "small.yaml", "--all", "--dry-run", "--format", "json", env=env)
    assert listed.returncode == 0, listed.stderr
    assert [one["state"] for one in json.loads(listed.stdout)["folders"]] == ["unfinished"]
    assert hubwright("run", "small.yaml", "--dry-run", env=env).returncode == 2  # this needs the namespace
