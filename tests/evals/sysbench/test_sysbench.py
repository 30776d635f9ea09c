"""SysBench: the three published workbooks, what differs in them, and rows as people bring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from hubwright.evals.sysbench.benchmark import SYSBENCH
from hubwright.evals.sysbench.workbook import length_rule
from hubwright.hub_sync.errors import DataError

HEAD = (
    "system_id", "multi_rounds_related", "alignment", "round_index", "system_prompt", "prompt", "answer", "infer_model",
    "评判细则", "评判理由", "评判结果", "是否可用",
)  # fmt: skip
# naive sums of the rows, and those of the summary sheets: turns by the column 是否可用 and kept, criteria met
BOOKS = {
    "gpt4o/gpt4o_analysis.xlsx": (1909, 1905, 5183, 5, 4),
    "moonshot/moonshot_analysis.xlsx": (1308, 1304, 4185, 15, 12),
    "with_gt_history_output/gpt4o/gpt4o_analysis.xlsx": (1979, 1977, 5290, 7, 5),
}


def turn(session: int, number: int, words: str = "是", **more: Any) -> dict[str, Any]:
    lines = words.split(",")
    return {
        "system_id": session, "multi_rounds_related": "False", "alignment": "align", "round_index": number,
        "system_prompt": "be short", "prompt": "ask", "answer": "yes", "infer_model": "m",
        "评判细则": "\n".join(f"{n}. keep {n} | 内容约束" for n in range(1, len(lines) + 1)),
        "评判理由": "", "评判结果": "\n".join(f"{n}. 内容约束 | {word}" for n, word in enumerate(lines, 1)),
        "是否可用": int("否" not in lines),
    } | more  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]], head: tuple[str, ...] = HEAD) -> Path:
    book = openpyxl.Workbook()
    book.active.append(head)
    for row in rows:
        book.active.append([row.get(name) for name in head])
    book.save(path)
    return path


@pytest.mark.parametrize("name", BOOKS)
def test_published_workbook_gives_its_summary_sheets_and_the_rows_that_differ(name: str, shared_data: Path) -> None:
    path = shared_data / "PKU-Baichuan-MLSystemLab/SysBench/output" / name
    if not path.is_file():
        pytest.skip("the published judgements are not here")
    report = SYSBENCH.score(SYSBENCH.read(path), resamples=20)
    available, kept, met, words, turns = BOOKS[name]
    counts = report["counts"]
    assert (counts["turns"], counts["dialogues"], counts["criteria"]) == (2500, 500, 5952)
    assert (report["available"]["turns"], counts["turns_satisfied"], counts["criteria_met"]) == (available, kept, met)
    assert len(report["unresolved"]) == words and len({one["id"] for one in report["unresolved"]}) == turns
    sheets = openpyxl.load_workbook(path).worksheets
    kinds = {"动作约束": "action", "内容约束": "content", "背景约束": "background"} | {
        "角色约束": "role", "格式约束": "format", "风格约束": "style",
    }  # fmt: skip
    head, _, mets, rates = sheets[1].iter_rows(values_only=True)
    for kind, number, rate in zip(head[1:-1], mets[1:-1], rates[1:-1], strict=True):
        ours = report["kinds"][kinds[kind]]
        assert ours["met"] == number and round(100 * ours["csr"], 2) == rate
    assert round(100 * report["csr"], 2) == rates[-1]
    _, rounds, shares = sheets[2].iter_rows(values_only=True)
    assert [one["satisfied"] for one in report["turns"].values()] == list(rounds[1:6])
    assert round(100 * report["isr"], 2) == shares[6]
    runs = list(sheets[3].iter_rows(values_only=True))[1][1:]
    for part, name_ in (
        (runs[: len(runs) // 3][:5], "related"),
        (runs[len(runs) // 3 : 2 * len(runs) // 3][:5], "parallel"),
    ):
        dialogues = counts["dialogues"] * report["sessions"][name_]["n"] / counts["turns"]
        assert report["sessions"][name_]["ssr"] == pytest.approx(sum(part) / (5 * dialogues))
    assert report["rules"]["criteria"] == 68 and abs(report["rules"]["csr"] - report["csr"]) <= 68 / 5952
    low, high = report["bounds"]["isr"]
    assert low <= available / 2500 <= high


def test_figures_of_two_dialogues_by_hand(tmp_path: Path) -> None:
    first = [turn(1, n, "是,是" if n < 3 else "是,否") for n in range(1, 6)]
    second = [
        turn(2, n, "否" if n == 1 else "是", multi_rounds_related="True", alignment="misalign") for n in range(1, 6)
    ]
    report = SYSBENCH.score(SYSBENCH.read(write(tmp_path / "a.xlsx", first + second)), resamples=50)
    assert report["csr"] == 11 / 15 and report["isr"] == 6 / 10 and report["ssr"] == (2 / 5 + 0) / 2
    assert report["sessions"]["parallel"]["ssr"] == 2 / 5 and report["sessions"]["related"]["isr"] == 4 / 5
    assert "ssr" not in report["alignment"]["aligned"] and report["rules"] == {
        "criteria": 0, "changed": 0, "csr": 11 / 15, "isr": 0.6, "ssr": 0.2,
    }  # fmt: skip


def test_words_beside_yes_and_no_are_listed_and_bounded(tmp_path: Path) -> None:
    rows = [turn(1, 1, "是,不适用"), turn(1, 2, "部分是"), turn(1, 3, "否"), turn(1, 4), turn(1, 5)]
    report = SYSBENCH.score(SYSBENCH.read(write(tmp_path / "a.xlsx", rows)), resamples=0)
    assert [(one["id"], one["criterion"], one["word"]) for one in report["unresolved"]] == [
        ("sys-1-1", 2, "不适用"), ("sys-1-2", 1, "部分是"),
    ]  # fmt: skip
    assert report["bounds"]["isr"] == [2 / 5, 4 / 5] and report["bounds"]["ssr"] == [0, 2 / 5]
    assert report["available"]["turns"] == 4 and report["counts"]["failed"] == 1


def test_length_rule_counts_what_a_criterion_says() -> None:
    assert length_rule("汉字字数数量小于3", "你好 ok") is True and length_rule("汉字字数数量小于2", "你好 ok") is False
    assert length_rule("回答字数数量大于4", "你好 ok") is True and length_rule("字数数量等于4", "你好 ok") is False
    assert length_rule("回答要简洁", "你好") is None


def test_a_rule_on_lengths_changes_verdicts_only_in_its_own_figures(tmp_path: Path) -> None:
    text = {"评判细则": "1. 字数数量小于2 | 格式约束", "评判结果": "1. 格式约束 | 是", "answer": "long"}
    rows = [turn(1, 1, **text), *(turn(1, n) for n in range(2, 6))]
    report = SYSBENCH.score(SYSBENCH.read(write(tmp_path / "a.xlsx", rows)), resamples=0)
    assert report["csr"] == 1 and report["ssr"] == 1
    assert report["rules"] == {"criteria": 1, "changed": 1, "csr": 0.8, "isr": 0.8, "ssr": 0.0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([turn(1, 1), turn(1, 1)], "row 3 is the same turn as row 2"),
        ([turn(1, 6)], "row 2: is no turn of SysBench: turn 6"),
        ([turn(1, 1) | {"评判细则": "none"}], "row 2: is no turn of SysBench: turn 1, 0 criteria"),
        ([turn(1, 1) | {"评判细则": "1. a | 颜色约束"}], "row 2: is no turn of SysBench"),
        ([turn(1, 1) | {"alignment": "other"}], "row 2: is no turn of SysBench"),
        ([turn(1, 1) | {"system_id": None}], "row 2: is no turn of SysBench"),
        ([turn(1, 1) | {"评判结果": "1. 内容约束 | 是\n7. 内容约束 | 是"}], "row 2: has a verdict on criterion 7"),
        ([], "holds no verdict"),
    ],
)
def test_unusable_workbooks_are_refused_in_one_line(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as error:
        SYSBENCH.read(write(tmp_path / "a.xlsx", rows))
    assert "\n" not in str(error.value) and "a.xlsx" in str(error.value)


def test_missing_verdicts_and_damaged_files(tmp_path: Path) -> None:
    rows = [turn(1, 1) | {"评判结果": None}, turn(1, 2) | {"answer": None, "评判结果": ""}]
    stored = SYSBENCH.read(write(tmp_path / "a.xlsx", rows))
    report = SYSBENCH.score(stored, resamples=0)
    assert report["counts"]["criteria_unresolved"] == 2 and report["bounds"]["csr"] == [0, 1]
    with pytest.raises(
        DataError, match=r"2 of 2 answers are unusable \(1 failed, 1 without a verdict on some item, 0 missing\)"
    ):
        SYSBENCH.score(stored, max_failed=0.4)
    (tmp_path / "b.xlsx").write_bytes(b"PK not a workbook")
    with pytest.raises(DataError, match=r"b\.xlsx: is no workbook that can be read"):
        SYSBENCH.read(tmp_path / "b.xlsx")
    assert any("2 turns of 1 dialogues" in line for line in SYSBENCH.shown(report) if isinstance(line, str))
