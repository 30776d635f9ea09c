from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.hub_sync.errors import ConflictError, DataError
from hubwright.hub_sync.files import canonical_json, exclusive_lock, git_blob_sha1, manifest, write_atomic
from hubwright.hub_sync.lock import RecipeLock


def test_git_agrees_on_blob_ids(tmp_path):
    path = tmp_path / "x"
    for content in (b"", b"hello\n", os.urandom(3_000_000)):
        path.write_bytes(content)
        run = subprocess.run(
            ["git", "hash-object", "--no-filters", str(path)], capture_output=True, text=True, check=True
        )
        assert git_blob_sha1(path) == run.stdout.strip()


def test_manifest_is_sorted_and_exact(tmp_path):
    for name in ("b/2", "a", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert manifest(tmp_path, frozenset({"a"})) == [
        {"path": n, "size": 3, "sha256": hashlib.sha256(n.encode()).hexdigest()} for n in ("b/1", "b/2")
    ]


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_canonical_json_ignores_order(value):
    turned = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(turned)


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def _hold(path, ready, done):
    with exclusive_lock(path, "it"):
        ready.set()
        done.wait(30)


def test_lock_names_the_holder_and_dies_with_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "l", ready, done))
    holder.start()
    assert ready.wait(30)
    with (
        pytest.raises(ConflictError, match=f"it is in use by process {holder.pid}"),
        exclusive_lock(tmp_path / "l", "it"),
    ):
        pass
    holder.kill()
    holder.join()
    with exclusive_lock(tmp_path / "l", "it"):
        assert (tmp_path / "l").read_text() == str(os.getpid())


def test_recipe_lock_round_trip_and_damage(tmp_path):
    path = tmp_path / "r.lock"
    lock = RecipeLock(path)
    lock.pin("model a/b@main", "c" * 40)
    lock.record("s", {"commit": "d" * 40})
    again = RecipeLock(path)
    assert (again.inputs, again.steps) == (lock.inputs, lock.steps)
    path.write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        RecipeLock(path)
    path.write_text('{"schema_version": 99, "inputs": {}, "steps": {}}')
    with pytest.raises(DataError, match="schema version 99"):
        RecipeLock(path)


def test_base_import_is_light():
    code = (
        "import sys, hubwright, hubwright.cli;"
        "heavy = {'torch', 'datasets', 'transformers', 'huggingface_hub', 'pydantic', 'yaml', 'lm_eval', 'starlette'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
