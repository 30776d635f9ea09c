"""Killed at any point and run again, discriminator and policy end with the same bytes, whatever is still buffered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kill_parts import KILLS, cases_of, check, drive
from trainer_parts import context, make_model
from walk_parts import STEP, pairs, save, steps

from hubwright.trainers.stepagent import DiscriminatorConfig, discriminator

DRAWN: dict[str, Any] = {"max_length": 256, "num_generations": 2, "per_device_train_batch_size": 4,
                         "max_completion_length": 12, "lr_scheduler_type": "constant"}  # fmt: skip
# Four states: a pass is two draws of two states in the first settings, and four of one in the others.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "discriminator": ("discriminator", {"max_length": 256, "eval_share": 0.3, "eval_steps": 2, "gradient_penalty": 0.1}),
    "adapter": ("discriminator", {"max_length": 256, "lora": {"r": 2, "dropout": 0.1}, "merge_adapter": True}),
    "grpo": ("inverse", DRAWN),
    "rloo": ("inverse", DRAWN | {"algorithm": "rloo", "num_generations": 4, "num_iterations": 2, "max_steps": 12,
                                 "save_steps": 4}),
    "grpolora": ("inverse", DRAWN | {"num_generations": 4, "lora": {"r": 2}, "num_iterations": 2,
                                     "gradient_accumulation_steps": 2}),
    "rlootwo": ("inverse", DRAWN | {"algorithm": "rloo"}),
}  # fmt: skip
QUICK_CASES = ["discriminator-three_times", "grpo-three_times", "rloo-sigterm"]
SLOW_CASES = [f"{setting}-{kill}" for setting in SETTINGS for kill in KILLS if f"{setting}-{kill}" not in QUICK_CASES]


def run_all(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    model, data = make_model(folder / "model"), save(folder / "data", steps=steps(2, 2), pairs=pairs())
    made = context(folder, {"model": model, "dataset": data}, "discriminator")
    discriminator.train(DiscriminatorConfig(**STEP), made)
    inputs = {"model": str(model), "dataset": str(data), "discriminator": str(made.output)}
    return drive(folder, inputs, cases_of(names, SETTINGS))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run_all(tmp_path_factory.mktemp("quick"), QUICK_CASES)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run_all(tmp_path_factory.mktemp("slow"), SLOW_CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK_CASES)
def test_final_weights_are_those_of_an_uninterrupted_run(quick: dict[str, dict[str, Any]], name: str) -> None:
    check(quick[name], quick[name.split("-")[0] + "-whole"])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_CASES)
def test_at_every_other_point_too(slow: dict[str, dict[str, Any]], name: str) -> None:
    check(slow[name], slow[name.split("-")[0] + "-whole"])


@pytest.mark.slow
def test_stop_on_request_waits_until_no_completion_is_buffered(quick: dict[str, dict[str, Any]]) -> None:
    """SIGTERM comes in the third step, the second of whose completions are used in the fourth."""
    assert quick["rloo-sigterm"]["codes"] == [130, 0] and quick["rloo-sigterm"]["quarantine"] == []
