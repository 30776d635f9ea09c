"""Scores of a data set of pairs: every row accounted for, the same whatever the workers, resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aitqe_parts import make_models, samples, save_samples
from column_parts import check_columns
from hostile_parts import hostile_images
from pydantic import ValidationError
from trainer_parts import context, make_model

from hubwright.hub_sync.errors import DataError
from hubwright.trainers.aitqe import rating
from hubwright.trainers.aitqe.rating import RateConfig, rate

FAST = {"use_cpu": True, "threads": 1, "batch_size": 3}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_models(tmp_path_factory.mktemp("models"))


def run(folder: Path, model: Path, data: Any, name: str = "run", **settings: Any) -> tuple[list[dict[str, Any]], Any]:
    data = save_samples(folder / f"{name}-data", data) if isinstance(data, list) else data
    step = context(folder, {"model": model, "dataset": data}, name)
    result = rate(RateConfig(**FAST | settings), step)
    check_columns("aitqe_rate", result, step.report)
    return list(result["train"]), step


@pytest.mark.parametrize("form", ["writes", "head"])
def test_every_pair_has_a_score_or_a_fault(tmp_path: Path, models: dict[str, Path], form: str) -> None:
    rows = samples(4)
    rows[1] |= {"image": b"no image"}
    rows[3] |= {"raw_text": " "}
    rows[5] |= {"raw_text": "word " * 900}
    with pytest.raises(DataError, match=r"3 of 8 pairs cannot be scored \(.*\), more than max_failed_share 0.25"):
        run(tmp_path, models[form], rows, "refused")
    result, step = run(tmp_path, models[form], rows, max_failed_share=0.5)
    assert [row["id"] for row in result] == [row["id"] for row in rows]
    faults = {n: row["fault"] for n, row in enumerate(result) if row["fault"]}
    assert list(faults) == [1, 3, 5] and all(result[n]["overall"] is None for n in faults)
    assert "not an image" in faults[1] and "no text" in faults[3] and "longer than max_length" in faults[5]
    scored = [row for row in result if row["fault"] is None]
    assert all(1 <= row["overall"] <= 10 for row in scored)
    assert all((row["matching"] is None) == (form == "writes") for row in scored)
    counts = step.report.counts
    assert counts["pairs"] == 8 and counts["scored"] == 5
    assert sum(n for name, n in counts.items() if name.startswith("failed: ")) == 3
    assert ("is no trained scorer" in step.report.summary) == (form == "writes")


def test_hostile_files_are_scored_or_say_why_not(tmp_path: Path, models: dict[str, Path]) -> None:
    usable, refused = hostile_images()
    one = samples(1)[0]
    rows = [one | {"id": name, "image": content} for name, content in (usable | refused).items()]
    result, step = run(tmp_path, models["head"], rows, max_failed_share=0.9)
    assert [row["id"] for row in result] == [*usable, *refused]
    assert [row["id"] for row in result if row["fault"] is None and row["overall"] is not None] == list(usable)
    assert sum(n for name, n in step.report.counts.items() if name.startswith("failed: ")) == len(refused)


@pytest.mark.slow
def test_workers_and_a_kill_change_nothing(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rating, "SHARD", 4)
    data = save_samples(tmp_path / "data", samples(5))
    plain, _ = run(tmp_path, models["head"], data)
    again, _ = run(tmp_path, models["head"], data, "two", workers=2)
    assert again == plain
    shard = sorted((tmp_path / "two" / "work" / "model" / "shards").iterdir())[1]
    shard.unlink()
    assert run(tmp_path, models["head"], data, "two")[0] == plain


def test_full_replies_are_read_or_are_faults(tmp_path: Path, models: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="4 of 4 pairs cannot be scored"):
        run(tmp_path, models["writes"], samples(2), mode="full", max_new_tokens=4, max_failed_share=1.0)
    with pytest.raises(DataError, match="has a head and writes nothing: set mode: score"):
        run(tmp_path, models["head"], samples(2), "head", mode="full")


def test_a_model_or_data_of_another_kind_is_one_line(tmp_path: Path, models: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="cannot be loaded as a vision-language model"):
        run(tmp_path, make_model(tmp_path / "text"), samples(1))
    rows = [{"id": "1", "image": samples(1)[0]["image"], "scores": samples(1)[0]["scores"], "caption": "a"}]
    with pytest.raises(DataError, match=r"has no column .text.; it has id, image"):
        run(tmp_path, models["head"], rows, "b")
    assert run(tmp_path, models["head"], rows, "c", text="caption")[0][0]["id"] == "1"
    with pytest.raises(DataError, match="split 'dev' cannot be read"):
        run(tmp_path, models["head"], rows, "d", split="dev")
    with pytest.raises(ValidationError, match="mode score writes nothing"):
        RateConfig(max_new_tokens=3)
