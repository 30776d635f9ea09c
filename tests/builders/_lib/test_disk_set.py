"""A set on disk is a set, and takes little memory."""

from __future__ import annotations

import random
from pathlib import Path

from hubwright.builders._lib.disk_set import DiskSet


def test_a_disk_set_answers_as_a_set_does(tmp_path: Path) -> None:
    rng, expected, keys = random.Random(0), set(), DiskSet(tmp_path / "new" / "keys", slots=4)
    for _ in range(20_000):
        key = f"{rng.randrange(8000)}\ud800"  # half a surrogate pair is a key too
        assert keys.add(key) == (key not in expected)
        expected.add(key)
    assert len(keys) == len(expected)
    assert all((f"{n}\ud800" in keys) == (f"{n}\ud800" in expected) for n in range(8000))


def test_a_new_set_in_an_old_file_is_empty(tmp_path: Path) -> None:
    assert DiskSet(tmp_path / "keys").add("a")
    assert DiskSet(tmp_path / "keys").add("a")
