"""GiGPO killed at any point and run again ends with the same bytes as a run that nobody touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from episode_parts import save_episodes, walks
from kill_parts import KILLS, cases_of, check, drive
from trainer_parts import make_model

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("gigpo", {"num_train_epochs": 3, "per_device_eval_batch_size": 4}),
    "lora": (
        "gigpo",
        {"lora": {"r": 4, "dropout": 0.1}, "gradient_accumulation_steps": 2, "length_normalised": False},
    ),
}
CASES = [f"{setting}-{kill}" for setting in SETTINGS for kill in KILLS]


def run(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    inputs = {"model": str(make_model(folder / "model")), "dataset": str(save_episodes(folder / "data", walks()))}
    return drive(folder, inputs, cases_of(names, SETTINGS))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run(tmp_path_factory.mktemp("runs"), CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_final_weights_are_those_of_an_uninterrupted_run(runs: dict[str, dict[str, Any]], name: str) -> None:
    check(runs[name], runs[name.split("-")[0] + "-whole"])
