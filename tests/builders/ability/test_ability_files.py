"""The real files, where they are."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ability_parts import COLUMNS, FOLDERS, RECIPE, built

from hubwright.builders.ability import AbilitySource

SHARED_DATA = Path(__file__).parents[4] / "shared" / "data"


def recipe_sources() -> list[dict[str, Any]]:
    """The recipe's sources with its digests, from the folder of public raw data."""
    step = yaml.safe_load(RECIPE.read_text())["steps"]["ability"]["with"]
    missing = [folder for folder in FOLDERS.values() if not (SHARED_DATA / folder).is_dir()]
    if missing:
        pytest.skip(f"{missing[0]} is not here")
    return [s | {"source": str(SHARED_DATA / FOLDERS[s["kind"]])} for s in step["sources"]]


@pytest.fixture(scope="module")
def real() -> tuple[dict[str, Any], Any]:
    """EXAMS' list of translations is not among the raw data."""
    return built(*({k: v for k, v in s.items() if k != "parallel"} for s in recipe_sources()))


def records(kind: str, file: str) -> list[Any]:
    data = (SHARED_DATA / FOLDERS[kind] / file).read_bytes()
    if file.endswith(".gz"):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            inner = archive.extractfile(archive.getmembers()[0])
            assert inner is not None
            data = inner.read()
    return [json.loads(line) for line in data.decode().split("\n") if line.strip()]


@pytest.mark.slow
def test_the_real_files_have_their_known_sizes(real: tuple[dict[str, Any], Any]) -> None:
    made, report = real
    rules = report.tables[0]
    assert rules["columns"][:4] == ["config", "train", "validation", "test"] and len(rules["columns"]) == 8
    whole = {name: sum(numbers) for name, *numbers in rules["rows"]}  # with what was left out
    held = {name: numbers[2] for name, *numbers in rules["rows"]}
    assert whole["gsm8k_en"] == 7473 + 1319 and held["gsm8k_en"] == 1319
    assert [held[n] == whole[n] for n in whole if n.startswith("mgsm")] == [True] * 11
    assert {n for name, n in whole.items() if name.startswith("mgsm")} == {250}
    assert [n for name, n in whole.items() if name.startswith("msvamp")] == [1000] * 10
    assert len({n for name, n in held.items() if name.startswith("msvamp")}) == 1
    assert whole["arc_en"] == 2242 + 1118
    exams = sum(n for name, n in whole.items() if name.startswith("exams"))
    assert len([name for name in whole if name.startswith("exams")]) == 16
    assert exams + report.counts["records_rejected"] == 7961 + 2672 + 13510
    assert report.counts["records_rejected"] == 28
    assert {reason: report.counts[f"rejected: {reason}"] for _, reason, _ in report.tables[1]["rows"]} == {
        "answer is none of the choices": 4, "question is not text": 1, "right choice is there twice": 23,
    }  # fmt: skip
    kept = {name: [len(splits.get(s, ())) for s in ("train", "validation", "test")] for name, splits in made.items()}
    assert kept == {name: numbers[:3] for name, *numbers in rules["rows"]}
    assert all(rows.column_names == COLUMNS for splits in made.values() for rows in splits.values())
    ids = [id_ for splits in made.values() for rows in splits.values() for id_ in rows["id"]]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_no_test_question_is_in_training(real: tuple[dict[str, Any], Any]) -> None:
    """By other code: letters and digits alone, of the test questions as the raw files have them too."""
    made, _ = real

    def bare(text: str) -> str:
        return re.sub(r"[\W_]+", "", text.casefold())

    def asked(*splits: str) -> set[str]:
        return {
            bare(q) for parts in made.values() for split in splits if split in parts for q in parts[split]["question"]
        }

    raw = {bare(r["question"]) for r in records("gsm8k", "test.jsonl")}
    raw |= {bare(r["question"]["stem"]) for r in records("exams", "test.jsonl.tar.gz") if r["answerKey"] != "@"}
    for path in (SHARED_DATA / FOLDERS["mgsm"]).glob("mgsm_*.tsv"):
        raw |= {bare(line.partition("\t")[0]) for line in path.read_text(encoding="utf-8").split("\n") if line}
    assert len(raw) > 16_000
    assert not asked("train") & (asked("test", "validation") | raw)
    assert not asked("validation") & asked("test")


@pytest.mark.slow
def test_msvamp_is_split_alike_in_all_languages(real: tuple[dict[str, Any], Any]) -> None:
    made, _ = real
    sides = {
        json.dumps({s: [row.rpartition("-")[2] for row in rows["id"]] for s, rows in splits.items()})
        for name, splits in made.items()
        if name.startswith("msvamp")
    }
    assert len(sides) == 1
    split = json.loads(sides.pop())
    assert not set(split["train"]) & set(split["test"]) and 450 < len(split["test"]) < 550
    # A place is a line of the file: the English question is that of the line, and so is every language's answer.
    english = records("msvamp", "test_English.json")
    for code in ("en", "bn", "zh"):
        for row in made[f"msvamp_{code}"]["test"]:
            record = english[int(row["id"].rpartition("-")[2]) - 1]
            assert float(row["answer"]) == float(record["response"])
            assert code != "en" or row["question"] == record["m_query"].strip()


@pytest.mark.slow
def test_golden_rows(real: tuple[dict[str, Any], Any]) -> None:
    made, _ = real
    row = made["gsm8k_en"]["train"][0]
    assert row["id"] == "gsm8k-train-1" and row["answer"] == "72"
    assert row["solution"].endswith("48+24 = 72 clips altogether in April and May.") and "<<" not in row["text"]
    assert not any("<<" in text or "####" in s for text, s in zip(*(made["gsm8k_en"]["train"][c] for c in ("text", "solution")), strict=True))  # fmt: skip
    assert all(re.fullmatch(r"-?\d+(\.\d+)?", a) for name in made if made[name]["test" if "test" in made[name] else "train"]["ability"][0] == "math"
               for rows in made[name].values() for a in rows["answer"])  # fmt: skip
    # MGSM's questions are GSM8K's test, in the same order, and have its answers.
    gsm8k = made["gsm8k_en"]["test"]
    assert made["mgsm_te"]["test"]["answer"] == made["mgsm_en"]["test"]["answer"] == gsm8k["answer"][:250]
    row = made["exams_bg"]["train"][0]
    assert row["id"] == "exams-bg-35dd69ff-7e71-11ea-9eb1-54bef70b159e" and (row["answer"], len(row["choices"])) == (
        "B",
        4,
    )
    assert row["text"].endswith(f"\nAnswer: B. {row['choices'][1]}")
    row = made["arc_en"]["train"][0]
    assert row["text"].startswith("Question: Which factor will most likely cause a person to develop a fever?\nA. ")
    assert (row["answer"], row["language"], row["ability"]) == ("B", "en", "science")


def test_the_sciences_of_nature_alone() -> None:
    named = re.search(r"subjects: \[(.*)\]", RECIPE.read_text())
    exams = next(s for s in recipe_sources() if s["kind"] == "exams") | {
        "subjects": named[1].split(", ") if named else []
    }
    del exams["parallel"]
    made, report = built(exams, near=None)
    assert AbilitySource.model_validate(exams).subjects and report.counts["records_rejected"] > 12_000
    assert report.counts["train_rows"] > 3000 and "exams_pl" not in made  # Polish has vocational questions alone
