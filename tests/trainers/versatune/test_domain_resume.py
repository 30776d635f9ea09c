"""A training on domains that is killed, stopped or spread over processes draws, weighs and ends as one left alone."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from kill_parts import KILLS, cases_of, check, drive
from mixture_parts import QUICK_MIX, conversations, pretrained, save_mixture
from pretrain_parts import ARCHITECTURE, TINY
from trainer_parts import make_model

# Dropout, so that the random state must come back too; epochs of 5 steps, so that a resume falls into the second.
SETTINGS: dict[str, Any] = {
    "architecture": ARCHITECTURE | {"attention_dropout": 0.1}, "packing": False, "max_steps": 9, "save_steps": 2,
    "save_total_limit": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mixture(tmp_path_factory.mktemp("mixture"), rows=4)


def published(step: Any) -> dict[str, str]:
    files = ("model.safetensors", "schedule.parquet")
    return {name: hashlib.sha256((step.output / name).read_bytes()).hexdigest() for name in files}


def test_resume_from_a_checkpoint_ends_with_the_same_bytes(
    mixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same rows, same weights, same model: from a checkpoint in the second epoch, and from one whose last update waits for its draw."""
    from hubwright.trainers.versatune import sampler

    order, iterate = [], sampler.DomainSampler.__iter__

    def recorded(self: Any) -> Any:
        for index in iterate(self):
            order.append(index)
            yield index

    monkeypatch.setattr(sampler.DomainSampler, "__iter__", recorded)
    # 4 + 14 + 24 rows, 6 per step: 7 steps per epoch; the loader is a batch ahead of step 9
    settings = SETTINGS | {"update_every": 4, "per_device_train_batch_size": 6}
    step = pretrained(tmp_path, mixture, **settings)
    whole, report, first = published(step), step.report, order[:]
    assert len(first) == 10 * 6 and first[:42] != first[42:][:42]
    for kept in (8, 4):
        for folder in (step.workdir / "checkpoints").glob("checkpoint-*"):
            if int(folder.name.rpartition("-")[2]) > kept:
                shutil.rmtree(folder)
        order.clear()
        again = pretrained(tmp_path, mixture, **settings)
        assert published(again) == whole and order == first[42 * (kept > 7) :]
        assert again.report.metrics["held_out_loss"] == report.metrics["held_out_loss"]
        assert [c for c in again.report.curves if "omain" in c["title"]] == [
            c for c in report.curves if "omain" in c["title"]
        ]


EVERY = {"odm": 1}  # its weights move from the fourth update on


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["versatune", "odm"])
def test_kills_at_any_moment_change_nothing(mixture: Path, tmp_path: Path, strategy: str) -> None:
    extra = (
        TINY | QUICK_MIX | SETTINGS | {"max_steps": 6, "update_every": EVERY.get(strategy, 2), "strategy": strategy}
    )
    results = drive(
        tmp_path, {"dataset": str(mixture)}, cases_of([f"x-{kill}" for kill in KILLS], {"x": ("domains", extra)})
    )
    for kill in KILLS:
        check(results[f"x-{kill}"], results["x-whole"])
        schedules = [tmp_path / name / "run" / "out" / "schedule.parquet" for name in (f"x-{kill}", "x-whole")]
        assert schedules[0].read_bytes() == schedules[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["versatune", "exponentiated", "odm"])
def test_two_processes_draw_and_weigh_as_one(mixture: Path, tmp_path: Path, strategy: str) -> None:
    """Without dropout the same losses, so the same weights up to rounding, at the same draws."""
    alone = {"packing": False, "strategy": strategy, "max_steps": 6, "update_every": EVERY.get(strategy, 2)}
    both = alone | {"num_processes": 2, "per_device_train_batch_size": 1, "per_device_eval_batch_size": 2}
    import pyarrow.parquet as pq

    steps = [pretrained(tmp_path, mixture, name, **settings) for name, settings in (("alone", alone), ("both", both))]
    one, two = (pq.read_table(step.output / "schedule.parquet").to_pylist() for step in steps)
    for a, b in zip(one, two, strict=True):
        assert (a["from_draw"], a["from_step"], a["domain"]) == (b["from_draw"], b["from_step"], b["domain"])
        assert a["weight"] == pytest.approx(b["weight"], rel=1e-5)
        assert a["held_out_loss"] == pytest.approx(b["held_out_loss"], rel=1e-5)
    assert steps[1].report.metrics["processes"] == 2
    shares = [{k: v for k, v in step.report.metrics.items() if k.startswith("share_of")} for step in steps]
    assert shares[0] == pytest.approx(shares[1])
    for (_, a), (_, b) in zip(*(step.report.curves[0]["series"]["train"] for step in steps), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


@pytest.mark.slow
def test_kills_while_conversations_are_learnt_change_nothing(tmp_path: Path) -> None:
    data = save_mixture(tmp_path / "data", conversations, rows=6, form="messages")
    inputs = {"dataset": str(data), "model": str(make_model(tmp_path / "model"))}
    extra = QUICK_MIX | {"save_steps": 2, "packing": True, "max_length": 128, "chat_template": "chatml_tools"}
    kills = ["half_an_optimizer", "three_times", "sigterm", "while_publishing"]
    results = drive(tmp_path, inputs, cases_of([f"x-{kill}" for kill in kills], {"x": ("domains_sft", extra)}))
    for kill in kills:
        check(results[f"x-{kill}"], results["x-whole"])
