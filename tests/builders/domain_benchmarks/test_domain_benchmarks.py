"""The domain benchmarks' files as rows: small files of our own, sloppy ones, and the originals where they are at hand."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from domain_parts import (
    CSV,
    HUMANEVAL,
    LAWBENCH,
    SCIEVAL,
    mbpp,
    scieval_record,
    write_lawbench,
    write_lines,
    write_scieval,
)

from hubwright.builders.domain_benchmarks import (
    CodeProblemsConfig,
    FinanceIQConfig,
    FinEvalConfig,
    LawBenchConfig,
    SciEvalConfig,
    code_problems,
    exams,
    lawbench,
    scieval,
)  # fmt: skip
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError


def run(module: Any, config: Any, tmp_path: Path) -> tuple[Any, Any]:
    context = StepContext("step", tmp_path / "work", tmp_path / "output")
    return module.build(config, context), context.report


def test_lawbench_gold_and_choices_are_taken_out_of_answer_and_instruction(tmp_path: Path) -> None:
    made, report = run(lawbench, LawBenchConfig(source=str(write_lawbench(tmp_path / "law"))), tmp_path)
    assert list(made) == list(LAWBENCH) and report.counts["test_rows"] == 20
    check_columns("lawbench", made, report)
    rows = {key: splits["test"][0] for key, splits in made.items()}
    assert {key: row["gold"] for key, row in rows.items()} == {
        "1_1": ["为了规范交易，制定本法。"], "1_2": ["B"], "2_1": ["上述证据客观真实。"], "2_2": ["租金情况"],
        "2_3": ["租金", "利息"], "2_4": ["利息"], "2_5": ["21万元借款"], "2_6": ["受害人:黄某某", "时间:2017年6月"],
        "2_7": ["两人窃电被抓。"], "2_8": ["E"], "2_9": ["支付/给付", "欺骗"], "2_10": ["查扣", "退给"],
        "3_1": ["234", "275"], "3_2": ["根据第五十六条，可以设立联合社。"], "3_3": ["故意伤害", "故意毁坏财物"],
        "3_4": ["4"], "3_5": ["42"], "3_6": ["C"], "3_7": ["8500.0"], "3_8": ["可能有影响。法律依据:第九十一条。"],
    }  # fmt: skip
    assert rows["2_2"]["choices"] == ["租金", "利息", "租金情况"] and rows["2_8"]["choices"] == list("ABCDE")
    assert rows["3_3"]["choices"] == ["故意伤害", "故意毁坏财物"] and rows["1_1"]["choices"] == []
    assert rows["1_2"]["answer"] == "正确答案：B。" and report.card["license"] == "apache-2.0"
    again, _ = run(lawbench, LawBenchConfig(source=str(tmp_path / "law"), files=("2-10.json",)), tmp_path)
    assert again["2_10"]["test"].to_list() == made["2_10"]["test"].to_list() and len(again) == 1


def test_exams_rows_come_from_a_folder_or_an_archive_alike(tmp_path: Path) -> None:
    folder = tmp_path / "val"
    folder.mkdir()
    (folder / "accounting_val.csv").write_text(CSV, encoding="utf-8-sig")
    with zipfile.ZipFile(tmp_path / "FinEval.zip", "w") as archive:
        archive.write(folder / "accounting_val.csv", "FinEval/val/accounting_val.csv")
        archive.writestr("__MACOSX/FinEval/val/accounting_val.csv", b"junk")
    files = ("accounting_val.csv",)
    made, report = run(exams, FinEvalConfig(source=str(folder), files=files), tmp_path)
    assert made["test"].to_list() == [
        {"id": "accounting-0", "subject": "accounting", "question": "银行的负债是____。",
         "choices": ["存款", "贷款", "现金", "设备"], "answer": "A"},
        {"id": "accounting-1", "subject": "accounting", "question": "税率,3%时", "choices": ["一", "二", "三", "四"],
         "answer": "D"},
    ]  # fmt: skip
    assert report.card["license"] == "cc-by-nc-sa-4.0" and report.counts["records_read"] == 2
    check_columns("fineval", made, report)
    for source, inner in ((tmp_path / "FinEval.zip", ""), (tmp_path, "FinEval.zip")):
        packed, report = run(exams, FinEvalConfig(source=str(source), folder=inner, files=files), tmp_path)
        assert packed["test"].to_list() == made["test"].to_list() and "FinEval.zip" in report.sections[-1]["body"]
    with pytest.raises(DataError, match=r"FinEval.zip: holds 0 files auditing_val.csv"):
        run(exams, FinEvalConfig(source=str(tmp_path / "FinEval.zip"), files=("auditing_val.csv",)), tmp_path)
    _, report = run(exams, FinanceIQConfig(source=str(folder), files=files), tmp_path)
    check_columns("financeiq", made, report)
    assert report.card["license"] == "other" and "not for publication" in report.summary


def test_scieval_choices_are_letters_words_or_the_items_of_the_list(tmp_path: Path) -> None:
    made, report = run(scieval, SciEvalConfig(source=str(write_scieval(tmp_path / "sci"))), tmp_path)
    assert [(r["choices"], r["answer"]) for r in made["choice"]["validation"]] == [
        (list("ABCD"), "A"), (["yes", "no", "maybe"], "no"),
    ]  # fmt: skip
    (row,) = made["filling"]["validation"]
    assert (row["choices"], row["answer"], row["topic"]) == (["CCO", "CCN", "C"], "CCN", "")
    assert report.counts["filling: dev"] == 1 and report.card["license"] == "other"
    check_columns("scieval", made, report)


def test_code_problems_columns_and_splits_are_the_official_ones(tmp_path: Path) -> None:
    path = tmp_path / "HumanEval.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(HUMANEVAL[0]).encode()))
    made, report = run(code_problems, CodeProblemsConfig(kind="humaneval", source=str(path)), tmp_path)
    assert made["test"].to_list() == HUMANEVAL and report.card["license"] == "mit"
    check_columns("code_problems", made, report)
    problems = [mbpp(number) for number in (1, 11, 510, 511, 974)]
    path = write_lines(tmp_path / "mbpp.jsonl", problems)
    made, report = run(code_problems, CodeProblemsConfig(kind="mbpp", source=str(path)), tmp_path)
    assert {split: rows["task_id"] for split, rows in made.items()} == {
        "prompt": [1], "test": [11, 510], "validation": [511], "train": [974],
    }  # fmt: skip
    assert made["test"][0] == problems[1] and made["test"].features["challenge_test_list"].feature.dtype == "string"
    check_columns("code_problems", made, report)


def table(*rows: list[str], head: str = ",Question,A,B,C,D,Answer") -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return f"{head}\n{text.getvalue()}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(["0", "q", "a", "b", "c", "d", "E"]), "the answer 'E' is none of ABCD"),
        (table(["0", "q", "a", "b", "c", "d", "AB"]), "the answer 'AB' is none of ABCD"),
        (table(["0", "q", "a", "a", "c", "d", "A"]), "right choice is there twice"),
        (table(["0", "q", "a", "", "c", "d", "A"]), "a choice is ''"),
        (table(["0", "q", "a"]), "row 0 has no 'b'"),
        (table(["0", "q", "a", "b", "c", "d", "A"], head="id,text,A,B,C,D,answer"), "has no column 'question', only id"),
        (",Question,A,B,C,D,Answer\n", "has no questions"),
        ("", "has no column 'question', only none"),
        (",Question,A,B,C,D,Answer\n0,\"q,a,b,c,d,A\n", "is not CSV"),
    ],
)  # fmt: skip
def test_exams_sloppy_table_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        run(exams, FinanceIQConfig(source=str(tmp_path), files=("x.csv",)), tmp_path)
    assert str(caught.value).startswith("x.csv: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"instruction": "a", "question": "b", "answer": "正确答案：AB。"},
            "record 0 has the answer '正确答案：AB。'",
        ),
        ({"instruction": "a", "question": "", "answer": "正确答案：A。"}, "question is ''"),
        ({"instruction": "a", "question": "b"}, "answer is None"),
        ("a text", "record 0 is 'a text'"),
    ],
)
def test_lawbench_row_that_cannot_be_scored_is_refused_with_its_number(
    tmp_path: Path, record: Any, message: str
) -> None:
    (tmp_path / "1-2.json").write_text(json.dumps([record]))
    with pytest.raises(DataError, match=message):
        run(lawbench, LawBenchConfig(source=str(tmp_path), files=("1-2.json",)), tmp_path)


def test_lawbench_label_that_the_instruction_does_not_list_is_refused(tmp_path: Path) -> None:
    instruction, question, _ = LAWBENCH["2_3"]
    record = {"instruction": instruction, "question": question, "answer": "类别:租金、赔偿。"}
    (tmp_path / "2-3.json").write_text(json.dumps([record]))
    with pytest.raises(DataError, match="record 0 has '赔偿'"):
        run(lawbench, LawBenchConfig(source=str(tmp_path), files=("2-3.json",)), tmp_path)
    with pytest.raises(DataError, match=r"9-9\.json is not one of LawBench's"):
        (tmp_path / "9-9.json").write_text("[]")
        run(lawbench, LawBenchConfig(source=str(tmp_path), files=("9-9.json",)), tmp_path)


def test_other_records_are_refused_in_one_line(tmp_path: Path) -> None:
    kind, question, _ = SCIEVAL[0]
    for record, message in (
        (scieval_record(0, kind, question, "E"), "the answer 'E' is none of"),
        (scieval_record(0, kind, "no options", "A"), r"question has the options \[\]"),
        (scieval_record(0, "essay", question, "A"), "type is 'essay'"),
        (scieval_record(0, kind, question, "A") | {"answer": []}, "not enough values"),
        ({"id": "0"}, "it has KeyError"),
    ):
        (tmp_path / "scieval-valid.json").write_text(json.dumps([record]))
        with pytest.raises(DataError, match=message):
            run(scieval, SciEvalConfig(source=str(tmp_path), files=("scieval-valid.json",)), tmp_path)
    for kind, records, message in (
        ("humaneval", [mbpp(11)], "humaneval: it has KeyError"),
        ("mbpp", [HUMANEVAL[0]], "mbpp: it has KeyError"),
        ("mbpp", [mbpp(975)], "task_id is 975, not 1 to 974"),
        ("mbpp", [mbpp(11) | {"test_list": []}], "test_list of 11 is empty"),
        ("mbpp", [mbpp(11), mbpp(11)], "task_id 11 is there twice"),
        ("humaneval", [HUMANEVAL[0] | {"test": " "}], "test is ' '"),
    ):
        path = write_lines(tmp_path / "problems.jsonl", records)
        with pytest.raises(DataError, match=message):
            run(code_problems, CodeProblemsConfig(kind=kind, source=str(path)), tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        run(scieval, SciEvalConfig(source=str(tmp_path / "nothing")), tmp_path)


@pytest.mark.slow
def test_original_files_give_all_rows_but_those_that_are_told(tmp_path: Path, shared_data: Path) -> None:
    finance = shared_data / "8023looker/VersaTune/SFT_series/benchmark/finance"
    sources = (
        (lawbench, LawBenchConfig(source=str(shared_data / "open-compass/LawBench/data/zero_shot")), 10_000, 8),
        (exams, FinEvalConfig(source=str(finance / "FinEval/data/val")), 1151, 1),
        (exams, FinanceIQConfig(source=str(finance / "FinanceIQ/data/test")), 7123, 1),
        (scieval, SciEvalConfig(source=str(shared_data / "OpenDFM/SciEval")), 1511, 0),
        (code_problems, CodeProblemsConfig(
            kind="humaneval", source=str(shared_data / "openai/human-eval/data/HumanEval.jsonl.gz")), 164, 0),
        (code_problems, CodeProblemsConfig(
            kind="mbpp", source=str(shared_data / "OckBench/OckBench/data/mbpp.jsonl")), 974, 0),
    )  # fmt: skip
    for module, config, read, refused in sources:
        made, report = run(module, config, tmp_path)
        configs = list(made.values()) if isinstance(next(iter(made.values())), dict) else [made]
        rows = sum(len(part) for splits in configs for part in splits.values())
        assert (report.counts["records_read"], report.counts["records_rejected"]) == (read, refused)
        assert rows == read - refused
