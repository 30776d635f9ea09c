"""Shards of a model's work: the same whatever the workers, resumed, and with errors in one line."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from shard_work import Doubler, refuse

from hubwright.hub_sync.errors import DataError
from hubwright.inference.model_shards import shards_of


def run(folder: Path, log: Path, count: int = 10, **options: Any) -> list[Any]:
    rest = {key: options.pop(key) for key in ("fail", "end") if key in options}
    return list(shards_of(partial(Doubler, log, **rest), range(count), {"a": 1}, folder, 4, **options))


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_those_of_all_requests_in_order(tmp_path: Path, workers: int) -> None:
    rows = run(tmp_path / "work", tmp_path / "log", workers=workers)
    assert rows == [{"n": 2 * n} for n in range(10)]
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "4", "8"]


def test_what_is_finished_is_not_done_again_and_no_worker_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no number 8"):
        run(tmp_path / "work", tmp_path / "log", fail=8)
    assert run(tmp_path / "work", tmp_path / "log", fail=None) == [{"n": 2 * n} for n in range(10)]
    assert (tmp_path / "log").read_text().split() == ["0", "4", "8", "8"]
    (tmp_path / "log").unlink()
    run(tmp_path / "work", tmp_path / "log", workers=2)
    assert not (tmp_path / "log").exists()


def test_a_worker_that_fails_says_so_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no number 4"):
        run(tmp_path / "work", tmp_path / "log", workers=2, fail=4)


def test_a_worker_that_cannot_be_made_says_so_in_its_own_words(tmp_path: Path) -> None:
    for workers in (1, 2):
        with pytest.raises(DataError, match="no model"):
            list(shards_of(refuse, range(9), {}, tmp_path / str(workers), 4, workers=workers))


def test_a_process_that_ends_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a worker's process ended"):
        run(tmp_path / "work", tmp_path / "log", workers=2, end=8)
    assert run(tmp_path / "work", tmp_path / "log") == [{"n": 2 * n} for n in range(10)]


def test_a_damaged_shard_is_made_again(tmp_path: Path) -> None:
    rows = run(tmp_path / "work", tmp_path / "log")
    path = sorted((tmp_path / "work" / "shards").iterdir())[1]
    os.truncate(path, path.stat().st_size - 3)
    assert run(tmp_path / "work", tmp_path / "log") == rows
    assert (tmp_path / "log").read_text().split() == ["0", "4", "8", "4"]


def test_nothing_to_do_is_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "work", tmp_path / "log", count=0, workers=2) == []
