"""The judge stage against a real chat server: both methods, what is recorded, what a replay needs, three-state items."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, all_yes, failure, likely_tokens, verdict_items
from pydantic import ValidationError
from starlette.responses import JSONResponse

from hubwright.evals._lib.judging.cases import Case
from hubwright.evals._lib.judging.prompts import logprob_messages, read_logprobs, reply_schema, text_messages
from hubwright.evals._lib.judging.rubric import mass_figures, outcomes, rubric_metrics
from hubwright.evals._lib.judging.stage import AskConfig, judge_cases, prompt_hash, recording_keys
from hubwright.hub_sync.errors import DataError
from hubwright.inference.serving import serve
from hubwright.inference.store import RecordingStore

TURNS = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "f"})


def cases(count: int = 4, items: int = 3, **changes: Any) -> list[Case]:
    texts = tuple(f"item {n}" for n in range(items))
    weights = tuple(1 / items for _ in range(items))
    made = [
        Case(f"c{n}", TURNS, f"answer {n}", texts, weights, {"task": "Coding", "scenario": "EC"}) for n in range(count)
    ]
    return [Case(**{**vars(case), **changes}) for case in made]


def judged(
    server: ChatServer, folder: Path, wanted: list[Case] | None = None, **settings: Any
) -> list[dict[str, Any]]:
    config = AskConfig.model_validate({"max_retries": 0, **settings})
    with ExitStack() as resources:
        served = serve(f"openai:judge@{server.url}", config, resources)
        return list(judge_cases(wanted or cases(), config, served, recording=folder).rows)


def logprob_script(body: dict[str, Any], number: int) -> Any:
    """Item 0 is met, item 1 is not, item 2 with 40 %."""
    text = body["messages"][0]["content"]
    yes = 0.9 if "item 0" in text else 0.1 if "item 1" in text else 0.4
    return likely_tokens({"是": yes * 0.8, " Yes": yes * 0.2, "否": (1 - yes) * 0.5, "NO": (1 - yes) * 0.5, "x": 0.01})


def test_logprob_asks_one_item_a_request_with_the_item_last(tmp_path: Path) -> None:
    with ChatServer(logprob_script) as server:
        rows = judged(server, tmp_path, method="logprob", concurrency=1)
    assert [row["verdict"] for row in rows[:3]] == ["yes", "no", "no"]
    assert [row["p_yes"] for row in rows[:3]] == [0.9, 0.1, 0.4]
    assert {row["state"] for row in rows} == {"complete"} and {row["method"] for row in rows} == {"logprob"}
    assert len(server.bodies) == 12
    assert {body["max_tokens"] for body in server.bodies} == {1} and server.bodies[0]["top_logprobs"] == 20
    asked = [body["messages"][0]["content"] for body in server.bodies]
    # All items of one answer come one after another, sharing all but the end: what a prompt cache lives on.
    for n in range(0, 12, 3):
        first, second, _ = asked[n : n + 3]
        shared = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
        assert first[:shared].endswith("item ") and "answer" in first[:shared]
    with ChatServer(logprob_script) as server:
        rows = judged(server, tmp_path, method="logprob", threshold=0.4)
        assert [row["verdict"] for row in rows[:3]] == ["yes", "no", "yes"] and not server.bodies  # from the record


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("prompt", ["published", "brief"])
def test_everything_that_changes_the_question_changes_its_hash(language: str, prompt: str) -> None:
    (case,) = cases(1)
    seen = {}
    for method in ("text", "logprob"):
        for more in (
            {},
            {"order": "reversed"},
            {"json_schema": True},
            {"max_tokens": 9},
            {"threshold": 0.3},
            {"min_mass": 0.1},
        ):
            try:
                config = AskConfig.model_validate({"method": method, "language": language, "prompt": prompt, **more})
            except ValidationError:
                continue  # it would do nothing
            seen[method, str(more)] = prompt_hash(case, config.question())
    assert len(set(seen.values())) == len(seen) == 7
    other = AskConfig.model_validate({"language": "en" if language == "zh" else "zh", "prompt": prompt})
    assert prompt_hash(case, other.question()) not in seen.values()


@pytest.mark.parametrize("settings", [{"method": "logprob", "order": "reversed"}, {"threshold": 0.4}])
def test_a_setting_that_does_nothing_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="does nothing with method"):
        AskConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("tokens", "p_yes", "mass"),
    [
        ({"是": 0.6, "否": 0.2}, 0.75, 0.8),
        ({" yes": 0.3, "Yes": 0.3, "No": 0.2}, 0.75, 0.8),
        ({"▁是": 0.5, "x": 0.5}, 1.0, 0.5),
        ({"maybe": 0.9, "不": 0.1}, None, 0.0),
        ({"True": 0.98, "no": 0.01}, 0.98 / 0.99, 0.99),
        ({"**Yes": 0.5, '"no': 0.25, "false\n": 0.25}, 0.5, 1.0),
        ({"<think>": 0.99999, "no": 0.000001}, 0.0, 0.000001),
    ],
)
def test_read_logprobs_words_of_yes_and_no_give_probability_and_mass(
    tokens: dict[str, float], p_yes: float | None, mass: float
) -> None:
    body = json.loads(bytes(likely_tokens(tokens).body))
    found = read_logprobs(body["choices"][0]["logprobs"]["content"])
    assert found.p_yes == (pytest.approx(p_yes) if p_yes is not None else None)
    assert found.mass == pytest.approx(mass)


@pytest.mark.parametrize(
    ("logprobs", "p_yes"),
    [
        ([], None),
        ([None], None),
        ([{"token": "yes", "logprob": None, "top_logprobs": None}], None),
        ([{"token": "yes", "logprob": None, "top_logprobs": [None, {"token": "yes", "logprob": None}]}], None),
        ([{"token": "yes", "logprob": math.nan, "top_logprobs": []}], None),
        ([{"token": "yes", "logprob": "-0.1"}], None),
        ([{"token": "yes", "logprob": 0, "top_logprobs": [{"token": "no", "logprob": None}]}], None),
        ([{"token": "Yes", "logprob": 0.0, "top_logprobs": []}], 1.0),
        ([{"token": "No", "logprob": -9999.0, "top_logprobs": [{"token": "no", "logprob": -math.inf}]}], None),
    ],
)
def test_read_logprobs_null_or_odd_logprobs_are_no_probability(logprobs: list[Any], p_yes: float | None) -> None:
    assert read_logprobs(logprobs).p_yes == p_yes


def test_logprob_judge_little_mass_on_yes_and_no_is_unparsable(tmp_path: Path) -> None:
    """A judge that thinks first put .99999 on the tag, and every item became "no" at full coverage."""

    def script(body: dict[str, Any], number: int) -> Any:
        text = body["messages"][0]["content"]
        if "item 0" in text:
            return likely_tokens({"<think>": 0.99999, "no": 0.000009, "yes": 0.000001})
        if "item 1" in text:
            return likely_tokens({"True": 0.98, "no": 0.01})
        body = json.loads(bytes(likely_tokens({"yes": 0.9}).body))
        body["choices"][0]["logprobs"]["content"][0] |= {"logprob": None, "top_logprobs": None}
        return JSONResponse(body)

    with ChatServer(script) as server:
        rows = judged(server, tmp_path, method="logprob")
    assert [row["verdict"] for row in rows[:3]] == ["unparsable", "yes", "unparsable"]
    assert [row["p_yes"] for row in rows[:3]] == [None, pytest.approx(0.98 / 0.99, abs=1e-6), None]
    assert [row["mass"] for row in rows[:3]] == [pytest.approx(0.00001, abs=1e-6), pytest.approx(0.99), None]
    assert "less than min_mass 0.5" in rows[0]["reason"] and "no logprobs" in rows[2]["reason"]
    assert outcomes(rows)["failed"] == 4
    figures = mass_figures(rows)
    assert figures["unparsable_items"] == pytest.approx(2 / 3, abs=1e-6) and figures["mass_min"] < 0.0001


def test_logprob_judge_min_mass_zero_takes_any_mass(tmp_path: Path) -> None:
    with ChatServer(lambda body, number: likely_tokens({"x": 0.9, "yes": 0.02, "no": 0.01})) as server:
        rows = judged(server, tmp_path, method="logprob", min_mass=0.0)
    assert {row["verdict"] for row in rows} == {"yes"} and {row["mass"] for row in rows} == {0.03}


def test_a_logprob_reply_without_yes_or_no_is_unparsable_and_its_neighbours_keep_theirs(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Any:
        text = body["messages"][0]["content"]
        if "answer 3" in text:
            return "是"  # a server without logprobs
        return likely_tokens({"嗯": 0.9}) if "item 1" in text and "answer 1" in text else logprob_script(body, number)

    with ChatServer(script) as server:
        rows = judged(server, tmp_path, method="logprob")
    one = [row for row in rows if row["id"] == "c1"]
    assert [row["verdict"] for row in one] == ["yes", "unparsable", "no"] and {row["state"] for row in one} == {
        "failed"
    }
    last = [row for row in rows if row["id"] == "c3"]
    assert {row["verdict"] for row in last} == {"unparsable"} and "no logprobs" in last[0]["reason"]
    assert outcomes(rows) == {"scored": 2, "wrong": 0, "empty": 0, "refused": 0, "failed": 2}


def test_a_text_reply_with_some_of_the_items_is_unparsable_for_the_others_only(tmp_path: Path) -> None:
    """Verdicts outside the rubric, missing items, no JSON, a refusal: never "no"."""

    def script(body: dict[str, Any], number: int) -> Any:
        text = body["messages"][0]["content"]
        if "answer 1" in text:
            return json.dumps({"1": {"理由": "r", "结论": "是"}, "2": {"理由": "r", "结论": "部分满足"}})
        if "answer 2" in text:
            return failure(400, "no", "content_filter")
        return "I think so" if "answer 3" in text else all_yes(body, number)

    with ChatServer(script) as server:
        rows = judged(server, tmp_path)
    found = {n: [row["verdict"] for row in rows if row["id"] == f"c{n}"] for n in range(4)}
    assert found == {0: ["yes"] * 3, 1: ["yes", "unparsable", "unparsable"], 2: [None] * 3, 3: ["unparsable"] * 3}
    states = {row["id"]: (row["state"], row["attempts"]) for row in rows}
    assert states == {"c0": ("complete", 1), "c1": ("failed", 3), "c2": ("refused", 1), "c3": ("failed", 3)}
    reasons = [row["reason"] for row in rows if row["id"] == "c1"]
    assert reasons == ["r", "item 2 has verdict '部分满足', neither yes nor no", "item 3 of 3 is missing"]


def test_reversed_items_are_put_back_in_order(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> str:
        text = body["messages"][0]["content"]
        shown = [text.index(f"item {n}") for n in range(3)]
        assert shown == sorted(shown, reverse=True)
        words = ["是", "否", "否"]  # the first that is shown is met
        return json.dumps(
            {key: {"理由": key, "结论": word} for key, word in zip(verdict_items(body), words, strict=True)}
        )

    with ChatServer(script) as server:
        rows = judged(server, tmp_path, order="reversed")
    assert [row["verdict"] for row in rows[:3]] == ["no", "no", "yes"]
    assert [row["reason"] for row in rows[:3]] == ["3", "2", "1"]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_brief_verdicts_need_no_reason_and_a_schema_says_so(language: str, tmp_path: Path) -> None:
    word = {"zh": "是", "en": "yes"}[language]
    with ChatServer(lambda body, n: json.dumps(dict.fromkeys(verdict_items(body), word))) as server:
        rows = judged(server, tmp_path, prompt="brief", language=language, json_schema=True, max_tokens=64)
    assert {row["verdict"] for row in rows} == {"yes"} and {row["reason"] for row in rows} == {""}
    form = server.bodies[0]["response_format"]
    assert form == reply_schema(3, language, "brief") and form["type"] == "json_schema"
    schema = form["json_schema"]["schema"]
    assert schema["required"] == ["1", "2", "3"] and word in schema["properties"]["1"]["enum"]


def test_any_conversation_can_be_judged() -> None:
    turns = ({"role": "system", "content": "S"}, {"role": "user", "content": "U"})
    (case,) = cases(1, messages=turns)
    for language, tag in (("zh", "<最后回答>"), ("en", "<last_answer>")):
        (message,) = text_messages(case, "the answer", language=language)
        assert f"{tag}\nthe answer" in message["content"] and "\nS\n" in message["content"]
        (message,) = logprob_messages(case, "the answer", "an item", language=language, prompt="brief")
        assert message["content"].index("the answer") < message["content"].index("an item")


def test_a_replay_is_byte_identical_and_asks_nobody(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Any:
        return "nonsense" if "answer 2" in body["messages"][0]["content"] else all_yes(body, number)

    config = AskConfig(max_retries=0)
    with ChatServer(script) as server, ExitStack() as resources:
        served = serve(f"openai:judge@{server.url}", config, resources)
        first = judge_cases(cases(), config, served, recording=tmp_path / "t").rows
    assert {row["state"] for row in first} == {"complete", "failed"}
    again = judge_cases(cases(), config, served, recording=tmp_path / "t", replay=True)  # the server is gone
    assert list(again.rows) == list(first) and again.usage.requests == 0
    with pytest.raises(DataError, match="replay"):
        judge_cases(cases(5), config, served, recording=tmp_path / "t", replay=True)
    keys = set(recording_keys(cases(), config, served))
    with RecordingStore(tmp_path / "t", readonly=True) as store:
        recorded = {record["key"] for record in store.records()}
    assert recorded <= keys and len(recorded) == 3 + 3  # three attempts at the one that failed


def test_answers_that_are_none_are_not_shown_to_the_judge(tmp_path: Path) -> None:
    states = ("ok", "empty", "failed", "refused")
    made = [Case(**{**vars(case), "answer_state": state}) for case, state in zip(cases(), states, strict=True)]
    with ChatServer(all_yes) as server:
        rows = judged(server, tmp_path, made)
        assert len(server.bodies) == 1
    assert outcomes(rows) == {"scored": 1, "wrong": 0, "empty": 1, "refused": 1, "failed": 1}
    assert [row["verdict"] for row in rows if row["id"] == "c1"] == [None] * 3


def test_rubric_figures() -> None:
    rows = [
        {
            "id": str(n),
            "item": i,
            "items": 2,
            "answer_state": "ok",
            "state": "failed" if n == 3 else "complete",
            "verdict": "yes" if i < n else "no",
        }
        for n in range(4)
        for i in range(2)
    ]
    found = rubric_metrics(rows, 200, 0)
    assert found["rubric"]["value"] == 0.5 and found["rubric_1"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["rubric_2"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["rubric_ci_low"]["value"] <= 0.5 <= found["rubric_ci_high"]["value"]
    assert rubric_metrics(rows[6:], 10, 0) == {}


def test_recording_keys_of_a_server_with_other_parameters_are_those_recorded(tmp_path: Path) -> None:
    settings = {"token_limit": "max_completion_tokens", "send_temperature": False, "max_retries": 0}
    config = AskConfig.model_validate(settings)
    with ChatServer(all_yes) as server, ExitStack() as resources:
        served = serve(f"openai:judge@{server.url}", config, resources)
        judge_cases(cases(2), config, served, recording=tmp_path)
        assert {"max_tokens", "temperature"}.isdisjoint(server.bodies[0]) and "max_completion_tokens" in server.bodies[
            0
        ]
        with RecordingStore(tmp_path, readonly=True) as store:
            keys = {record["key"] for record in store.records()}
        assert len(keys) == 2 and keys <= set(recording_keys(cases(2), config, served))
        again = judge_cases(cases(2), config, served, recording=tmp_path, replay=True)
    assert {row["verdict"] for row in again.rows} == {"yes"} and len(server.bodies) == 2
