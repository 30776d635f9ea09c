"""The step that compares models: replies in all their forms, figures by hand, the card, and what cannot be joined."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from landmark_eval_parts import PARENTS, landmarks, pairs, questions, save, step_context

from hubwright.evals._lib.data import read_split
from hubwright.evals.landmarks.score import LandmarkScoreConfig, score
from hubwright.hub_sync.errors import DataError, UsageError

Row = dict[str, Any]
LEVELS = ("name", *PARENTS)


def asked(splits: tuple[str, ...] = ("test", "unseen")) -> list[Row]:
    return [row | {"split": split} for split in splits for row in questions(split)]


def replies(write: Callable[[Row], Any] = lambda row: row["answer"], **more: Any) -> list[Row]:
    return [
        {"image_id": row["image_id"], "level": row["level"], "language": "en", "reply": write(row),
         **{name: value(row) if callable(value) else value for name, value in more.items()}}
        for row in asked()
    ]  # fmt: skip


def ranked(split: str) -> list[Row]:
    """Questions with buckets, as `entity_ranks` leaves them."""
    buckets = {"L0": "known", "L1": "known", "L2": "between"}
    return [row | {"bucket": buckets.get(row["landmark_id"], "unknown")} for row in questions(split)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    every = {split: questions(split) for split in ("train", "test", "unseen")}
    return save(tmp_path_factory.mktemp("questions"), {"questions": every, "landmarks": {"train": landmarks()}})


def replies_set(folder: Path, rows: list[Row], split: str = "test") -> Path:
    return save(folder, {"default": {split: rows}})


def test_models_are_compared_by_level_split_and_landmark(tmp_path: Path, data: Path) -> None:
    def forgetful(row: Row) -> str | None:
        if row["split"] == "unseen" and row["level"] == "name":
            return "I don't know"
        if row["name"] == "Red Tower":
            return {"name": "The Green Tower", "supercategory": "bridge"}.get(row["level"], row["answer"])
        return None if row["name"] == "Blue Peak" else f"It is {row['answer']}"

    context = step_context(
        tmp_path, dataset=data, replies_good=replies_set(tmp_path / "a", replies()),
        replies_bad=replies_set(tmp_path / "b", replies(forgetful)),
    )  # fmt: skip
    score(LandmarkScoreConfig(order=["good", "bad"], match="contains", bootstrap=200), context)
    check_columns("landmark_score", context.output, context.report)
    metrics = context.report.metrics
    assert metrics["good/accuracy"] == metrics["good/consistency"] == metrics["good/accuracy_caption"] == 1
    assert metrics["bad/accuracy"] == pytest.approx(4 / 8)  # not the tower, the peak, and two unseen landmarks
    assert metrics["bad/answered"] == pytest.approx(5 / 8) and "good/gap" not in metrics
    rows = {(r["method"], r["level"], r["part"], r["figure"]): r for r in read_split(context.output, "figures")}
    assert rows["bad", "name", "split unseen", "accuracy"]["value"] == 0
    assert rows["bad", "name", "split test", "accuracy"]["value"] == pytest.approx(4 / 6)
    assert rows["bad", "supercategory", "all", "accuracy"]["value"] == pytest.approx(5 / 7)
    whole = rows["bad", "name", "all", "accuracy"]
    assert whole["low"] < whole["value"] < whole["high"] and whole["landmarks"] == 8 and whole["descriptive"]
    assert "descriptive" in context.report.summary
    table = next(one for one in context.report.tables if one["title"] == "Confusion by granularity")
    assert table["columns"][2:] == [*LEVELS, "none", "no such name", "refused"]
    assert table["rows"][1] == ["bad", 16, 0.5, pytest.approx(2 / 16), 0, 0, 0, 0, pytest.approx(6 / 16)]
    table = next(one for one in context.report.tables if one["title"] == "Every two methods")
    assert table["rows"][0][:8] == ["name", "good", "bad", 8, 8, 0, 0, "0.00781"]
    assert (context.output / "plots/kinds-1.png").stat().st_size > 1000
    assert (context.output / "images-unseen.png").is_file() and (context.output / "images-test.png").is_file()
    assert json.loads((context.output / "scores.json").read_text())["comparisons"][0]["p"] == pytest.approx(2 / 256)


def test_buckets_have_figures_and_images(tmp_path: Path) -> None:
    data = save(tmp_path / "ranked", {"default": {"test": ranked("test"), "unseen": ranked("unseen")}})
    known = replies(lambda row: row["answer"] if row["landmark_id"] in ("L0", "L1") else "Red Bridge")
    context = step_context(tmp_path, dataset=data, replies_m=replies_set(tmp_path / "a", known))
    score(LandmarkScoreConfig(bootstrap=0), context)
    chart = next(one for one in context.report.bars if one["title"] == "Names by bucket")
    assert chart["groups"] == ["known", "between", "unknown"]
    assert chart["series"]["m"] == [[1, None, None], [0, None, None], [pytest.approx(2 / 10), None, None]]
    assert {path.name for path in context.output.glob("images-*.png")} == {
        "images-known.png", "images-between.png", "images-unknown.png"
    }  # fmt: skip


def test_a_row_per_image_answers_all_its_levels(tmp_path: Path, data: Path) -> None:
    """As `landmark_predict` writes them; GAP takes the confidence of the names."""
    rows = []
    for split in ("test", "unseen"):
        for number, pair in enumerate(pairs(split)):
            wrong = split == "unseen"
            rows.append({
                "image_id": pair["image_id"], **{level: "Red Tower" if wrong and level == "name" else pair[level]
                                                 for level in LEVELS},
                "confidence": (0.1 if wrong else 0.5) + number / 100,
            })  # fmt: skip
    context = step_context(tmp_path, dataset=data, replies_r=replies_set(tmp_path / "a", rows))
    score(LandmarkScoreConfig(bootstrap=0), context)
    metrics = context.report.metrics
    assert metrics["r/accuracy"] == metrics["r/gap"] == pytest.approx(12 / 16)
    assert metrics["r/accuracy_supercategory"] == 1 and "r/accuracy_caption" not in metrics
    assert context.report.counts["r: rows about other images or levels"] == 2 * 3  # the lake has no parents


def test_choices_are_counted_beside_their_chance(tmp_path: Path, data: Path) -> None:
    rows = replies(choice=lambda row: row["landmark_id"] == "L0" if row["level"] == "name" else None)
    for row in rows:
        row["options"] = '["a", "b", "c", "d"]'
    from datasets import Dataset, Features, List, Value

    table = [row | {"options": ["a", "b", "c", "d"]} for row in rows]
    kinds = {"options": List(Value("string")), "choice": Value("bool")}
    features = Features({name: kinds.get(name, Value("string")) for name in table[0]})
    (tmp_path / "a").mkdir()
    Dataset.from_list(table, features=features).to_parquet(str(tmp_path / "a" / "test-00000.parquet"))
    context = step_context(tmp_path, dataset=data, replies_m=tmp_path / "a")
    score(LandmarkScoreConfig(bootstrap=0), context)
    assert context.report.metrics["m/choice"] == pytest.approx(2 / 16) and context.report.chance["m/choice"] == 0.25


def test_samples_of_lm_eval_are_replies(tmp_path: Path, data: Path) -> None:
    samples = [
        {"task": "landmark_levels", "doc": json.dumps({k: row[k] for k in ("image_id", "level", "language")}),
         "filtered_resps": json.dumps([row["answer"] if row["level"] != "name" else "x"])}
        for row in asked()
    ] + [{"task": "mmlu", "doc": json.dumps({"question": "?"}), "filtered_resps": "[]"}]  # fmt: skip
    context = step_context(tmp_path, dataset=data, replies_m=replies_set(tmp_path / "a", samples, "samples"))
    score(LandmarkScoreConfig(bootstrap=0), context)
    assert context.report.metrics["m/accuracy"] == 0 and context.report.metrics["m/accuracy_supercategory"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "1 of 16 questions of its levels have no row|of its levels have no row, image"),
        (lambda rows: [*rows, rows[0]], "image 'L0-20' has a reply of the level name before"),
        (lambda rows: [row | {"image_id": "else"} for row in rows[:3]], "none of its 3 rows is about one of the 74"),
        (lambda rows: [{"id": row["image_id"], "answer": row["reply"]} for row in rows], "neither image_id, level and"),
        (lambda rows: [row | {"level": "city"} for row in rows], "none of its"),
        (lambda rows: [row | {"language": "vi"} for row in rows], "none of its"),
        (lambda rows: [row | {"confidence": float("nan")} for row in rows], "the confidence is not a finite number"),
        (lambda rows: [row | {"confidence": float("inf")} for row in rows], "the confidence is not a finite number"),
    ],
)  # fmt: skip
def test_replies_that_cannot_be_joined_are_refused(tmp_path: Path, data: Path, change: Any, message: str) -> None:
    context = step_context(tmp_path, dataset=data, replies_m=replies_set(tmp_path / "a", change(replies())))
    with pytest.raises(DataError, match=message) as caught:
        score(LandmarkScoreConfig(bootstrap=0), context)
    assert "\n" not in str(caught.value) and "org/replies_m" in str(caught.value)


def test_replies_of_numbers_are_refused(tmp_path: Path, data: Path) -> None:
    from datasets import Dataset

    (tmp_path / "a").mkdir()
    rows = [row | {"reply": 3} for row in replies()]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "a" / "test-00000.parquet"))
    with pytest.raises(DataError, match="split test, row 0: the reply is not a text: 3"):
        score(LandmarkScoreConfig(), step_context(tmp_path, dataset=data, replies_m=tmp_path / "a"))


def test_only_what_a_model_was_asked_is_compared(tmp_path: Path, data: Path) -> None:
    names = [row for row in replies() if row["level"] == "name"]
    context = step_context(
        tmp_path, dataset=data, replies_all=replies_set(tmp_path / "a", replies()),
        replies_names=replies_set(tmp_path / "b", names),
    )  # fmt: skip
    score(LandmarkScoreConfig(bootstrap=0, gallery=0), context)
    table = next(one for one in context.report.tables if one["title"] == "Every two methods")
    assert [row[0] for row in table["rows"]] == ["name"] and not list(context.output.glob("images-*.png"))
    assert "names/accuracy_supercategory" not in context.report.metrics


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([*questions("test"), questions("test")[0]], {}, "row 29: image 'L0-20'|has a question of the level name before"),
        (questions("test"), {"splits": ["dev"]}, "has none of the splits dev"),
        ([questions("test")[0] | {"level": "city"}], {}, "row 0, image 'L0-20': the level is none of"),
        ([{"image": None, "image_id": "a"}], {}, "split test has no column 'landmark_id'"),
    ],
)  # fmt: skip
def test_questions_that_are_none_are_refused(tmp_path: Path, rows: list[Row], settings: Any, message: str) -> None:
    data = save(tmp_path / "q", {"default": {"test": rows}})
    context = step_context(tmp_path, dataset=data, replies_m=replies_set(tmp_path / "a", replies()))
    with pytest.raises(DataError, match=message) as caught:
        score(LandmarkScoreConfig(**settings), context)
    assert "\n" not in str(caught.value)


def test_inputs_and_their_order_are_checked(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="add inputs replies_NAME"):
        score(LandmarkScoreConfig(), step_context(tmp_path, dataset=data))
    context = step_context(tmp_path, dataset=data, replies_m=replies_set(tmp_path / "a", replies()))
    with pytest.raises(UsageError, match="order names x, and the inputs are m"):
        score(LandmarkScoreConfig(order=["x"]), context)
