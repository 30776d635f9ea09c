"""The FB-Bench builder: the published composition, our sample, and every way an input can be wrong."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from column_parts import check_columns
from pydantic import ValidationError

from hubwright.builders.fbbench import FBBenchConfig, build
from hubwright.builders.fbbench.build import SAMPLE
from hubwright.builders.fbbench.schema import DEFICIENCIES, EC, FEEDBACK, RM, SUB_TASKS, features
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, HubError, HubwrightError, UsageError

Record = dict[str, Any]


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext("fbbench", tmp_path / "work", tmp_path / "out")


def sample_records() -> list[Record]:
    return json.loads(SAMPLE.read_text(encoding="utf-8"))


def official(shared_data: Path) -> Path:
    path = shared_data / "PKU-Baichuan-MLSystemLab/FB-Bench/data/feedback-benchmark/fb_bench_dataset_v3.json"
    if not path.is_file():
        pytest.skip("the official data set is not here")
    return path


def test_official_data_have_the_published_composition(shared_data: Path, context: StepContext) -> None:
    path = official(shared_data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    data = build(FBBenchConfig(source=str(path), expect_rows=591, expect_sha256=digest), context)
    assert list(data) == ["test"]
    rows = list(data["test"])
    source = json.loads(path.read_text(encoding="utf-8"))
    assert [row["messages"][0]["content"] for row in rows] == [record["user_query"] for record in source]
    assert len({row["id"] for row in rows}) == 591
    assert Counter(row["bench_type"] for row in rows) == {EC: 281, RM: 310}
    cells = Counter((row["task_type"], row["bench_type"]) for row in rows)
    expected = {
        "Mathematics": (64, 31),
        "Reasoning": (53, 28),
        "Coding": (47, 41),
        "Text Extraction": (24, 31),
        "Text Error Correction": (45, 23),
        "Text Creation": (27, 66),
        "Knowledge Q&A": (12, 43),
        "Text Translation": (9, 47),
    }
    assert {task: (cells[task, EC], cells[task, RM]) for task in SUB_TASKS} == expected
    assert Counter(label for row in rows for label in row["error_types"]) == dict(
        zip(DEFICIENCIES, (63, 45, 127, 96, 26), strict=True)
    )
    feedback = Counter((row["bench_type"], label) for row in rows for label in row["feedback_types"])
    assert [feedback[EC, label] for label in FEEDBACK[EC]] == [37, 33, 20, 150, 17, 140]
    assert [feedback[RM, label] for label in FEEDBACK[RM]] == [80, 95, 95, 44]
    assert sum(len(row["checklist"]) for row in rows if row["any_of"]) == 580
    assert sum(len(row["checklist"]) for row in rows if not row["any_of"]) == 1016
    weights = Counter(item["weight"] for row in rows for item in row["checklist"])
    assert weights[None] == 580 and weights[0.2] == 269 and weights[1.0] == 7 and weights[0.15] == 70
    assert sum(row["reference_response"] is not None for row in rows) == 194
    # Nothing is lost: the official record can be made from the row again.
    for row, record in zip(rows, source, strict=True):
        assert [turn["content"] for turn in row["messages"]] == [
            record[field] for field in ("user_query", "origin_first_response", "feedback")
        ]
        items = [[i["text"], i["weight"]] if record["bench_type"] == EC else i["text"] for i in row["checklist"]]
        assert items == record["checklist"] and row["error_types"] == (record["error_type"] or [])
        assert row["reference_response"] == record.get("reference_second_response")
    assert context.report.card["license"] == "other" and context.report.card["language"] == ["zh"]
    assert "arxiv:2410.09412" in context.report.card["tags"]
    assert str(path.parent) not in json.dumps(vars(context.report))
    assert context.report.counts["rows"] == 591


def test_sample_covers_every_cell_and_label(context: StepContext) -> None:
    data = build(FBBenchConfig(), context)
    rows = list(data["test"])
    assert data["test"].features == features()
    assert len(rows) >= 24
    assert {(row["bench_type"], row["task_type"]) for row in rows} == {(s, t) for s in (EC, RM) for t in SUB_TASKS}
    assert {label for row in rows for label in row["error_types"]} == set(DEFICIENCIES)
    for scenario in (EC, RM):
        found = {label for row in rows if row["bench_type"] == scenario for label in row["feedback_types"]}
        assert found == set(FEEDBACK[scenario])
    assert {len(row["checklist"]) for row in rows if row["any_of"]} == {1, 2, 3}
    assert {row["reference_response"] is None for row in rows} == {True, False}
    chinese = [bool(re.search(r"[\u4e00-\u9fff]", row["messages"][2]["content"])) for row in rows]
    assert 0.3 < sum(chinese) / len(rows) < 0.7
    assert context.report.card["license"] == "apache-2.0"
    json.dumps(vars(context.report))  # goes into provenance.json as it is
    check_columns("fbbench", data, context.report)


def test_sample_shares_no_text_with_the_official_data(shared_data: Path) -> None:
    theirs = official(shared_data).read_text(encoding="utf-8")
    for record in sample_records():
        for text in (record["user_query"], record["origin_first_response"]):
            assert json.dumps(text, ensure_ascii=False)[1:-1] not in theirs


def test_rows_survive_parquet(context: StepContext, tmp_path: Path) -> None:
    import datasets

    data = build(FBBenchConfig(), context)
    (tmp_path / "data").mkdir()
    data["test"].to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    again = datasets.load_dataset(str(tmp_path / "data"), split="test", cache_dir=str(tmp_path / "cache"))
    assert list(again) == list(data["test"]) and again.features == features()


def set_(field: str, value: Any) -> Callable[[list[Record]], None]:
    return lambda records: records[1].__setitem__(field, value)


BROKEN: dict[str, tuple[Callable[[list[Record]], Any], str]] = {
    "missing field": (lambda r: r[1].pop("feedback"), "feedback: Field required"),
    "unknown field": (set_("note", 1), "note = 1: Extra inputs are not permitted"),
    "empty text": (set_("user_query", " \n"), "user_query = ' \\n': String should match pattern"),
    "text of another type": (set_("feedback", 5), "feedback = 5: Input should be a valid string"),
    "empty reference": (
        set_("reference_second_response", ""),
        "reference_second_response = '': String should match pattern",
    ),
    "unknown scenario": (
        set_("bench_type", "Anti-Sycophancy"),
        "expected tags: 'Error Correction', 'Response Maintenance'",
    ),
    "unhashable scenario": (set_("bench_type", ["x"]), "found using 'bench_type'"),
    "unknown task": (set_("task_type", "Math"), "task_type = 'Math': Input should be 'Mathematics'"),
    "sub-task of another task": (set_("sub_task_type", "Code Debugging"), "Mathematics has Algebra"),
    "unknown deficiency": (
        set_("error_type", ["Not Following User Instructions"]),
        "error_type.0 = 'Not Following User",
    ),
    "deficiency missing": (set_("error_type", None), "error_type = None: Input should be a valid list"),
    "feedback of the other scenario": (
        set_("feedback_type", ["Misinformation"]),
        "Input should be 'Clarifying Intent'",
    ),
    "label twice": (set_("feedback_type", ["Hinting Guidance"] * 2), "feedback_type: write each item once"),
    "weights": (set_("checklist", [["a", 0.5], ["b", 0.4]]), "checklist: the weights sum to 0.9 instead of 1"),
    "weight of 0": (set_("checklist", [["a", 0], ["b", 1]]), "checklist.0.1 = 0: Input should be greater than 0"),
    "weight true": (set_("checklist", [["a", True]]), "checklist.0.1 = True: Input should be a valid number"),
    "no weight": (set_("checklist", ["a"]), "checklist.0 = 'a': Input should be a valid tuple"),
    "empty item": (set_("checklist", [["", 1.0]]), "checklist.0.0 = '': String should match pattern"),
    "item twice": (set_("checklist", [["a", 0.5], ["a", 0.5]]), "checklist: write each item once"),
    "no items": (set_("checklist", []), "checklist = []: List should have at least 1 item"),
    "weight in maintenance": (
        lambda r: r[2].__setitem__("checklist", [["a", 1.0]]),
        "record 3: checklist.0 = ['a', 1.0]",
    ),
    "deficiency in maintenance": (
        lambda r: r[2].__setitem__("error_type", []),
        "error_type = []: Input should be None",
    ),
    "half a pair": (
        set_("feedback", "a \ud83d"),
        "feedback = 'a \\ud83d': Input should be a valid string, unable to parse raw data as a unicode",
    ),
    "half a pair in an item": (
        set_("checklist", [["\ude00", 1.0]]),
        "checklist.0.0 = '\\ude00': Input should be a valid string, unable",
    ),
    "query twice": (
        lambda r: r[1].__setitem__("user_query", r[0]["user_query"]),
        "user_query is that of an earlier record",
    ),
    "not an object": (lambda r: r.__setitem__(1, cast(Any, "text")), "record 2: Input should be a valid dictionary"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_is_one_line_with_the_remedy(name: str, tmp_path: Path, context: StepContext) -> None:
    change, said = BROKEN[name]
    records = copy.deepcopy(sample_records())
    change(records)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        build(FBBenchConfig(source=str(path)), context)
    line = str(caught.value)
    assert "\n" not in line and line.startswith("rows.json: 1 of 32 records are rejected") and said in line


def test_broken_rows_are_counted_and_left_out_up_to_the_share(tmp_path: Path, context: StepContext) -> None:
    records = sample_records()
    records[3]["task_type"], records[3]["feedback"], records[7]["checklist"] = "?", "", []
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(DataError, match=r"2 of 32 records are rejected \(.*first is record 4: task_type = '\?'"):
        build(FBBenchConfig(source=str(path)), context)
    rows = build(FBBenchConfig(source=str(path), max_rejected_share=0.1), context)["test"]
    assert len(rows) == 30 and context.report.counts["rejected: checklist"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no records"),
        (b'[{"a": 1}', "is not JSON"),
        (b'{"rows": []}', "1 of 1 records are rejected (bench_type"),
        (b"[]", "has no records"),
        (b"[NaN]", "NaN is not JSON"),
        (b'["\xff"]', "byte 2 is not UTF-8"),
        (b"[" * 100_000, "is not JSON (maximum recursion"),
    ],
)
def test_a_broken_file_is_one_line(content: bytes, said: str, tmp_path: Path, context: StepContext) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        build(FBBenchConfig(source=str(path)), context)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"expect_rows": 591}, DataError, "32 rows, expected 591"),
        ({"expect_sha256": "0" * 64}, DataError, "expected 000"),
        ({"source": "no/such/file.json"}, UsageError, "no such file"),
        ({"source": "http://127.0.0.1:9/rows.json"}, HubError, "cannot be read"),
        ({"source": "nobody/nothing@v1"}, HubError, "not found"),
    ],
)
def test_a_wrong_source_is_one_line(
    config: Record, error: type[HubwrightError], said: str, context: StepContext
) -> None:
    with pytest.raises(error) as caught:
        build(FBBenchConfig(**config), context)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_config_refuses_unknown_keys_and_documents_the_known() -> None:
    with pytest.raises(ValidationError):
        FBBenchConfig(sources="x")
    with pytest.raises(ValidationError):
        FBBenchConfig(expect_sha256="abc")
    assert all(field.description for field in FBBenchConfig.model_fields.values())


def test_a_hub_source_is_pinned_to_a_commit(
    api: Any, namespace: str, context: StepContext, quiet_progress: None
) -> None:
    repo = f"{namespace}/official"
    api.create_repo(repo, repo_type="dataset")
    api.upload_file(path_or_fileobj=str(SAMPLE), path_in_repo="raw/rows.json", repo_id=repo, repo_type="dataset")
    config = FBBenchConfig(source=f"{repo}@main", file="raw/rows.json")
    rows = build(config, context)["test"]
    commit = api.repo_info(repo, repo_type="dataset").sha
    assert len(rows) == 32
    assert any(f"{repo}@{commit}" in section["body"] for section in context.report.sections)
    with pytest.raises(HubError, match=r"file fb_bench_dataset_v3\.json: file not found"):
        build(FBBenchConfig(source=repo), context)
