"""Killed at any point and run again, a dual encoder ends with the same bytes as one that nobody touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_parts import KILLS, cases_of, check, drive
from vision_parts import captioned, make_text_tower, make_tower, save_rows

PAIRS = {"max_length": 16, "per_device_train_batch_size": 4}
SETTINGS: dict[str, tuple[str, dict]] = {
    "projections": ("dual_encoder", PAIRS),
    "all": ("dual_encoder", PAIRS | {"trained": "all"}),
}
QUICK_CASES = ["projections-three_times", "all-before_the_manifest"]
SLOW_CASES = [f"{setting}-{kill}" for setting in SETTINGS for kill in KILLS if f"{setting}-{kill}" not in QUICK_CASES]


def run(folder: Path, names: list[str]) -> dict[str, dict]:
    """Outcome of each case, and of an uninterrupted run of each setting that occurs (NAME-whole)."""
    inputs = {
        "vision_tower": str(make_tower(folder / "tower")),
        "text_tower": str(make_text_tower(folder / "text")),
        "dataset": str(save_rows(folder / "data", captioned(2))),
    }
    return drive(folder, inputs, cases_of(names, SETTINGS))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return run(tmp_path_factory.mktemp("quick"), QUICK_CASES)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return run(tmp_path_factory.mktemp("slow"), SLOW_CASES)


@pytest.mark.parametrize("name", QUICK_CASES)
def test_final_weights_are_those_of_an_uninterrupted_run(quick: dict[str, dict], name: str) -> None:
    check(quick[name], quick[name.split("-")[0] + "-whole"])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_CASES)
def test_at_every_other_point_too(slow: dict[str, dict], name: str) -> None:
    check(slow[name], slow[name.split("-")[0] + "-whole"])
