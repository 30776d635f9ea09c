"""Pulling: pinned, verified against the hub's hashes, cached, and never poisoned."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubwright.hub_sync.errors import HubError
from hubwright.hub_sync.pull import pull
from hubwright.hub_sync.refs import ArtifactRef

CONTENT = os.urandom(50_000)
WRONG = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]


@pytest.fixture
def ref(api, namespace) -> ArtifactRef:
    repo_id = f"{namespace}/data"
    api.create_repo(repo_id, repo_type="dataset")
    api.upload_file(path_or_fileobj=CONTENT, path_in_repo="a.parquet", repo_id=repo_id, repo_type="dataset")
    api.upload_file(path_or_fileobj=b"text", path_in_repo="b.txt", repo_id=repo_id, repo_type="dataset")
    return ArtifactRef.parse(repo_id, "dataset")


def test_pulls_the_commit(api, ref):
    folder = pull(ref)
    assert (folder / "a.parquet").read_bytes() == CONTENT
    api.upload_file(path_or_fileobj=b"new", path_in_repo="b.txt", repo_id=ref.repo_id, repo_type="dataset")
    old = ArtifactRef("dataset", ref.repo_id, folder.name)
    assert (pull(old) / "b.txt").read_bytes() == b"text"
    assert (pull(ref) / "b.txt").read_bytes() == b"new"


def test_second_pull_looks_at_the_stamp_only(ref, monkeypatch):
    folder = pull(ref)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda **_: pytest.fail("called again"))
    assert pull(ref) == folder
    (folder / "b.txt").unlink()
    with pytest.raises(pytest.fail.Exception):
        pull(ref)


def test_second_pull_needs_no_hub(ref):
    folder = pull(ref)
    code = (
        "from hubwright.hub_sync.pull import pull; from hubwright.hub_sync.refs import ArtifactRef;"
        f"print(pull(ArtifactRef('dataset', {ref.repo_id!r}, {folder.name!r})))"
    )
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.stdout.strip() == str(folder), run.stderr[-1000:]


def test_damaged_cache_is_mended(ref):
    folder = pull(ref)
    blob = (folder / "a.parquet").resolve()
    blob.chmod(0o644)
    blob.write_bytes(WRONG)
    assert (pull(ref) / "a.parquet").read_bytes() == CONTENT


def test_wrong_bytes_from_the_hub_are_refused(hub, ref):
    digest = hashlib.sha256(CONTENT).hexdigest()
    stored = [p for p in (Path(hub.root) / "blobs").rglob(f"*{digest[4:]}*") if p.is_file()]
    assert len(stored) == 1, stored
    stored[0].chmod(0o644)
    stored[0].write_bytes(WRONG)
    with pytest.raises(HubError, match=r"a\.parquet does not have the hash the hub recorded"):
        pull(ref)
    stored[0].write_bytes(CONTENT)
    assert (pull(ref) / "a.parquet").read_bytes() == CONTENT


def test_a_pattern_pulls_and_checks_only_that(ref):
    folder = pull(ref, ["*.txt"])
    assert [p.name for p in folder.iterdir()] == ["b.txt"]
    with pytest.raises(HubError, match=r"has no file \*\.gguf"):
        pull(ref, ["*.gguf"])
    assert (pull(ref) / "a.parquet").read_bytes() == CONTENT  # the stamp of a part does not vouch for the whole
