"""Reading of verdicts: the judge's reply, our file, the official files with their drift."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_parts import read_judged

from hubwright.evals._lib.judging.cases import ItemVerdict, JudgeInfo, verdict_rows
from hubwright.evals._lib.judging.prompts import VerdictError, parse_verdicts, text_messages
from hubwright.evals._lib.judging.verdicts import read_stored
from hubwright.evals.fbbench.samples import EC, RM, Sample
from hubwright.evals.fbbench.verdicts import Judged, read_official
from hubwright.hub_sync.errors import DataError

NAMES = {"zh": ("理由", "结论", "是", "否"), "en": ("reason", "verdict", "yes", "no")}


def sample(items: int = 2, scenario: str = EC) -> Sample:
    weights: tuple[float | None, ...] = tuple(1 / items if scenario == EC else None for _ in range(items))
    turns = (
        {"role": "user", "content": "问{题}"},
        {"role": "assistant", "content": "答"},
        {"role": "user", "content": "错"},
    )
    return Sample("fb-1", scenario, "Coding", (), (), tuple(f"第{i}项" for i in range(items)), weights, turns)


@given(st.lists(st.tuples(st.booleans(), st.text(min_size=1).filter(str.strip)), min_size=1, max_size=12), st.data())
def test_every_wellformed_reply_is_read_back(entries: list[tuple[bool, str]], data: st.DataObject) -> None:
    reason, verdict, yes, no = NAMES[data.draw(st.sampled_from(["zh", "en"]))]
    reply = {
        str(n): {reason: text, verdict: yes if met else no, "extra": 1} for n, (met, text) in enumerate(entries, 1)
    }
    order = data.draw(st.permutations(list(reply)))
    text = json.dumps({key: reply[key] for key in order}, ensure_ascii=data.draw(st.booleans()))
    if data.draw(st.booleans()):
        text = f"```json\n{text}\n```"
    found = parse_verdicts(text, len(entries))
    assert [one.met for one in found] == [value for value, _ in entries]
    assert [one.reason for one in found] == [said.strip() for _, said in entries]


@given(st.text(), st.integers(1, 4))
def test_no_text_breaks_the_parser(text: str, items: int) -> None:
    try:
        found = parse_verdicts(text, items)
    except VerdictError as error:
        assert "\n" not in str(error)[:20]
    else:
        assert len(found) == items


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values, st.integers(1, 3))
def test_no_json_breaks_the_parser(value: Any, items: int) -> None:
    reply = json.dumps({"1": value, "2": {"理由": "a", "结论": value}})
    try:
        parse_verdicts(reply, items)
    except VerdictError:
        pass


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("{}", "item 1 of 2 is missing"),
        ('{"1": {"理由": "a", "结论": "是"}}', "item 2 of 2 is missing"),
        ('{"1": {"理由": "a", "结论": "是"}, "2": "是"}', "item 2 of 2 is missing"),
        ('{"1": {"理由": "", "结论": "是"}, "2": {"理由": "a", "结论": "否"}}', "item 1 has no reason"),
        ('{"1": {"理由": "a", "结论": "部分是"}, "2": {"理由": "a", "结论": "否"}}', "neither yes nor no"),
        ('{"1": {"理由": "a", "结论": ""}, "2": {"理由": "a", "结论": "否"}}', "neither yes nor no"),
        ('["是", "否"]', "not an object"),
        ("我认为两项都满足", "not JSON"),
        ('{"1": {"理由": "a', "not JSON"),
        ("[" * 5000, "not JSON"),
    ],
)
def test_an_unusable_reply_says_why(reply: str, said: str) -> None:
    with pytest.raises(VerdictError, match=said):
        parse_verdicts(reply, 2)


@pytest.mark.parametrize(
    "shape",
    [
        "Here are my verdicts:\n\n```json\n{reply}\n```\nItem 2 was close.",
        "<think>\n```json\n{draft}\n```\n</think>\n```json\n{reply}\n```",
        "The form was {draft}. Mine: {reply}",
        "{draft}\n</think>\n{reply}",
    ],
)
def test_read_verdicts_words_fences_and_thoughts_around_the_object_do_not_count(shape: str) -> None:
    draft, reply = (
        json.dumps({"1": {"reason": "a", "verdict": w}, "2": {"reason": "b", "verdict": "no"}}) for w in ("no", "yes")
    )
    assert [one.met for one in parse_verdicts(shape.format(draft=draft, reply=reply), 2)] == [True, False]


def test_words_are_read_with_care() -> None:
    reply = json.dumps({"1": {"reason": "a", "verdict": " Yes."}, "2": {"reason": "a", "verdict": False}})
    assert [one.met for one in parse_verdicts(reply, 2)] == [True, False]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_prompt_holds_what_the_protocol_asks(language: str) -> None:
    (message,) = text_messages(sample().case(None, "ok"), "新的回答 {x}", language=language)
    text = message["content"]
    assert message["role"] == "user"
    for part in ("问{题}", "答", "错", "新的回答 {x}", "1. 第0项", "2. 第1项", "0.5"):
        assert part in text
    skeleton = json.loads(text.rsplit("\n", 1)[-1])
    reason, verdict, *_ = NAMES[language]
    assert skeleton == {number: {reason: "", verdict: ""} for number in ("1", "2")}
    (plain,) = text_messages(sample(scenario=RM).case(None, "ok"), "x", language=language)
    assert "权重" not in plain["content"] and "weight" not in plain["content"]


def official(checklist: list[Any], judgement: Any, **changes: Any) -> dict[str, Any]:
    return {
        "bench_type": EC if isinstance(checklist[0], list) else RM,
        "task_type": "Mathematics",
        "sub_task_type": "Algebra",
        "user_query": "q",
        "origin_first_response": "a",
        "feedback": "f",
        "error_type": ["Logical Error"] if isinstance(checklist[0], list) else None,
        "feedback_type": ["Simple Questioning"],
        "checklist": checklist,
        "second_response": "b",
        "infer_model": "m",
        "judge_model": "j",
        "judgement": judgement,
        "score": 0.5,
        **changes,
    }


def entry(word: str, weight: float | None = None) -> dict[str, Any]:
    return {"评判理由": "因为", "评判结果": word, "weight": weight}


def test_official_verdicts_are_joined_by_index_not_by_text() -> None:
    checklist = [["等于$\\frac{1}{2}$", 0.6], ["列出 过程", 0.4]]
    drifted = {"等于$\frac{1}{2}$": entry("是", 0.6), "列出过程": entry("否", 0.4)}  # "\f" is a form feed here
    judged = read_official(official(checklist, drifted), "x")
    assert judged.verdicts == (True, False) and judged.state == "complete" and judged.reasons == ("因为", "因为")
    swapped = {"列出 过程": entry("否", 0.4), "等于 frac12": entry("是", 0.6)}
    assert read_official(official(checklist, swapped), "x").verdicts == (True, False)


def test_an_echoed_weight_is_never_used() -> None:
    judged = read_official(official([["a", 0.7], ["b", 0.3]], {"a": entry("是", 1.0), "b": entry("否", 0.0)}), "x")
    assert judged.sample.weights == (0.7, 0.3)


def test_dropped_items_and_refusals_are_told_apart() -> None:
    checklist = ["a", "b"]
    partial = read_official(official(checklist, {"b": entry("是")}), "x")
    assert partial.verdicts == (None, True) and partial.state == "partial"
    assert read_official(official(checklist, {"note": "repetitive"}), "x").state == "refused"
    assert read_official(official(checklist, None), "x").state == "refused"


@pytest.mark.parametrize(
    ("verdict", "shown"), [(["是", "否"], '["是"'), ({"是": 1}, '{"是"'), (1, "1"), (True, "true")]
)
def test_read_verdicts_official_verdict_is_not_text_names_line_and_item(tmp_path, verdict, shown) -> None:
    path = write(tmp_path / "v.jsonl", [official(["a", "b"], {"a": entry("是"), "b": entry(verdict)})])
    with pytest.raises(DataError, match=re.escape(f"v.jsonl: line 1: the verdict on 'b' is {shown}")) as caught:
        read_judged(path)
    assert "write one of 是, 否" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["verdict", "state", "weight", "attempts", "item", "items"])
def test_read_verdicts_own_row_with_a_list_for_a_value_names_the_line(tmp_path, field) -> None:
    rows = rows_of_one()
    path = write(tmp_path / "v.jsonl", [{**row, field: [{"x": ["y"]}]} for row in rows])
    with pytest.raises(DataError, match=r"v\.jsonl: line \d is not a verdict") as caught:
        read_judged(path)
    assert "\n" not in str(caught.value)


def rows_of_one(answers: int = 1) -> list[dict[str, Any]]:
    verdicts = [ItemVerdict(True, "r"), ItemVerdict(False, "s")]
    judge = JudgeInfo("judge", language="")
    case = sample().case("an answer")
    return verdict_rows(case, verdicts, judge, state="complete", attempts=1, prompt_hash="abc", answers=answers)


def write(path: Path, rows: list[dict[str, Any]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + tail, encoding="utf-8")
    return path


def test_our_file_holds_all_that_scoring_needs(tmp_path: Path) -> None:
    path = write(tmp_path / "v.jsonl", rows_of_one(answers=3))
    assert read_stored(path).expected == 3
    plain = Sample(**{**vars(sample()), "messages": ()})
    rows = tuple(rows_of_one(answers=3))
    assert read_judged(path) == [Judged(plain, (True, False), "complete", "ok", ("r", "s"), "judge", rows)]


def test_torn_lines_and_second_runs(tmp_path: Path) -> None:
    rows = rows_of_one()
    torn = read_judged(write(tmp_path / "torn.jsonl", rows, tail='{"id": "fb-2", "it'))
    assert len(torn) == 1
    half = read_stored(write(tmp_path / "half.jsonl", [*rows, {**rows[0], "id": "fb-2", "answers": 2}]))
    assert len(half.cases) == 1 and half.expected == 2
    (tmp_path / "half.jsonl").write_bytes(
        (tmp_path / "half.jsonl").read_bytes() + "半".encode()[:2]
    )  # a torn character
    assert len(read_judged(tmp_path / "half.jsonl")) == 1
    later = [{**row, "verdict": "yes"} for row in rows]
    assert read_judged(write(tmp_path / "again.jsonl", rows + later))[0].verdicts == (True, True)
    cut = read_judged(write(tmp_path / "cut.jsonl", rows + later[:1] + later))
    assert cut[0].verdicts == (True, True)


def test_our_rows_as_parquet(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "verdicts.parquet"
    datasets.Dataset.from_list(rows_of_one()).to_parquet(path)
    assert read_judged(path)[0].verdicts == (True, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no verdict"),
        ('{"a": 1}\n', "neither a verdict file"),
        ("nonsense\n", "line 1 is not JSON"),
        ("[1]\n", "line 1 is not a JSON object"),
        ('{"judgement": {}}\n', "line 1: is not a record of FB-Bench"),
        ('{"id": "a", "item": 0, "verdict": "yes", "state": "complete"}\n', "line 1 is not a verdict"),
    ],
)
def test_a_foreign_file_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_judged(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_bad_values_in_our_file_are_one_line(tmp_path: Path) -> None:
    rows = rows_of_one()
    for field, value in (("verdict", "maybe"), ("state", "odd"), ("weight", "heavy"), ("item", "one")):
        path = write(tmp_path / f"{field}.jsonl", [{**row, field: value} for row in rows])
        with pytest.raises(DataError, match="is not a verdict"):
            read_judged(path)


def test_an_official_sample_may_occur_once(tmp_path: Path) -> None:
    record = official(["a"], {"a": entry("是")})
    with pytest.raises(DataError, match="occurs twice"):
        read_judged(write(tmp_path / "v.jsonl", [record, record]))
