"""Only a checkpoint that is proven whole is resumed from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers._lib.checkpoints import MANIFEST, defect, latest_complete, seal

LAYOUT = {"processes": 1}


def checkpoint(folder: Path, step: int, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "sub").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights" * 100)
    (path / "sub" / "state.json").write_text("{}")
    if sealed:
        seal(path, LAYOUT)
    return path


def test_newest_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-final").mkdir()
    found, notes = latest_complete(tmp_path, LAYOUT)
    assert found is not None and found.name == "checkpoint-100" and notes == []


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda p: (p / MANIFEST).unlink(), "not finished"),
        (lambda p: (p / MANIFEST).write_text("{"), "its manifest cannot be read"),
        (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda p: (p / "model.safetensors").write_bytes(b"weights"), "model.safetensors has changed"),
        (lambda p: (p / "model.safetensors").write_bytes(b"wEights" * 100), "model.safetensors has changed"),
    ],
)
def test_damaged_newest_is_set_aside_and_the_older_one_used(tmp_path: Path, damage, fault: str) -> None:
    checkpoint(tmp_path, 10)
    broken = checkpoint(tmp_path, 20)
    damage(broken)
    assert defect(broken) == fault
    found, notes = latest_complete(tmp_path, LAYOUT)
    assert found is not None and found.name == "checkpoint-10"
    assert notes == [f"checkpoint-20 set aside: {fault}"]
    assert (tmp_path / "quarantine" / "checkpoint-20.0").is_dir()
    checkpoint(tmp_path, 20, sealed=False)
    latest_complete(tmp_path, LAYOUT)
    assert (tmp_path / "quarantine" / "checkpoint-20.1").is_dir()


def test_none_is_whole(tmp_path: Path) -> None:
    assert latest_complete(tmp_path, LAYOUT) == (None, [])
    checkpoint(tmp_path, 1, sealed=False)
    found, notes = latest_complete(tmp_path, LAYOUT)
    assert found is None and len(notes) == 1


def test_other_layout_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5)
    with pytest.raises(UsageError, match="trained with processes 1, now it is 2"):
        latest_complete(tmp_path, {"processes": 2})


def test_manifest_lists_every_file(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    assert set(json.loads((path / MANIFEST).read_text())["files"]) == {"model.safetensors", "sub/state.json"}
