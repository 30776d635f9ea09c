"""Draws in several processes."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders.call_graphs import CallGraphsConfig, build
from hubwright.builders.call_graphs import draws as module
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.settings import split_speed

SETTINGS: dict[str, Any] = {"train_rows": 25, "seed": 3}


def built(folder: Path, **settings: Any) -> Any:
    """Rows of both splits, counts and tables."""
    context = StepContext("executed", folder, folder)
    rows = build(CallGraphsConfig(**{**SETTINGS, **settings}), context)
    return {split: part.to_list() for split, part in rows.items()}, context.report.counts, context.report.tables


@pytest.mark.parametrize(
    ("settings", "numbers"), [({}, (2, 3)), ({"train_rows": 8, "test_rows": 2, "corrupted_share": 0.5}, (2,))]
)
def test_draws_in_several_processes_give_the_rows_and_counts_of_one(
    tmp_path: Path, settings: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    one = built(tmp_path / "1", **settings)
    for workers in numbers:
        assert built(tmp_path / str(workers), workers=workers, **settings) == one


def test_workers_of_call_graphs_are_no_part_of_the_fingerprint() -> None:
    config = CallGraphsConfig(workers=3)
    assert split_speed(config, config.model_dump(mode="json"))[1] == {"workers": 3}


def _kill_after(monkeypatch: pytest.MonkeyPatch, kills: int) -> list[int]:
    """Kill a worker after every tenth message until so many are killed; returns the list of the killed."""
    killed: list[int] = []
    calls = [0]
    exchange = module.Draws._exchange

    def kill_and_exchange(self: module.Draws, chain: module.Chain) -> None:
        calls[0] += 1
        if calls[0] % 10 == 0 and len(killed) < kills:
            killed.append(next(iter(self._processes.values())).pid)
            os.kill(killed[-1], signal.SIGKILL)
        exchange(self, chain)

    monkeypatch.setattr(module.Draws, "_exchange", kill_and_exchange)
    return killed


def test_killed_worker_is_replaced_and_the_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = built(tmp_path / "1")
    killed = _kill_after(monkeypatch, module.DEATHS - 1)
    assert built(tmp_path / "2", workers=2) == one
    assert len(killed) == module.DEATHS - 1


def test_workers_that_are_killed_again_and_again_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kill_after(monkeypatch, module.DEATHS)
    with pytest.raises(DataError, match=r"3 workers ended .* run again with fewer workers than 2"):
        built(tmp_path, workers=2)
