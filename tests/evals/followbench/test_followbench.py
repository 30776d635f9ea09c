"""FollowBench: the rules by hand on both languages, figures, stored answers, and what a judge is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hubwright.evals._lib.judging.cases import Row
from hubwright.evals.followbench.benchmark import FOLLOWBENCH
from hubwright.evals.followbench.rules import has_rule, matches, satisfies
from hubwright.hub_sync.errors import DataError, UsageError


def row(level: int = 1, source: str = "samsum", language: str = "en", **more: Any) -> Row:
    texts = [f"do {n}" for n in range(level + 1)]
    return {
        "id": f"fo-{language}-mixed-1-{level}", "language": language, "category": "mixed", "example_id": 1,
        "source": source, "level": level, "target": "", "versions": texts,
        "messages": [{"role": "user", "content": texts[-1]}],
        "criteria": [{"text": f"asks {n}", "kind": "mixed", "priority": "primary"} for n in range(level)], **more,
    }  # fmt: skip


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    return path


THREE = "\n\n".join(f"{n}. " + " ".join(["word"] * 24) + "." for n in (1, 2, 3))
# source, language, an answer and the highest level it satisfies (0: none)
BY_LEVEL = [
    ("cnn_dailymail", "en", "Potter is rich. The actor is calm. His films have earned much.", 5),
    ("cnn_dailymail", "en", "Potter is rich. The lavish actor is calm. His films have earned much.", 3),
    ("cnn_dailymail", "en", "Potter is rich. He is calm. His films earn much.\n", 2),
    ("cnn_dailymail", "en", "Potter is rich.", 0),
    ("xsum", "en", "An operation is saving a town.", 5),
    ("xsum", "en", "An operation is saving Newton Stewart now.", 2),
    ("samsum", "en", "Ann has stuff to do.", 5),
    ("samsum", "en", "Ann, who procrastinates, has stuff to do.", 3),
    ("gigaword", "en", "eight small words are in this short line", 5),
    ("gigaword", "en", "Eight small words are in this short line", 2),
    ("gigaword", "en", "eight small words by bus, this short line", 1),
    ("arxiv", "en", "We study activations of networks.", 5),
    ("arxiv", "en", "We study transformer activations.", 4),
    ("cnn_dailymail", "zh", "波特很富有。这位演员很冷静。他的电影赚了很多。", 5),
    ("xsum", "zh", "人们在操作机器。", 5),
    ("samsum", "zh", "她有琐碎的事。", 5),
    ("gigaword", "zh", "人们在城市里生活", 5),
    ("gigaword", "zh", "人们在城里生活3", 2),
    ("arxiv", "zh", "我们研究激活。", 5),
    ("arxiv", "zh", "我们研究transformer激活。", 4),
]


@pytest.mark.parametrize(("source", "language", "answer", "highest"), BY_LEVEL)
def test_rules_by_level(source: str, language: str, answer: str, highest: int) -> None:
    kept = [satisfies(row(level, source, language), answer) for level in range(1, 6)]
    assert kept == [level <= highest for level in range(1, 6)]


@pytest.mark.parametrize(
    ("source", "target", "answer", "met"),
    [
        ("E2E", "name[A], eatType[pub]", " name[A], eatType[pub]\n", True),
        ("E2E", "name[A]", "The name is A", False),
        ("CONLL2003", "['Bonn', 'Europe']", "Bonn", True),
        ("CONLL2003", "['Bonn', 'Europe']", "Paris", False),
        ("WIKIEVENTS", "a died\nb died", "b died", True),
        ("WIKIEVENTS", "a died", "a died\nc died", False),
        ("BBH_logical", "(B)", "first (A), so (B).", True),
        ("BBH_logical", "(B)", "none", False),
        ("BBH_time", "01/02/2003", "from 05/05/2000 to 01/02/2003", True),
        ("gsm_8k", "$18", "first $9, then $18", True),
        ("gsm_8k", "$18", "18", False),
        ("self_made_space", "north", "It lies north.", True),
    ],
)
def test_rules_with_a_target(source: str, target: str, answer: str, met: bool) -> None:
    assert has_rule(row(2, source)) and satisfies(row(2, source, target=target), answer) is met


def test_format_rows_and_templates() -> None:
    plain, chinese = re.sub(r"\d\. ", "", THREE), THREE.replace("word.", "word。")
    three = row(3, "oasst", category="format", example_id=22)
    assert has_rule(three) and satisfies(three, plain) and not satisfies(three, plain.replace("\n\n", "\n", 1))
    assert not satisfies(three, plain.replace("word word ", "word. word ", 1))
    assert not satisfies(three | {"level": 4}, THREE)  # "1" before its full stop is a sentence of one word
    four = three | {"language": "zh", "level": 4}
    assert satisfies(four, chinese) and not satisfies(four, chinese.replace("2. ", "", 1))
    assert not satisfies(four | {"level": 5}, chinese)
    assert satisfies(four | {"level": 5}, chinese + "\n\n4. " + " ".join(["word"] * 25) + "这些是建议")
    assert has_rule(row(1, "oasst", category="format", example_id=30))
    assert not has_rule(row(1, "oasst", "zh", category="format", example_id=30)) and not has_rule(row(1, "reddit"))
    template = "{instruction}\n{{'AI assistant': '{answer}'}}"
    assert matches(template, "{'AI assistant': 'yes'}") and not matches(template, "AI assistant: yes")
    assert not matches("{instruction}\nBOT: {answer}", "BOT: a\nb") and matches(
        "{instruction}\nBOT: {answer}?", "BOT: a?"
    )


def test_every_row_of_the_data_has_a_rule_or_criteria(shared_data: Path) -> None:
    from hubwright.builders.constraints import ConstraintsConfig, build

    if not (shared_data / "YJiangcm/FollowBench").is_dir():
        pytest.skip("the FollowBench data are not here")
    rows = build(ConstraintsConfig(benchmark="followbench", source=str(shared_data / "YJiangcm/FollowBench")))["test"]
    assert len(rows) == 1610 and sum(map(has_rule, rows)) == 680
    for one in rows:
        assert has_rule(one) or len(one["criteria"]) == one["level"] == len(one["versions"]) - 1
        if has_rule(one):  # the right answer keeps its rule
            target = one["target"]
            if one["source"] in ("E2E", "text_editing", "WIKIEVENTS", "self_made_space"):
                assert satisfies(one, target)
            if one["category"] != "example":  # some templates take any line
                assert not satisfies(one, "No. Such! Answer? ♞ 没。有。这。了。")


def test_figures_of_two_instructions_by_hand(tmp_path: Path) -> None:
    good = "Ann has stuff to do."
    answers = [row(level) | {"answer": good if level != 3 else "Bob."} for level in range(1, 6)]
    other = [row(level, example_id=2) | {"id": f"fo-b-{level}", "answer": good} for level in range(1, 5)]
    report = FOLLOWBENCH.score(FOLLOWBENCH.read(write(tmp_path / "a.jsonl", answers + other)), resamples=50)
    assert report["levels"]["3"] == {"hsr": 0.5, "ssr": 0.5, "n": 2} and report["levels"]["5"]["n"] == 1
    assert report["hsr"] == pytest.approx(4.5 / 5) and report["csl"] == 2  # the second one has four levels
    assert report["counts"]["by_rule"] == 9 and report["judged"] is None and report["rules"]["n"] == 9
    values = FOLLOWBENCH.figures(report, [])
    assert values["hsr_3"]["value"] == 0.5 and values["csl_rules"]["value"] == 2


def test_answers_for_a_judge_are_counted_and_not_scored_by_rules(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(1) | {"answer": "x"}, row(2, "reddit") | {"answer": "y"}])
    report = FOLLOWBENCH.score(FOLLOWBENCH.read(path), resamples=0)
    assert report["counts"]["missing"] == 1 and report["counts"]["scored"] == 1
    assert any("a judge has to see them" in part for part in FOLLOWBENCH.shown(report) if isinstance(part, str))
    with pytest.raises(DataError, match="has no answer that a rule decides"):
        FOLLOWBENCH.read(write(tmp_path / "b.jsonl", [row(2, "reddit") | {"answer": "y"}]))
    first, second = FOLLOWBENCH.read_answers(path)
    assert first.decided is True and second.decided is None and second.items == ("asks 0", "asks 1")


def test_a_judge_is_asked_about_the_rows_without_a_rule_alone(tmp_path: Path) -> None:
    from chat_server import ChatServer, all_yes

    from hubwright.evals._lib.judging.judge import judge_answers, read_judge_config

    rows = [
        row(1) | {"answer": "x"},
        row(2, "reddit") | {"answer": "y"},
        row(1, "koala") | {"id": "fo-c", "example_id": 2, "answer": " "},
    ]
    cases = FOLLOWBENCH.read_answers(write(tmp_path / "a.jsonl", rows))
    out = tmp_path / "verdicts.jsonl"
    with ChatServer(all_yes) as server:
        config = read_judge_config({"judge": f"openai:m@{server.url}", "language": "en"})
        judge_answers(cases, config, out=out)
        assert len(server.bodies) == 1
        judge_answers(cases, config, out=out)
        assert len(server.bodies) == 1
    report = FOLLOWBENCH.score(FOLLOWBENCH.read(out), resamples=0)
    assert report["counts"] == {
        "answers": 3, "scored": 3, "unresolved": 0, "missing": 0, "by_rule": 1, "by_judge": 2,
    }  # fmt: skip
    assert report["levels"]["1"] == {"hsr": 0.5, "ssr": 0.5, "n": 2} and report["levels"]["2"]["hsr"] == 1


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        (row(1) | {"answer": 3}, DataError, "line 1: the answer is int, not text"),
        (row(9) | {"answer": "a"}, DataError, "line 1: is no row of FollowBench: language 'en', level 9"),
        (row(1, language="fr") | {"answer": "a"}, DataError, "line 1: is no row of FollowBench: language 'fr'"),
        (row(1) | {"id": "cf-1", "answer": "a"}, DataError, "line 1: id 'cf-1' is of another benchmark"),
        ({"id": "fo-1", "answer": "a"}, UsageError, "line 1: answers by id need the data set"),
        ({"id": "fo-1"}, DataError, "line 1: is not a stored answer"),
        (row(2, "reddit") | {"answer": "a", "criteria": []}, DataError, "line 1: has 1 turns and 0 criteria"),
    ],
)
def test_unusable_answers_are_refused_in_one_line(record: Row, kind: type, message: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=message) as error:
        FOLLOWBENCH.read_answers(write(tmp_path / "a.jsonl", [record]))
    assert "\n" not in str(error.value)


def test_a_target_that_is_no_list_is_refused_and_samples_of_a_recipe_are_read(tmp_path: Path) -> None:
    bad = row(1, "CONLL2003", target="[no list") | {"answer": "Bonn"}
    with pytest.raises(DataError, match="its rule cannot be read from target"):
        FOLLOWBENCH.read_answers(write(tmp_path / "a.jsonl", [bad]))
    sample = {"doc": json.dumps(row(1)), "filtered_resps": json.dumps(["<think>x</think>Ann has stuff."])}
    report = FOLLOWBENCH.score(FOLLOWBENCH.read(write(tmp_path / "b.jsonl", [sample])), resamples=0)
    assert report["hsr"] == 1 and report["csl"] is None and report["counts"]["by_rule"] == 1
