"""Killed at any point and run again, a training ends with the same bytes as one that nobody touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_parts import KILLS, cases_of, check, drive
from trainer_parts import make_model, save_drills

SETTINGS: dict[str, tuple[str, dict]] = {
    "sft": ("sft", {}),
    "dpo": ("dpo", {}),
    "lora": ("sft", {"lora": {"r": 4, "dropout": 0.1}}),
    # A step too many after a kill at the very end changes nothing where the rate has fallen to 0, but here it would.
    "constant": ("sft", {"lr_scheduler_type": "constant"}),
    "args": ("sft", {"trainer_args": {"optim": "adafactor", "neftune_noise_alpha": 5, "dataloader_num_workers": 1}}),
    "packed": ("sft", {"packing": True, "max_length": 400}),
    # The second pass is begun within 6 steps of 4 rows.
    "stream": ("sft", {"streaming": True, "shuffle_block": 7, "gradient_accumulation_steps": 3}),
}
QUICK_CASES = [
    "sft-half_an_optimizer", "sft-before_the_manifest", "sft-three_times", "sft-sigterm", "dpo-before_the_first_checkpoint",
    "constant-while_publishing", "stream-three_times",
]  # fmt: skip
SLOW_CASES = [f"{setting}-{kill}" for setting in SETTINGS for kill in KILLS if f"{setting}-{kill}" not in QUICK_CASES]


def run(folder: Path, names: list[str]) -> dict[str, dict]:
    """Outcome of each case, and of an uninterrupted run of each setting that occurs (NAME-whole)."""
    inputs = {"model": str(make_model(folder / "model")), "dataset": str(save_drills(folder / "data"))}
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


def test_half_written_checkpoints_are_set_aside_and_an_older_one_is_used(quick: dict[str, dict]) -> None:
    assert quick["sft-before_the_manifest"]["quarantine"] == ["checkpoint-4.0"]
    assert quick["sft-half_an_optimizer"]["quarantine"] == ["checkpoint-4.0"]
    assert quick["sft-whole"]["quarantine"] == []


def test_sigterm_leaves_a_whole_checkpoint(quick: dict[str, dict]) -> None:
    assert quick["sft-sigterm"]["codes"] == [130, 0]
    assert quick["sft-sigterm"]["quarantine"] == []


def test_at_most_two_checkpoints_are_kept(quick: dict[str, dict]) -> None:
    assert quick["sft-whole"]["checkpoints"] == ["checkpoint-4", "checkpoint-6"]
