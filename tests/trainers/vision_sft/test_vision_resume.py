"""Killed at any point and run again, a training on images ends with the same bytes as one that nobody touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_parts import KILLS, cases_of, check, drive
from trainer_parts import make_model
from vision_parts import chats, make_tower, save_rows

SETTINGS: dict[str, tuple[str, dict]] = {
    "all": ("vision_sft", {"trained": "all", "chat_template": "chatml_tools"}),
    "projector": ("vision_sft", {"chat_template": "chatml_tools", "trainer_args": {"dataloader_num_workers": 1}}),
    "lora": ("vision_sft", {"chat_template": "chatml_tools", "lora": {"r": 4, "dropout": 0.1}, "merge_adapter": True}),
}
QUICK_CASES = ["all-three_times", "projector-half_an_optimizer"]
SLOW_CASES = [f"{setting}-{kill}" for setting in SETTINGS for kill in KILLS if f"{setting}-{kill}" not in QUICK_CASES]


def run(folder: Path, names: list[str]) -> dict[str, dict]:
    """Outcome of each case, and of an uninterrupted run of each setting that occurs (NAME-whole)."""
    inputs = {
        "vision_tower": str(make_tower(folder / "tower")),
        "language_model": str(make_model(folder / "model")),
        "dataset": str(save_rows(folder / "data", chats())),
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
