"""The step `constraints`: the three published sets, and files as people bring them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from column_parts import check_columns

from hubwright.builders._lib.context import local_context
from hubwright.builders.constraints import ConstraintsConfig, build
from hubwright.hub_sync.errors import DataError, UsageError

SOURCES = {
    "cfbench": ("PKU-Baichuan-MLSystemLab/CFBench/data/cfbench_data.json", 999, 4236),
    "sysbench": ("PKU-Baichuan-MLSystemLab/SysBench/output/gpt4o/gpt4o_analysis.xlsx", 2500, 5952),
    "followbench": ("YJiangcm/FollowBench", 1610, 3630),
}


def item(number: int, **more: Any) -> dict[str, Any]:
    criteria = [["short", "主需", "数值约束", "x"], ["kind", "次需", "风格约束", "y"]]
    return {"idx": number, "prompt": "ask", "gold": "", "split": "easy", "criteria": criteria, **more}


def write(path: Path, rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return str(path)


def book(path: Path, rows: list[dict[str, Any]]) -> str:
    sheet = openpyxl.Workbook()
    names = list(rows[0])
    sheet.active.append(names)
    for row in rows:
        sheet.active.append([row[name] for name in names])
    sheet.save(path)
    return str(path)


def turn(session: int, number: int, **more: Any) -> dict[str, Any]:
    return {
        "system_id": session, "multi_rounds_related": "True", "alignment": "align", "round_index": number,
        "system_prompt": "be kind", "prompt": f"ask {number}", "referrence": f"say {number}",
        "评判细则": "1. short | 格式约束\n2. kind | 风格约束", "领域": "a", "场景": "b",
    } | more  # fmt: skip


def step(level: int, number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "example_id": number, "category": "style", "source": "quora", "level": level, "instruction": f"do {level}",
        "target": "",
    } | more  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_published_files_are_read_whole(name: str, shared_data: Path) -> None:
    path, rows, criteria = SOURCES[name]
    if not (shared_data / path).exists():
        pytest.skip("the benchmark's files are not here")
    context = local_context()
    result = build(ConstraintsConfig.model_validate({"benchmark": name, "source": str(shared_data / path)}), context)
    check_columns("constraints", result, context.report)
    assert len(result["test"]) == rows and context.report.counts["criteria"] == criteria
    assert len(set(result["test"]["id"])) == rows
    for row in result["test"]:
        assert row["messages"][-1]["role"] == "user" and all(one["text"] for one in row["criteria"])


def test_turns_follow_on_the_reference_answers(tmp_path: Path) -> None:
    source = book(tmp_path / "a.xlsx", [turn(7, number) for number in (2, 1, 3, 5, 4)])
    rows = build(ConstraintsConfig(benchmark="sysbench", source=source))["test"]
    assert [row["turn"] for row in rows] == [1, 2, 3, 4, 5]
    assert [one["content"] for one in rows[2]["messages"]] == ["be kind", "ask 1", "say 1", "ask 2", "say 2", "ask 3"]
    assert rows[0]["criteria"][1] == {"text": "kind", "kind": "style", "priority": "primary"} and rows[0]["related"]


def test_levels_have_a_criterion_for_each_constraint(tmp_path: Path) -> None:
    write(tmp_path / "f/data/style_constraints.json", [step(level) for level in range(6)])
    write(tmp_path / "f/data_zh/example_constraints.json", [step(level, category="example") for level in range(1, 6)])
    rows = build(ConstraintsConfig(benchmark="followbench", source=str(tmp_path / "f")))["test"]
    assert [row["id"] for row in rows][:2] == ["fo-en-style-1-1", "fo-en-style-1-2"] and len(rows) == 10
    assert [len(row["criteria"]) for row in rows] == [1, 2, 3, 4, 5, 0, 0, 0, 0, 0]
    assert "First: do 1\nSecond: do 2" in rows[1]["criteria"][1]["text"] and rows[9]["language"] == "zh"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([item(0), item(0)], "record 2: id cf-0 occurs twice"),
        ([item(0, prompt=" ")], "record 1: prompt is ' ', not text"),
        ([item(0, criteria=[])], "record 1: criteria is no list"),
        ([item(0, criteria=[["a", "first", "b"]])], "record 1: a criterion's priority is 'first'"),
        ([item(0, criteria=["a"])], "record 1: a criterion is 'a'"),
        ([item(0, split="medium")], "record 1: split is 'medium', not one of easy, hard"),
        ([item(0, idx=None)], "record 1: idx is None, not a whole number"),
        ([item(0, idx=True)], "record 1: idx is True"),
        (["text"], "record 1: prompt is None"),
        ([], "has no records"),
    ],
)
def test_unusable_records_are_refused_in_one_line(rows: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as error:
        build(ConstraintsConfig(benchmark="cfbench", source=write(tmp_path / "data.json", rows)))
    assert "\n" not in str(error.value)


def test_half_surrogate_pairs_become_replacement_characters(tmp_path: Path) -> None:
    source = write(tmp_path / "data.json", [item(0, prompt="x")])
    (tmp_path / "data.json").write_text((tmp_path / "data.json").read_text().replace('"x"', '"a\\ud800b"'))
    assert (
        build(ConstraintsConfig(benchmark="cfbench", source=source))["test"][0]["messages"][0]["content"] == "a\ufffdb"
    )


def test_records_in_are_rows_and_rejected(tmp_path: Path) -> None:
    context = local_context()
    source = write(tmp_path / "data.json", [item(0), item(1, prompt=None), item(2, split=3), item(3)])
    result = build(ConstraintsConfig(benchmark="cfbench", source=source, max_rejected_share=0.5), context)
    counts = context.report.counts
    assert len(result["test"]) == 2 and counts["records_read"] == 4 and counts["records_rejected"] == 2
    assert counts["rejected: no prompt"] == 1 and counts["rejected: unknown split"] == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([turn(1, n) for n in (1, 2, 3)], "session 1 has turns"),
        ([turn(1, n) for n in (1, 2, 3, 4, 4)], "session 1 has turn 4 twice"),
        ([turn(1, 1) | {"评判细则": "short"}], "has no line"),
        ([turn(1, 1) | {"评判细则": "1. short | 长度"}], "a criterion's kind is '长度'"),
        ([turn(1, 1, round_index=0)], "round_index is 0"),
        ([turn(1, 1, referrence=None)], "referrence is None"),
    ],
)
def test_unusable_turns_are_refused_in_one_line(rows: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        build(ConstraintsConfig(benchmark="sysbench", source=book(tmp_path / "a.xlsx", rows)))


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("no workbook")
    with pytest.raises(DataError, match=r"a\.xlsx: is no workbook"):
        build(ConstraintsConfig(benchmark="sysbench", source=str(tmp_path / "a.xlsx")))
    with pytest.raises(UsageError, match="no folder with data"):
        build(ConstraintsConfig(benchmark="followbench", source=str(tmp_path)))
    write(tmp_path / "f/data/colour_constraints.json", [step(1)])
    with pytest.raises(DataError, match="is no file of FollowBench"):
        build(ConstraintsConfig(benchmark="followbench", source=str(tmp_path / "f")))
    write(tmp_path / "g/data/style_constraints.json", [step(0), step(2)])
    with pytest.raises(DataError, match="example 1 has level 2 after"):
        build(ConstraintsConfig(benchmark="followbench", source=str(tmp_path / "g")))
    with pytest.raises(DataError, match="2 rows, expected 999"):
        source = write(tmp_path / "data.json", [item(0), item(1)])
        build(ConstraintsConfig(benchmark="cfbench", source=source, expect_rows=999))


def test_records_that_are_no_objects_are_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "f/data/style_constraints.json", ["text", 3])
    with pytest.raises(DataError, match="record 1: level is None"):
        build(ConstraintsConfig(benchmark="followbench", source=str(tmp_path / "f")))
