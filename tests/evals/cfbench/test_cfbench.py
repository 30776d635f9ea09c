"""CFBench: the two published rows at hand, the corrected readings, and replies as judges write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubwright.evals.cfbench.benchmark import CFBENCH
from hubwright.evals.cfbench.items import verdicts_of
from hubwright.evals.cfbench.scorer import item_figures, published_figures
from hubwright.hub_sync.errors import DataError, UsageError

KEYS = ("csr", "isr", "psr")


def item(number: int, priorities: str = "主次次", split: str = "easy", **more: Any) -> dict[str, Any]:
    criteria = [[f"c{place}", f"{p}需", "内容约束", "x"] for place, p in enumerate(priorities)]
    return {"idx": number, "prompt": "ask", "gold": "", "split": split, "criteria": criteria, **more}


def built(number: int, priorities: tuple[str, ...] = ("primary", "secondary", "secondary")) -> dict[str, Any]:
    """A row of the step `constraints`."""
    criteria = [{"text": f"c{n}", "kind": "k", "priority": p} for n, p in enumerate(priorities)]
    turns = [{"role": "user", "content": f"ask {number}"}]
    return {"id": f"cf-{number}", "messages": turns, "criteria": criteria, "level": "easy", "reference": None}


def judged(number: int, reply: str, **more: Any) -> dict[str, Any]:
    return item(number, response="answer", judge_response=reply, **more)


def write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def test_two_published_rows_and_what_their_failed_parses_hide(shared_data: Path) -> None:
    import openpyxl

    folder = shared_data / "PKU-Baichuan-MLSystemLab/CFBench/output"
    if not folder.is_dir():
        pytest.skip("the published judgements are not here")
    names = [f"{key.upper()}{split}" for split in ("_easy", "_hard", "") for key in KEYS]
    sheet = openpyxl.load_workbook(folder / "scores.xlsx").active.iter_rows(values_only=True)
    head = next(sheet)
    published = {line[1]: dict(zip(head, line, strict=True)) for line in sheet}
    reports = {}
    for model, answers in (("gpt4o", 4), ("moonshot", 20)):
        reports[model] = report = CFBENCH.score(CFBENCH.read(folder / f"judge/{model}_eval.json"), resamples=0)
        theirs = report["published"]
        ours = [part[key] if part else None for part in (theirs["easy"], theirs["hard"], theirs) for key in KEYS]
        assert ours == [published[model][name] for name in names]
        assert report["counts"]["answers"] == answers
    first, second = reports["moonshot"]["items"]
    assert (first["met"], first["criteria"], first["unresolved"]) == (6, 8, 0) and first["published"] == [1, 1, 1]
    assert (second["met"], second["criteria"], second["unresolved"]) == (7, 9, 1)
    assert second["low"] == [pytest.approx(7 / 9), 0, 0] and second["high"] == [pytest.approx(8 / 9), 0, 1]
    assert reports["moonshot"]["counts"]["unresolved"] == 1 and not reports["gpt4o"]["items"]


@pytest.mark.parametrize(
    ("met", "priorities", "figures"),
    [
        ("11", "pp", (1, 1, 1)),
        ("10", "pp", (0.5, 0, 0)),
        ("110", "pss", (2 / 3, 0, 0)),  # 0.75
        ("11110", "pssss", (0.8, 0, 1)),  # 0.875
        ("111100", "psssss", (4 / 6, 0, 0)),  # 0.5 + 0.5 * 0.6 = 0.8 is not above
        ("01111", "pssss", (0.8, 0, 0)),
        ("11110", "sssss", (0.8, 0, 0)),  # CSR has to be above 0.8
        ("111110", "ssssss", (5 / 6, 0, 1)),
    ],
)
def test_figures_of_an_answer_by_hand(met: str, priorities: str, figures: tuple[float, ...]) -> None:
    words = [{"p": "primary", "s": "secondary"}[one] for one in priorities]
    assert item_figures([one == "1" for one in met], words) == pytest.approx(figures)
    theirs = published_figures({"scores": [int(one) for one in met], "parsing": 1}, words)
    assert theirs == pytest.approx(figures, abs=0.005)


def test_reply_is_read_by_the_text_of_its_criteria() -> None:
    reply = "b \t1\n\n a\t 0\nnoise\nd\t2\nc\t1\nc\t0"
    assert [one.met for one in verdicts_of(("a", "b", "c", "d", "e"), reply)] == [False, True, None, None, None]
    assert [one.met for one in verdicts_of(("a",), "")] == [None]


def test_zeros_count_and_lines_without_verdict_are_bounded(tmp_path: Path) -> None:
    rows = [judged(0, "c0\t1\n\nc1\t0\n\nc2\t0"), judged(1, "c0\t1\n\nc1\t1"), judged(2, "nothing", split="hard")]
    stored = CFBENCH.read(write(tmp_path / "a_eval.json", rows))
    report = CFBENCH.score(stored, resamples=50)
    assert report["bounds"]["csr"] == pytest.approx([1 / 3, (1 / 3 + 1 + 1) / 3])
    assert report["bounds"]["psr"] == pytest.approx([0, 2 / 3]) and report["csr"] == report["bounds"]["csr"][0]
    counts = report["counts"]
    assert (counts["answers"], counts["scored"], counts["unresolved"], counts["criteria_unresolved"]) == (3, 1, 2, 4)
    assert report["published"] is None and set(report["splits"]) == {"easy", "hard"}
    with pytest.raises(
        DataError, match=r"2 of 3 answers are unusable \(0 failed, 2 without a verdict on some item, 0 missing\)"
    ):
        CFBENCH.score(stored, max_failed=0.1)
    assert any("3 answers: 1 scored" in line for line in CFBENCH.shown(report) if isinstance(line, str))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no verdict"),
        ([judged(0, "c0\t1", split="medium")], "row 1: is no item of CFBench: split 'medium'"),
        ([judged(0, "c0\t1") | {"criteria": [["a", "first"]]}], "row 1: is no item of CFBench"),
        ([judged(0, "c0\t1") | {"criteria": []}], "row 1: is no item of CFBench"),
        ([judged(0, "c0\t1") | {"judge_response": None}], "row 1: has no judge_response"),
        ([judged(0, "c0\t1", judge_score=["2"], judge_parsing="1")], "row 1: judge_score"),
        ([judged(0, "c0\t1", judge_score=["x"], judge_parsing="1")], "row 1: judge_score"),
        ([{"id": 1}], "is neither a verdict file"),
    ],
)
def test_unusable_judgements_are_refused_in_one_line(rows: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as error:
        CFBENCH.read(write(tmp_path / "a_eval.json", rows))
    assert "\n" not in str(error.value)


def test_answers_are_read_beside_the_data_set_or_with_it(tmp_path: Path) -> None:
    items = write(tmp_path / "data.json", [built(n) for n in range(3)])
    answers = write(
        tmp_path / "a.json", [{"id": "cf-1", "answer": "<think>no</think>yes"}, {"id": "cf-2", "answer": " "}]
    )
    first, second = CFBENCH.read_answers(answers, items)
    assert (first.id, first.answer, first.answer_state) == ("cf-1", "yes", "ok") and second.answer_state == "empty"
    assert first.labels["priorities"] == ["primary", "secondary", "secondary"] and first.items == ("c0", "c1", "c2")
    with pytest.raises(UsageError, match="line 1: answers by id need the data set"):
        CFBENCH.read_answers(answers, None)
    with pytest.raises(DataError, match="line 1: row cf-9 is not in the data set"):
        CFBENCH.read_answers(write(tmp_path / "b.json", [{"id": "cf-9", "answer": "x"}]), items)
    assert CFBENCH.read_answers(write(tmp_path / "c.json", [item(0, response="r")]), None)[0].answer == "r"


def test_an_empty_answer_meets_nothing_and_is_resolved(tmp_path: Path) -> None:
    from hubwright.evals._lib.judging.cases import JudgeInfo, verdict_rows

    case = CFBENCH.read_answers(write(tmp_path / "c.json", [item(0, response=" ")]), None)[0]
    rows = verdict_rows(case, [], JudgeInfo(), state="not_judged", attempts=0, prompt_hash="", answers=1)
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = CFBENCH.score(CFBENCH.read(path), resamples=0, max_failed=0.0)
    assert report["bounds"]["csr"] == [0, 0] and report["counts"]["answers_empty"] == 1
