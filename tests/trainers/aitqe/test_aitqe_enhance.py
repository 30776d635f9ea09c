"""A data set scored and rewritten: every pair decided, kept texts untouched, resumed to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aitqe_parts import make_models, samples, save_samples
from column_parts import check_columns
from hostile_parts import hostile_images
from trainer_parts import context

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers.aitqe import enhance as module
from hubwright.trainers.aitqe import rating
from hubwright.trainers.aitqe.enhance import EnhanceConfig, enhance
from hubwright.trainers.aitqe.scorer import GenerativeScorer, Rewrite

FAST: dict[str, Any] = {"use_cpu": True, "threads": 1, "batch_size": 4, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _accept_models_without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_MASS", 0)


def run(folder: Path, inputs: dict[str, Path], rows: Any, name: str = "run", **settings: Any) -> tuple[Any, Any]:
    data = save_samples(folder / f"{name}-data", rows) if isinstance(rows, list) else rows
    step = context(folder, {"dataset": data, **inputs}, name)
    for role in ("dev",):
        if role in inputs:
            from hubwright.hub_sync.context import Input
            from hubwright.hub_sync.refs import ArtifactRef

            step.inputs[role] = Input(ArtifactRef("dataset", f"org/{role}", "0" * 40), inputs[role])  # type: ignore[index]
    return enhance(EnhanceConfig(**FAST | settings), step), step


def captions(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """New captions as of a model that has learnt to write: a random one writes none."""
    monkeypatch.setattr(
        GenerativeScorer,
        "rewrite",
        lambda self, pixels, prompts, scores, new: [Rewrite(text, text is None)] * len(prompts),
    )


def fallen(result: Any) -> float:
    """Share of the pairs that are kept though their score is below the threshold."""
    reasons = result["decisions"]["train"]["reason"]
    return sum(reason != "score" for reason in reasons) / len(reasons)


def test_every_pair_is_decided_and_kept_texts_are_the_same_bytes(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    captions(monkeypatch, "A new caption")
    rows = samples(4)
    rows[1] |= {"image": b"no image"}
    rows[2] |= {"raw_text": "  café \u200b é\n two  lines "}
    result, step = run(
        tmp_path, {"model": models["writes"], "second": models["head"]}, rows, rewrite_rate=0.4, delta=0.0
    )
    decisions, enhanced = list(result["decisions"]["train"]), list(result["enhanced"]["train"])
    assert [row["id"] for row in decisions] == [row["id"] for row in rows]
    counts = step.report.counts
    assert counts["keep"] + counts["rewrite"] + counts["drop"] == counts["pairs"] == 8
    assert decisions[1]["decision"] == "drop" and decisions[1]["reason"].startswith("not scored")
    assert len(enhanced) == 8 - counts["drop"]
    for decision, row in zip(decisions, rows, strict=True):
        assert decision["raw_text"] == row["raw_text"]
        assert decision["text"] == ("A new caption" if decision["decision"] == "rewrite" else row["raw_text"])
        assert (decision["recaption"] is None) == (decision["second_after"] is None)
    assert sum(row["recaption"] is not None for row in decisions) == 3  # 0.4 of the seven that are scored
    assert [row["text"] for row in enhanced] == [row["text"] for row in decisions if row["decision"] != "drop"]
    check_columns("aitqe_enhance", result, step.report)
    assert enhanced[0]["image"].size == (40, 40) and "scores" in enhanced[0]
    assert (step.output / "rewritten.png").is_file() == bool(counts["rewrite"])


def test_a_random_model_that_writes_no_caption_changes_nothing(tmp_path: Path, models: dict[str, Path]) -> None:
    rows = samples(2)
    result, step = run(tmp_path, {"model": models["writes"]}, rows, keep_from=10)
    assert [row["text"] for row in result["enhanced"]["train"]] == [row["raw_text"] for row in rows]
    assert {row["reason"] for row in result["decisions"]["train"]} <= {
        "no new caption", "the new caption is too long", "the new caption had not ended at max_new_tokens"
    }  # fmt: skip
    assert "may prefer its own words" in step.report.summary


def test_a_kill_between_any_two_shards_changes_nothing(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    captions(monkeypatch, "A new caption")
    for one in (rating, module):
        monkeypatch.setattr(one, "SHARD", 3)
    data = save_samples(tmp_path / "data", samples(4))
    inputs = {"model": models["writes"], "second": models["head"]}
    plain, step = run(tmp_path, inputs, data, keep_from=10)
    whole = [list(plain[name]["train"]) for name in ("decisions", "enhanced")]
    shards = sorted(step.workdir.rglob("shards/*.jsonl"))
    assert len(shards) > 6
    for shard in shards:
        content = shard.read_bytes()
        shard.write_bytes(content[: len(content) // 2])
    again, _ = run(tmp_path, inputs, data, keep_from=10)
    assert [list(again[name]["train"]) for name in ("decisions", "enhanced")] == whole


def test_the_threshold_comes_from_dev(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    captions(monkeypatch, None)
    dev = save_samples(tmp_path / "dev", samples(4), "validation")
    result, step = run(tmp_path, {"model": models["writes"], "dev": dev}, samples(2))
    assert "where Youden's J is largest" in step.report.summary
    (curve,), table = step.report.curves, next(t for t in step.report.tables if t["title"] == "Thresholds")
    assert set(curve["series"]) == {"good texts kept", "bad texts kept", "pairs of the data set kept"}
    ((label, limit),) = curve["marks"].items()
    assert label == f"t_k = {limit:.2f}"
    (chosen,) = [row for row in table["rows"] if row[0].startswith("**")]
    assert float(chosen[1]) > float(chosen[2])  # more good than bad texts
    assert float(chosen[3]) == pytest.approx(step.report.metrics["keep_rate"] - fallen(result), abs=1e-3)
    for points in curve["series"].values():
        assert len(points) == 91 and [y for _, y in points] == sorted((y for _, y in points), reverse=True)


@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ({"rewrite_rate": 0.3}, "about 2 new captions of at most 8 tokens (16 in all), and 4 scores"),
        ({"rewrite_rate": 0.01}, "about 0 new captions of at most 8 tokens (0 in all), and 0 scores"),
        ({"keep_from": 6}, "at most 6 new captions of at most 8 tokens (48 in all), and 12 scores"),
    ],
)
def test_the_cost_is_told_before_a_model_is_opened(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any], cost: str,
) -> None:  # fmt: skip
    from hubwright.trainers.aitqe import opening

    lines: list[str] = []

    def opened(*arguments: Any) -> Any:
        lines.extend(record.getMessage() for record in caplog.records)
        raise DataError("opened")

    monkeypatch.setattr(opening, "open_scorer", opened)
    caplog.set_level("INFO", logger="hubwright.trainers")
    with pytest.raises(DataError, match="opened"):
        run(tmp_path, {"model": models["writes"]}, samples(3), **settings)
    assert lines == [f"step: 6 pairs to be scored; then {cost} by the input model"]


@pytest.mark.parametrize(
    ("inputs", "settings", "error", "message"),
    [
        ({}, {}, UsageError, "nothing says what is rewritten"),
        ({"model": "head"}, {"keep_from": 10}, DataError, "has a head and writes nothing: name an input `rewriter`"),
        ({}, {"keep_from": 5, "rewrite_rate": 0.5}, ValueError, "both say what is rewritten"),
        ({}, {"keep_from": 5, "drop_below": 6}, ValueError, "drop_below 6 is above keep_from 5"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(
    tmp_path: Path, models: dict[str, Path], inputs: dict[str, str], settings: dict[str, Any], error: Any, message: str
) -> None:
    chosen = {"model": "writes"} | inputs
    with pytest.raises(error, match=message):
        run(tmp_path, {role: models[name] for role, name in chosen.items()}, samples(1), **settings)


def test_a_data_set_of_broken_images_is_refused(tmp_path: Path, models: dict[str, Path]) -> None:
    rows = [row | {"image": b""} for row in samples(1)]
    with pytest.raises(DataError, match="2 of 2 pairs cannot be scored"):
        run(tmp_path, {"model": models["writes"]}, rows, keep_from=5, max_failed_share=1.0)


def test_hostile_files_are_decided_and_dropped_ones_counted(tmp_path: Path, models: dict[str, Path]) -> None:
    usable, refused = hostile_images()
    one = samples(1)[0]
    rows = [one | {"id": name, "image": content} for name, content in (usable | refused).items()]
    result, step = run(tmp_path, {"model": models["writes"]}, rows, keep_from=1, max_failed_share=0.9)
    assert list(result["enhanced"]["train"]["id"]) == list(usable)
    assert list(result["decisions"]["train"]["decision"]) == ["keep"] * len(usable) + ["drop"] * len(refused)
    assert sum(n for name, n in step.report.counts.items() if name.startswith("not scored: ")) == len(refused)


def test_an_untrained_scorer_decides_nothing(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_MASS", rating.LEAST_MASS)
    with pytest.raises(DataError, match="it is no trained scorer, and nothing is decided by it"):
        run(tmp_path, {"model": models["writes"]}, samples(1), keep_from=5)


def test_a_column_that_would_be_replaced_is_refused(tmp_path: Path, models: dict[str, Path]) -> None:
    rows = [row | {"text": "OCR of the page", "caption": row["raw_text"]} for row in samples(1)]
    with pytest.raises(DataError, match="has a column 'text' beside 'caption', which would be replaced"):
        run(tmp_path, {"model": models["writes"]}, rows, keep_from=5, text="caption")
    with pytest.raises(DataError, match="has the columns raw_text and text: set `text`"):
        run(tmp_path, {"model": models["writes"]}, rows, "b", keep_from=5)


def test_further_images_are_copied_byte_for_byte(tmp_path: Path, models: dict[str, Path]) -> None:
    from datasets import Dataset, Features, Image, List, Value
    from vision_parts import drawing, encoded

    content = encoded(drawing("red", "bar"))
    one = {"bytes": content, "path": None}
    features = Features({"id": Value("string"), "text": Value("string"), "images": List(Image()), "icon": Image()})
    data = Dataset.from_list([{"id": "a", "text": "a", "images": [one], "icon": one}], features=features)
    (tmp_path / "data" / "data").mkdir(parents=True)
    data.to_parquet(str(tmp_path / "data" / "data" / "train-00000-of-00001.parquet"))
    result, _ = run(tmp_path, {"model": models["writes"]}, tmp_path / "data", keep_from=1)
    plain = result["enhanced"]["train"].cast_column("icon", Image(decode=False))
    plain = plain.cast_column("images", List(Image(decode=False)))
    assert plain[0]["icon"]["bytes"] == plain[0]["images"][0]["bytes"] == content


def test_scores_that_are_no_numbers_are_faults(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(
        GenerativeScorer, "pixels", lambda self, images: torch.full((len(images), 3, 28, 28), torch.nan)
    )
    with pytest.raises(DataError, match="the scorer gives no finite score: 2"):
        run(tmp_path, {"model": models["writes"]}, samples(1), keep_from=5, max_failed_share=1.0)
