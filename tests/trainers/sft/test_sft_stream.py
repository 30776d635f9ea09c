"""Supervised fine-tuning on a stream: rows counted as they come, a resume bit-identical, nothing read ahead of need."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from trainer_parts import QUICK, context, make_model

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers import sft
from hubwright.trainers._lib import loop as _loop

STREAM: dict[str, Any] = QUICK | {"chat_template": "chatml_tools", "streaming": True, "shuffle_block": 5}
NULL = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": None}]}


def row(number: int) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": f"How many {number}?"},
        {"role": "assistant", "content": "Seven" * (number % 4 + 1)},
    ]
    return {"messages": turns}


def save(folder: Path, rows: list[dict[str, Any]], files: int = 2, split: str = "train") -> Path:
    from datasets import Dataset

    (folder / "data").mkdir(parents=True, exist_ok=True)
    size = -(-len(rows) // files)
    for number in range(files):
        part = Dataset.from_list(rows[number * size : (number + 1) * size])
        part.to_parquet(str(folder / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def trained(folder: Path, model: Path, data: Path, name: str = "run", **settings: Any) -> Any:
    step = context(folder, {"model": model, "dataset": data}, name)
    sft.train(sft.SFTConfig(**(STREAM | settings)), step)
    return step


def weights(step: Any) -> bytes:
    return bytes((step.output / "model.safetensors").read_bytes())


@pytest.mark.parametrize("packing", [False, True])
def test_stopped_stream_resumes_to_the_same_weights_and_counts(
    tmp_path: Path, model: Path, packing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second pass, within a block, with refused rows before and after."""
    rows = [row(n) for n in range(22)]
    rows[3] = rows[9] = rows[21] = NULL
    data = save(tmp_path / "data", rows)
    settings = {"packing": packing, "max_length": 128, "max_steps": 14, "max_refused_share": 0.25, "save_steps": 5}
    whole = trained(tmp_path, model, data, "whole", **settings)
    save_checkpoint, steps = _loop.CheckpointMixin._save_checkpoint, []

    def stop(trainer: Any, *rest: Any) -> None:
        save_checkpoint(trainer, *rest)
        steps.append(trainer.state.global_step)
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(_loop.CheckpointMixin, "_save_checkpoint", stop)
            trained(tmp_path, model, data, "stopped", **settings)
    resumed = trained(tmp_path, model, data, "stopped", **settings)
    assert steps == [5, 10]
    assert weights(resumed) == weights(whole)
    assert resumed.report.counts == whole.report.counts and resumed.report.metrics["epochs"] >= 1


def test_counts_of_a_whole_pass_are_those_of_the_cached_rows(tmp_path: Path, model: Path) -> None:
    rows = [row(n) for n in range(20)]
    rows[7] = NULL
    rows[11] = {"messages": rows[11]["messages"][:1]}
    data = save(tmp_path / "data", rows)
    settings = {"max_refused_share": 0.1, "max_steps": 9, "max_length": 90, "max_unsupervised_share": 0.2}
    stream = trained(tmp_path, model, data, "stream", **settings)
    cached = trained(tmp_path, model, data, "cached", **settings, streaming=False, shuffle_block=None)
    counts = dict(stream.report.counts)
    assert counts.pop("train_sequences_trained_on") == 18
    assert counts == cached.report.counts
    assert counts["train_rows_read"] == 20 and counts["train_rows_without_assistant_turn"] == 1
    assert not list((tmp_path / "stream" / "work").rglob("*.arrow"))


def test_first_step_reads_one_block_and_not_the_rest(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubwright.trainers._lib import rows as _rows

    data = save(tmp_path / "data", [row(n) for n in range(400)], files=4)
    read, unwatched = itertools.count(), _rows.Reader.read
    monkeypatch.setattr(_rows.Reader, "read", lambda *a: next(read) is None or unwatched(*a))
    step = trained(tmp_path, model, data, max_steps=1, shuffle_block=8)
    assert step.report.counts["train_rows_read"] == 8
    assert next(read) == 2 * 8  # TRL looks at the first row too


def test_eval_split_of_a_stream_is_prepared_whole(tmp_path: Path, model: Path) -> None:
    data = save(tmp_path / "data", [row(n) for n in range(20)])
    save(data, [row(n) for n in range(6)] + [NULL], files=1, split="test")
    step = trained(tmp_path, model, data, eval_split="test", max_refused_share=0.2)
    assert step.report.counts["eval_rows_used"] == 6 and step.report.metrics["eval_loss"] > 0


def test_too_many_refused_rows_stop_a_stream_in_one_line(tmp_path: Path, model: Path) -> None:
    data = save(tmp_path / "data", [row(n) for n in range(10)] + [NULL] * 10)
    with pytest.raises(DataError, match=r"5 of 15 rows of the train split cannot be used, .*; row 10: ") as caught:
        trained(tmp_path, model, data, max_steps=20, max_refused_share=0.3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": -1}, "set max_steps"),
        ({"num_train_epochs": 2}, "drop num_train_epochs"),
        ({"streaming": False}, "shuffle_block is for streaming"),
        ({"dataset_num_proc": 2}, "drop dataset_num_proc"),
    ],
)
def test_settings_that_a_stream_cannot_serve_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sft.SFTConfig(**(STREAM | settings))


def test_stream_of_a_template_that_hides_tools_is_refused(tmp_path: Path, model: Path) -> None:
    """At the first row that has some, wherever it is."""
    from trainer_parts import save_tools, tool_conversation

    rows = [row(n) | {"tools": []} for n in range(8)] + [tool_conversation(0)]
    data = save_tools(tmp_path / "data", rows)
    with pytest.raises(UsageError, match="set chat_template: chatml_tools"):
        trained(tmp_path, model, data, chat_template="keep", assistant_only_loss=False, max_steps=8)


@pytest.mark.slow
def test_two_processes_stream_the_rows_of_one(tmp_path: Path) -> None:
    """The same rows in the same optimiser steps: without dropout the same losses."""
    still = make_model(tmp_path / "model", dropout=0.0)
    data = save(tmp_path / "data", [row(n) for n in range(22)] + [NULL])
    alone = trained(tmp_path, still, data, "alone", max_refused_share=0.1, max_steps=7)
    both = trained(
        tmp_path, still, data, "both", max_refused_share=0.1, max_steps=7, num_processes=2,
        per_device_train_batch_size=1,
    )  # fmt: skip
    assert both.report.metrics["processes"] == 2 and both.report.counts == alone.report.counts
    for (_, a), (_, b) in zip(*(r.report.curves[0]["series"]["train"] for r in (alone, both)), strict=True):
        assert a == pytest.approx(b, rel=1e-5)
