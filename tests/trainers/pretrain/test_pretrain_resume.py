"""Pre-training that is killed, stopped or spread over processes ends with the bytes of one that nobody touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from kill_parts import KILLS, cases_of, check, drive
from pretrain_parts import ARCHITECTURE, TINY, documents, save, sequences
from trainer_parts import context

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers import pretrain

# Dropout, so that the random state must come back too; several blocks, so that a kill falls within one.
DROPOUT = ARCHITECTURE | {"attention_dropout": 0.1}
MIXTURE = DROPOUT | {"model_type": "mixtral", "num_local_experts": 4}
BASE: dict[str, Any] = TINY | {"architecture": DROPOUT, "eval_split": "test", "eval_steps": 3, "max_steps": 6}
SETTINGS: dict[str, dict[str, Any]] = {
    "cached": {},
    "stream": {"streaming": True, "shuffle_block": 5, "gradient_accumulation_steps": 2},
    "shift": {
        "architecture": DROPOUT | {"model_type": "kv_shift"},
        "no_decay": ["kv_shift"],
        "learning_rate_factors": {"kv_shift": 5},
    },
    "bpe": {"tokenizer": {"kind": "bpe", "vocab_size": 300}, "packing": False, "max_steps": 10},
}
QUICK_CASES = [
    "cached-half_an_optimizer", "cached-three_times", "stream-before_the_manifest", "stream-three_times", "stream-sigterm",
    "cached-while_publishing", "shift-three_times",
]  # fmt: skip
SLOW_CASES = [f"{setting}-{kill}" for setting in SETTINGS for kill in KILLS if f"{setting}-{kill}" not in QUICK_CASES]


def run(folder: Path, names: list[str], data: Path, **more: Any) -> dict[str, dict]:
    """Outcome of each case, and of an uninterrupted run of each setting that occurs (NAME-whole)."""
    methods = {name: ("pretrain", BASE | settings | more) for name, settings in SETTINGS.items()}
    return drive(folder, {"dataset": str(data)}, cases_of(names, methods))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Two passes of a stream are begun within 6 steps of 4 rows.
    return save(tmp_path_factory.mktemp("texts"), files=2, train=documents(40), test=documents(9, seed=1))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> dict[str, dict]:
    return run(tmp_path_factory.mktemp("quick"), QUICK_CASES, texts)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> dict[str, dict]:
    return run(tmp_path_factory.mktemp("slow"), SLOW_CASES, texts)


@pytest.mark.parametrize("name", QUICK_CASES)
def test_final_weights_are_those_of_an_uninterrupted_run(quick: dict[str, dict], name: str) -> None:
    check(quick[name], quick[name.split("-")[0] + "-whole"])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_CASES)
def test_at_every_other_point_too(slow: dict[str, dict], name: str) -> None:
    check(slow[name], slow[name.split("-")[0] + "-whole"])


@pytest.mark.slow
def test_scored_sequences_too(tmp_path: Path) -> None:
    data = save(tmp_path / "data", train=sequences(30), test=sequences(9, seed=1))
    cases = ["cached-three_times", "stream-three_times"]
    results = run(tmp_path, cases, data)
    for name in cases:
        check(results[name], results[name.split("-")[0] + "-whole"])


@pytest.mark.parametrize("settings", [{"architecture": MIXTURE}, {"dtype": "bfloat16"}])
def test_weights_that_are_saved_in_other_names_or_types_come_back(
    texts: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = pretrain.PretrainConfig(**BASE | {"max_steps": 4, "save_steps": 2} | settings)
    digests = []
    for _ in range(2):
        step = context(tmp_path, {"dataset": texts})
        pretrain.train(config, step)
        digests.append((step.output / "model.safetensors").read_bytes())
        shutil.rmtree(step.workdir / "checkpoints" / "checkpoint-4")
    assert digests[0] == digests[1]


def test_a_stream_cannot_be_gone_on_with_in_other_batches(texts: Path, tmp_path: Path) -> None:
    settings = BASE | SETTINGS["stream"] | {"max_steps": 2, "save_steps": 1}
    pretrain.train(pretrain.PretrainConfig(**settings), context(tmp_path, {"dataset": texts}))
    with pytest.raises(UsageError, match="trained with gradient_accumulation_steps 2, now it is 1"):
        pretrain.train(
            pretrain.PretrainConfig(**settings | {"gradient_accumulation_steps": 1}),
            context(tmp_path, {"dataset": texts}),
        )


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["cached", "stream"])
def test_two_processes_train_on_the_rows_of_one(texts: Path, tmp_path: Path, setting: str) -> None:
    """The same rows in the same optimiser steps: without dropout the same losses, and each row evaluated once."""
    alone = BASE | SETTINGS[setting] | {"architecture": ARCHITECTURE, "per_device_train_batch_size": 2, "max_steps": 5}
    both = alone | {"num_processes": 2, "per_device_train_batch_size": 1, "per_device_eval_batch_size": 2}
    steps = [context(tmp_path, {"dataset": texts}, name) for name in ("alone", "both")]
    for step, settings in zip(steps, (alone, both), strict=True):
        pretrain.train(pretrain.PretrainConfig(**settings), step)
    one, two = (step.report for step in steps)
    assert two.metrics["processes"] == 2 and two.metrics["train_tokens"] == one.metrics["train_tokens"]
    for (_, a), (_, b) in zip(*(r.curves[0]["series"]["train"] for r in (one, two)), strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    for key in ("eval_loss", "eval_accuracy"):
        assert one.metrics[key] == pytest.approx(two.metrics[key], rel=1e-5)
    assert two.counts == one.counts and (steps[1].output / "model.safetensors").is_file()
