"""Killed at any point and run again, a training with heads ends with the same bytes as one that nobody touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from eeca_parts import landmarks
from kill_parts import KILLS, cases_of, check, drive
from trainer_parts import make_model
from vision_parts import make_tower, save_rows

COMMON = {"chat_template": "chatml_tools", "latents": 2, "high_resolution": 56, "max_negatives": 2, "keep_heads": True}
SETTINGS: dict[str, tuple[str, dict]] = {
    "projector": ("eeca", COMMON),
    "all": ("eeca", COMMON | {"trained": "all"}),
    "lora": ("eeca", COMMON | {"lora": {"r": 4, "dropout": 0.1}, "merge_adapter": True}),
}
QUICK_CASES = ["projector-three_times"]
SLOW_CASES = [f"{setting}-{kill}" for setting in SETTINGS for kill in KILLS if f"{setting}-{kill}" not in QUICK_CASES]


def run(folder: Path, names: list[str]) -> dict[str, dict]:
    """Outcome of each case, and of an uninterrupted run of each setting that occurs (NAME-whole)."""
    inputs = {
        "vision_tower": str(make_tower(folder / "tower")),
        "language_model": str(make_model(folder / "model")),
        "dataset": str(save_rows(folder / "data", landmarks())),
    }
    return drive(folder, inputs, cases_of(names, SETTINGS))


@pytest.mark.parametrize("name", QUICK_CASES)
def test_final_weights_and_heads_are_those_of_an_uninterrupted_run(tmp_path: Path, name: str) -> None:
    cases = run(tmp_path, [name])
    check(cases[name], cases[name.split("-")[0] + "-whole"])


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return run(tmp_path_factory.mktemp("slow"), SLOW_CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_CASES)
def test_at_every_other_point_too(slow: dict[str, dict], name: str) -> None:
    check(slow[name], slow[name.split("-")[0] + "-whole"])
