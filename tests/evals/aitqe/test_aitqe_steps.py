"""Steps that compare scores and measure how far texts moved, on data sets on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns

from hubwright.evals._lib.data import read_split, write_parquet
from hubwright.evals.aitqe.score import ScoreConfig, score
from hubwright.evals.aitqe.shift_step import ShiftConfig, shift
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

ASPECTS = ("overall", "text_quality", "matching", "object_detail", "semantic", "text_chart")


def saved(folder: Path, rows: list[dict[str, Any]], split: str = "test") -> Path:
    write_parquet(rows, folder / "data", split)
    return folder


def context(folder: Path, **inputs: Path) -> StepContext:
    refs = {name: Input(ArtifactRef("dataset", f"org/{name}", "0" * 40), path) for name, path in inputs.items()}
    return StepContext("step", folder / "work", folder / "out", refs)


def samples(images: int = 12) -> list[dict[str, Any]]:
    rows = []
    for n in range(images):
        damage = ("colour", "url")[n % 2]
        kinds = ("raw_good", "contrast_bad") if damage == "colour" else ("contrast_good", "raw_bad")
        for kind, overall, own, other in ((kinds[0], 9, "g", "b"), (kinds[1], 2, "b", "g")):
            rows.append({
                "id": f"{own}{n}", "image_id": f"i{n // 2}", "kind": kind, "damage": damage if own == "b" else None,
                "twin": f"{other}{n}", "scores": dict.fromkeys(ASPECTS, overall),
            })  # fmt: skip
    return rows


def scores(rows: list[dict[str, Any]], wrong: int = 0, **more: Any) -> list[dict[str, Any]]:
    """Those of the samples, the first `wrong` twins swapped."""
    own = {row["id"]: float(row["scores"]["overall"]) for row in rows}
    for n in range(wrong):
        own[f"g{n}"], own[f"b{n}"] = own[f"b{n}"], own[f"g{n}"]
    return [{"id": name, "overall": value, **more} for name, value in own.items()]


def test_methods_are_compared_with_intervals_and_differences(tmp_path: Path) -> None:
    rows = samples()
    signals = [
        {"id": row["id"], "length": float(n % 3), "cosine": 0.1 * row["scores"]["overall"]}
        for n, row in enumerate(rows)
    ]
    step = context(
        tmp_path, dataset=saved(tmp_path / "s", rows), scores_good=saved(tmp_path / "g", scores(rows)),
        scores_worse=saved(tmp_path / "w", scores(rows, wrong=6)), scores_signals=saved(tmp_path / "x", signals),
    )  # fmt: skip
    score(ScoreConfig(order=["good", "worse", "signals"], unseen=["url"], bootstrap=200), step)
    metrics = step.report.metrics
    assert metrics["good/twin_accuracy"] == metrics["good/auroc"] == metrics["good/parse_rate"] == 1
    assert metrics["good/mae"] == 0 and metrics["worse/twin_accuracy"] == 0.5 and metrics["worse/auroc"] == 0.5
    assert metrics["signals: cosine/twin_accuracy"] == 1 and "signals: cosine/mae" not in metrics
    figures = json.loads((step.output / "scores.json").read_text())["methods"]
    value, low, high = figures["worse"]["twin_accuracy, minus good"]
    assert value == -0.5 and low < -0.5 < high < 0
    assert figures["worse"]["twin_accuracy, unseen damage"][0] == 0.5
    assert figures["good"]["mean, raw_bad"][0] == 2 and figures["good"]["mean, contrast_good"][0] == 9
    again = {(row["method"], row["figure"]): row["value"] for row in read_split(step.output, "figures")}
    check_columns("aitqe_score", step.output, step.report)
    assert again["good", "auroc"] == 1 and step.report.chance["good/auroc"] == 0.5


def test_card_shows_thresholds_and_scores_by_kind(tmp_path: Path) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    from hubwright.model_cards import plots

    rows = samples()
    signals = [{"id": row["id"], "flat": 1.0, "cosine": 0.1 * row["scores"]["overall"]} for row in rows]
    step = context(
        tmp_path, dataset=saved(tmp_path / "s", rows), scores_worse=saved(tmp_path / "w", scores(rows, wrong=2)),
        scores_signals=saved(tmp_path / "x", signals),
    )  # fmt: skip
    score(ScoreConfig(order=["worse", "signals"], bootstrap=0), step)
    table = next(one for one in step.report.tables if one["title"] == "Thresholds")
    assert table["rows"] == [
        ["worse", "5.5", "0.500", "0.833", "0.167"],  # 10 of 12 good texts, 2 of 12 bad ones
        ["signals: flat", "–", "–", "–", "–"],
        ["signals: cosine", "0.55", "0.500", "1.000", "0.000"],
    ]
    (curve,) = step.report.curves
    assert curve["marks"] == {"t_k = 5.50": 5.5}
    at = {name: dict(map(tuple, points)) for name, points in curve["series"].items()}
    assert at["good texts"][5.0] == pytest.approx(10 / 12) and at["bad texts"][5.0] == pytest.approx(2 / 12)
    assert at["all texts"][1.0] == 1 and at["all texts"][10.0] == 0
    chart = next(one for one in step.report.bars if one["title"] == "Scores by kind, worse")
    assert set(chart["series"]) == {"raw_good", "contrast_good", "raw_bad", "contrast_bad"}
    for name, values in chart["series"].items():
        heights = {n: value[0] for n, value in enumerate(values, 1) if value[0]}
        right, wrong = (9, 2) if name.endswith("good") else (2, 9)
        assert heights == {right: pytest.approx(5 / 6), wrong: pytest.approx(1 / 6)}
    files = plots.write({"curves": [curve], "bars": [chart]}, tmp_path)
    assert files == ["plots/texts-kept-by-threshold-worse.png", "plots/scores-by-kind-worse.png"]
    for file, colours in zip(files, (3, 4), strict=True):  # every series is drawn, in a colour of its own
        pixels = imread(tmp_path / file)[..., :3]
        for colour in plots.COLOURS[:colours]:
            assert (abs(pixels - to_rgb(colour)).max(axis=2) < 0.02).sum() > 50


def test_pairs_without_a_score_lose_their_twins(tmp_path: Path) -> None:
    rows = samples()
    some = scores(rows)
    some[0]["overall"] = None
    step = context(tmp_path, dataset=saved(tmp_path / "s", rows), scores_a=saved(tmp_path / "a", some))
    score(ScoreConfig(bootstrap=0), step)
    assert step.report.metrics["a/twin_accuracy"] == pytest.approx(11 / 12)
    assert step.report.metrics["a/parse_rate"] == pytest.approx(23 / 24)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "1 of 24 samples have no row, id 'b11' among them"),
        (lambda rows: [*rows, rows[0]], "id 'g0' is there twice"),
        (lambda rows: [{"id": row["id"], "word": "a"} for row in rows], "method|no column of numbers|no score"),
        (lambda rows: [{"overall": row["overall"]} for row in rows], "no column 'id'"),
        (lambda rows: [row | {"overall": None} for row in rows], "has no score at all|no column of numbers"),
    ],
)
def test_scores_that_cannot_be_joined_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    rows = samples()
    step = context(tmp_path, dataset=saved(tmp_path / "s", rows), scores_a=saved(tmp_path / "a", change(scores(rows))))
    with pytest.raises((DataError, UsageError), match=message):
        score(ScoreConfig(columns={"a": ["overall"]} if "twice" not in message else {}), step)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"kind": "good"}, {}, "row 0: kind 'good' is none of raw_good"),
        ({"id": "b0"}, {}, "has an id twice"),
        ({}, {"unseen": ["blur"]}, "no sample has the damage 'blur'; there are colour, url"),
        ({}, {"split": "dev"}, "split 'dev' cannot be read"),
    ],
)
def test_samples_that_are_none_are_refused(tmp_path: Path, change: Any, settings: Any, message: str) -> None:
    rows = samples()
    source = [rows[0] | change, *rows[1:]]
    step = context(tmp_path, dataset=saved(tmp_path / "s", source), scores_a=saved(tmp_path / "a", scores(rows)))
    with pytest.raises(DataError, match=message):
        score(ScoreConfig(**settings), step)


RAW = [{"id": str(n), "text": text} for n, text in enumerate(["A red bus in Rome", "IMG_1.jpg", "two dogs", "a cat"])]


def test_outputs_are_measured_beside_the_raw_texts(tmp_path: Path) -> None:
    outputs = {
        "output_filter": [row for row in RAW if row["id"] != "1"],
        "output_enhanced": [row | ({"text": "A blue car"} if row["id"] == "1" else {}) for row in RAW],
        "output_new": [row | {"text": "The image shows a thing"} for row in RAW],
    }
    paths = {name: saved(tmp_path / name, rows, "train") for name, rows in outputs.items()}
    step = context(tmp_path, dataset=saved(tmp_path / "raw", RAW, "train"), **paths)
    shift(ShiftConfig(), step)
    metrics = step.report.metrics
    assert (metrics["filter/keep_rate"], metrics["enhanced/keep_rate"], metrics["new/keep_rate"]) == (1, 0.75, 0)
    assert metrics["filter/present"] == 0.75 and metrics["new/template_rate"] == 1
    assert 0 == metrics["filter/edit_distance"] < metrics["enhanced/edit_distance"] < metrics["new/edit_distance"]
    assert metrics["new/entity_retention"] == 0
    check_columns("aitqe_shift", step.output, step.report)
    assert {row["data"] for row in read_split(step.output, "measures")} == {"raw", "filter", "enhanced", "new"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*RAW, {"id": "9", "text": "x"}], "1 of its 5 rows are not in"),
        ([RAW[0], RAW[0]], "id '0' is there twice"),
        ([{"id": "0", "text": None}, RAW[1]], "id '0': a text is null"),
        ([{"id": "0", "caption": "a"}], "has no column 'text'; it has id, caption"),
    ],
)
def test_outputs_of_other_rows_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    step = context(
        tmp_path, dataset=saved(tmp_path / "raw", RAW, "train"), output_a=saved(tmp_path / "a", rows, "train")
    )
    with pytest.raises(DataError, match=message):
        shift(ShiftConfig(), step)


def test_raw_rows_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    raw = saved(tmp_path / "raw", [RAW[0], RAW[0]], "train")
    step = context(tmp_path, dataset=raw, output_a=saved(tmp_path / "a", RAW[:2], "train"))
    with pytest.raises(DataError, match="id '0' is there twice"):
        shift(ShiftConfig(), step)


def test_settings_without_their_inputs_are_refused(tmp_path: Path) -> None:
    step = context(tmp_path, dataset=saved(tmp_path / "raw", RAW, "train"))
    with pytest.raises(UsageError, match="add inputs output_NAME"):
        shift(ShiftConfig(), step)
    with pytest.raises(UsageError, match="add inputs scores_NAME"):
        score(ScoreConfig(), step)
    step = context(tmp_path, dataset=tmp_path / "raw", output_a=tmp_path / "raw")
    with pytest.raises(UsageError, match="give both, or neither"):
        shift(ShiftConfig(embedded=10), step)
