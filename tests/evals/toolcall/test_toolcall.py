"""The toolcall task: parsing, metrics, rendering, and a real run through lm-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.tool_calls import METRICS, Prediction, argument_f1, canonical, parse, score
from hubwright.evals._lib.tool_turns import plain_turns
from hubwright.evals.toolcall.task import turns_to_answer

GOLD = [{"name": "tip", "arguments": {"bill": 20, "split": [1, 2], "who": {"a": "x"}}}]
TOOL = {"type": "function", "function": {"name": "tip", "description": "Trinkgeld für 好", "parameters": {}}}

DEFINITION = {"name": "tip", "parameters": {"type": "object", "properties": {"bill": {"type": "number"}}}}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
CALLS = st.lists(
    st.fixed_dictionaries({"name": st.text(min_size=1), "arguments": st.dictionaries(st.text(), JSON, max_size=4)}),
    min_size=1,
    max_size=3,
)


def written(calls: list[dict[str, Any]]) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(c, ensure_ascii=False)}\n</tool_call>" for c in calls)


@given(CALLS)
def test_what_is_written_is_read(calls: list[dict[str, Any]]) -> None:
    text = written(calls)
    if "<tool_call>" in json.dumps(calls) or "</tool_call>" in json.dumps(calls):
        return
    result = score(calls, text)
    assert result["call_exact"] == result["call_name"] == result["call_valid"] == 1.0
    assert result["call_argument_f1"] == pytest.approx(1.0)
    assert score(calls, written(calls[::-1]))["call_exact"] == 1.0


ONE, TWO = (json.dumps({"name": name, "arguments": {"a": 1}}) for name in ("f", "g"))


@pytest.mark.parametrize(
    ("response", "names", "valid"),
    [
        # What servers and models write in place of plain <tool_call> blocks.
        (f"```JSON\n{ONE}\n```", ["f"], True),
        (f"```tool_call\n{ONE}\n```", ["f"], True),
        (f"```tool_calls\n[{ONE}, {TWO}]\n```", ["f", "g"], True),
        (f"<tool_call>\n```json\n{ONE}\n```\n</tool_call>", ["f"], True),
        (f"<tool_call>```\n{ONE}```</tool_call>\n<tool_call>{TWO}</tool_call>", ["f", "g"], True),
        (f"First:\n```json\n{ONE}\n```\nthen:\n```json\n{TWO}\n```", ["f", "g"], True),
        (f"```json\n{ONE}\n```", ["f"], True),
        ("```tool_call\nf(a=1)\n```", [], False),
        ('<tool_call>{"name": "f"}</tool_call>', ["f"], True),
        ('{"name": "f"}', ["f"], True),
        (json.dumps({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}), ["f"], True),
        (json.dumps({"name": "f", "parameters": {}}), ["f"], True),
        (json.dumps({"name": "f", "arguments": {"a": 1}, "call_id": "1"}), ["f"], True),
        (json.dumps({"thought": "The user wants f.", "name": "f", "arguments": {"a": 1}}), ["f"], True),
        (json.dumps([{"name": "f", "arguments": {}, "confidence": 0.9}]), ["f"], True),
        ("So:\n```json\n" + json.dumps({"name": "f", "arguments": {"a": 1}, "call_id": "1"}) + "\n```", ["f"], True),
        (json.dumps({"name": "f", "parameters": {"type": "object"}}), ["f"], True),
    ],
)
def test_parse_call_in_the_forms_in_use_is_read(response: str, names: list[str], valid: bool) -> None:
    found = parse(response)
    assert [call["name"] for call in found.calls] == names and found.attempted and found.valid == valid


@pytest.mark.parametrize(
    "response",
    [
        'Here is the profile:\n```json\n{"name": "Alice", "age": 3}\n```\nAnything else?',
        'Here is the name:\n```json\n{"name": "Alice"}\n```',
        'As a table:\n```\n[{"name": "Alice"}, {"name": "Bob"}]\n```',
        '{"name": "Alice", "age": 3}',
        'Edited:\n```json\n{"name": "lint", "arguments": {"fix": true}, "version": "1.0"}\n```',
        'In Python:\n```python\n{"name": "f", "arguments": {}}\n```',
        # Definitions of tools.
        f"I have:\n```json\n{json.dumps(DEFINITION)}\n```",
        f"I have:\n```json\n{json.dumps([{'type': 'function', 'function': DEFINITION}])}\n```",
        json.dumps([DEFINITION]),
        json.dumps({"name": "f", "parameters": {"type": "dict", "properties": {}}}),
    ],
)
def test_parse_record_with_a_name_is_no_call(response: str) -> None:
    assert parse(response) == Prediction((), False, False)
    assert score([], response)["no_call"] == 1.0


@given(st.text(), CALLS)
def test_any_response_is_scored(response: str, calls: list[dict[str, Any]]) -> None:
    for gold in (calls, []):
        result = score(gold, response)
        assert set(result) <= set(METRICS)
        assert all(0.0 <= value <= 1.0 for value in result.values())


@given(JSON)
def test_equal_json_is_canonically_equal(value: Any) -> None:
    assert canonical(value) == canonical(json.loads(json.dumps(value)))


def test_json_equality() -> None:
    assert canonical({"a": 1.0, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical(True) != canonical(1)
    assert canonical("1") != canonical(1)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (written(GOLD), {"call_exact": 1, "call_name": 1, "call_valid": 1, "call_missing": 0}),
        (json.dumps(GOLD[0]), {"call_exact": 1}),
        (f"Sure:\n```json\n{json.dumps(GOLD[0])}\n```", {"call_exact": 1}),
        ("<tool_call>\n" + json.dumps(GOLD[0]), {"call_exact": 1}),
        (
            '<tool_call>{"name": "tip", "arguments": {}}</tool_call>',
            {"call_exact": 0, "call_name": 1, "call_valid": 1},
        ),
        ('<tool_call>{"name": "tip", "arg', {"call_exact": 0, "call_valid": 0, "call_missing": 0}),
        (written(GOLD * 2), {"call_exact": 0, "call_name": 0}),
        (written(GOLD) + "<tool_call>oops</tool_call>", {"call_exact": 0, "call_valid": 0}),
        ('<tool_call>{"name": "tip", "arguments": {"bill": NaN}}</tool_call>', {"call_valid": 0}),
        ("I would tip 20.", {"call_exact": 0, "call_missing": 1, "call_argument_f1": 0}),
        ("", {"call_missing": 1, "empty": 1}),
    ],
)
def test_call_metrics(response: str, expected: dict[str, float]) -> None:
    result = score(GOLD, response)
    assert {k: result[k] for k in expected} == expected


def test_words_instead_of_a_call() -> None:
    assert score([], "I can only work out tips.")["no_call"] == 1.0
    assert score([], written(GOLD))["no_call"] == 0.0
    assert score([], "<tool_call>broken")["no_call"] == 0.0
    assert score([], " ") == {"no_call": 0.0, "empty": 1.0}


def test_argument_f1_counts_leaves() -> None:
    close = [{"name": "tip", "arguments": {"bill": 21, "split": [1, 2], "who": {"a": "x"}}}]
    assert argument_f1(close, GOLD) == pytest.approx(2 * 3 / 8)
    assert argument_f1([{"name": "tap", "arguments": GOLD[0]["arguments"]}], GOLD) == 0.0
    assert argument_f1([{"name": "now", "arguments": {}}], [{"name": "now", "arguments": {}}]) == 1.0


ROW = {
    "id": "r",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Tip for 20 €?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"type": "function", "function": g} for g in (GOLD[0], {"name": "now", "arguments": "{}"})],
        },
        {"role": "tool", "name": "tip", "content": "3"},
        {"role": "tool", "name": "now", "content": "noon 好"},
        {"role": "assistant", "content": "3 €."},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "Bye"},
    ],
    "tools": [TOOL],
}


def test_one_document_per_assistant_turn() -> None:
    documents = turns_to_answer([ROW, ROW | {"tools": []}])
    assert [(d["id"], d["kind"]) for d in documents] == [("r:2", "call"), ("r:5", "words"), ("r:7", "words")]
    assert json.loads(documents[1]["messages"]) == ROW["messages"][:5]
    assert json.loads(documents[0]["gold"])[0] == GOLD[0]


@pytest.mark.parametrize("row", [ROW, ROW | {"messages": ROW["messages"][1:]}, ROW | {"tools": []}])
def test_plain_turns_render_exactly_like_the_published_template(row: dict[str, Any]) -> None:
    """So that a tuned model sees in the evaluation what it saw in training."""
    from importlib.resources import files

    from transformers.utils.chat_template_utils import render_jinja_template

    template = (files("hubwright.trainers") / "_lib" / "chatml_tools.jinja").read_text(encoding="utf-8")
    for end in range(1, len(row["messages"]) + 1):
        part = row["messages"][:end]
        if part[-1]["role"] == "system":
            continue
        native, plain = (
            render_jinja_template(
                conversations=[messages], tools=tools, chat_template=template, add_generation_prompt=True
            )[0][0]
            for messages, tools in ((part, row["tools"] or None), (plain_turns(part, row["tools"]), None))
        )
        assert native == plain


def save(folder: Path, rows: list[dict[str, Any]]) -> Path:
    from datasets import Dataset, Features, Json, List, Value

    features = Features({"id": Value("string"), "messages": List(Json()), "tools": List(Json())})
    (folder / "data").mkdir(parents=True)
    Dataset.from_list(rows, features=features).to_parquet(str(folder / "data" / "test.parquet"))
    return folder


def test_through_lm_eval(tmp_path: Path) -> None:
    """The real evaluator, with a model that answers from a list."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    seen: list[Any] = []

    class Scripted(LM):
        tokenizer_name = "scripted"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            assert add_generation_prompt
            seen.append(chat_history)
            return json.dumps(chat_history)

        def chat_template(self, chat_template: Any = False) -> str:
            return "scripted"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            answers = []
            for request in requests:
                assert request.args[1]["max_gen_toks"] == 160 and request.args[1]["do_sample"] is False
                answers.append(written(GOLD) if request.doc["kind"] == "call" else "3 €.")
            return answers

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    one_call = json.loads(json.dumps(ROW))
    one_call["messages"][2]["tool_calls"] = one_call["messages"][2]["tool_calls"][:1]
    del one_call["messages"][4]
    data = save(tmp_path / "d", [one_call])
    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata={"dataset": str(data)})
    results = lm_eval.simple_evaluate(
        model=Scripted(), tasks=["toolcall"], task_manager=manager, apply_chat_template=True, bootstrap_iters=10
    )
    values = results["results"]["toolcall"]
    assert values["call_exact,none"] == values["no_call,none"] == 1.0
    assert values["call_missing,none"] == values["empty,none"] == 0.0
    assert 0 < values["call_exact_ci_low,none"] < values["call_exact_ci_high,none"] == 1.0
    assert values["no_call_ci_low,none"] == pytest.approx(0.342, abs=0.001)  # Wilson, 2 of 2
    assert results["higher_is_better"]["toolcall"]["call_missing"] is False
    assert all({turn["role"] for turn in chat} <= {"system", "user", "assistant"} for chat in seen)
    assert seen[0][0]["content"].startswith("Be brief.\n\nYou may call functions")
