"""Turns and calls in the spellings of other tools: read as they mean them, or refused by reason before training."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from trainer_parts import PLAIN_CHATML, TOOLS, context, make_tokenizer

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.inference.conversations import RowRejected, read_messages
from hubwright.trainers._lib import rows as _rows
from hubwright.trainers._lib.templates import CHATML_TOOLS
from hubwright.trainers.sft import SFTConfig

ASK, ANSWER = {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Seven."}
SPOKEN = "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% elif m.role in ('user', 'tool') %}{{ m.content }}{% endif %}{% endfor %}"
"""A template that shows the text of users, tools and assistants, and nothing else."""
WHOLE = _rows.Form("messages", weighted=True)
PAIR = _rows.Form(responses=("completion",))
PREFERENCE = _rows.Form(responses=("chosen", "rejected"))


class AsRead(_rows.Encoder):
    """Rows as the reader gives them."""

    def __call__(self, columns: dict[str, Any], _: _rows.Account) -> dict[str, Any]:
        return columns


def prepare(
    folder: Path, rows: list[dict[str, Any]], form: _rows.Form = WHOLE, template: str | None = None, **settings: Any
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The usable rows as the trainers get them, and the counts of the card."""
    from datasets import Dataset, Features, Json, List, Value

    kinds = {key: List(Json()) if isinstance(value, list) else Value("string") for key, value in rows[0].items()}
    dataset = Dataset.from_list(rows, features=Features(kinds))
    tokenizer = settings.pop("tokenizer", None) or make_tokenizer(template or CHATML_TOOLS.read_text())
    step = context(folder, {"dataset": folder, "model": folder})
    config = SFTConfig(**{"max_refused_share": 0.0} | settings)
    encoder = AsRead(_rows.Reader(dataset, form, tokenizer, config, step))
    turns = Value("string") if encoder.reader.plain else List(Json())
    encoder.features = dict.fromkeys(encoder.reader.columns, turns) | dict.fromkeys(
        ("tools", "unlearnt"), List(Json())
    )
    usable, _ = _rows.prepare(dataset, "train", encoder, step)
    return usable.to_list(), step.report.counts


def said(call: dict[str, Any]) -> list[dict[str, Any]]:
    return [ASK, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "7"}, ANSWER]


# Arguments of calls


def required(*names: str) -> list[dict[str, Any]]:
    tools = json.loads(json.dumps(TOOLS[:1]))
    tools[0]["function"]["parameters"]["required"] = list(names)
    return tools


@pytest.mark.parametrize("wrapped", [True, False])
def test_call_with_parameters_is_read_as_arguments_and_counted(tmp_path: Path, wrapped: bool) -> None:
    """Llama 3's template renders calls as `{"name": ..., "parameters": ...}`."""
    function = {"name": "weather", "parameters": {"city": "Rome"}}
    call = {"type": "function", "function": function} if wrapped else function
    rows, counts = prepare(tmp_path, [{"messages": said(call), "tools": required("city")}])
    read = rows[0]["messages"][1]["tool_calls"][0]
    read = read["function"] if wrapped else read
    assert read == {"name": "weather", "arguments": {"city": "Rome"}}
    assert counts["train_rows_changed: parameters of a call read as arguments"] == 1


@pytest.mark.parametrize(
    ("function", "tools", "reason"),
    [
        ({"name": "weather"}, required("city"), "a call has no arguments, and no schema"),
        ({"name": "weather", "arguments": ""}, required("city"), "a call has no arguments, and no schema"),
        ({"name": "weather"}, [], "a call has no arguments, and no schema"),
        ({"name": "weather", "args": {"city": "R"}}, TOOLS, "keys that no chat template reads .'args'"),
        ({"name": "weather", "input": "R"}, TOOLS, "keys that no chat template reads .'input'"),
        ({"name": "weather", "arguments": {}, "parameters": {"city": "R"}}, TOOLS, "arguments and parameters that"),
        (TOOLS[0]["function"], TOOLS, "keys that no chat template|JSON Schema"),
    ],
)
def test_call_without_readable_arguments_is_refused(
    function: dict[str, Any], tools: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(RowRejected, match=reason):
        read_messages(said({"type": "function", "function": function}), tools)


def test_call_without_arguments_of_function_that_needs_none_is_read() -> None:
    bare = [{"type": "function", "function": {"name": "now", "description": "The time."}}]
    for tools, name in ((TOOLS, "weather"), (bare, "now")):
        for function in ({"name": name}, {"name": name, "arguments": ""}, {"name": name, "arguments": None}):
            read = read_messages(said({"id": "1", "type": "function", "function": function}), tools)
            assert read[1]["tool_calls"][0]["function"]["arguments"] == {}


def test_arguments_by_any_spelling_in_structs_are_padded() -> None:
    from datasets import List, Value

    from hubwright.inference.padding import pads_arguments

    text, struct = {"content": Value("string")}, {"city": Value("string")}
    for key in ("arguments", "parameters"):
        assert pads_arguments(List(text | {"tool_calls": List({"function": {key: struct}})}))
        assert pads_arguments(List(text | {"tool_calls": List({key: struct})}))
        assert pads_arguments(List(text | {"function_call": {key: struct}}))
    assert not pads_arguments(List(text | {"tool_calls": List({"function": {"arguments": Value("string")}})}))


# Weights


@pytest.mark.parametrize("key", ["train", "training", "loss"])
def test_turn_with_false_in_place_of_weight_is_not_learnt(tmp_path: Path, key: str) -> None:
    """axolotl's `message_field_training` (`train`, `training`) and ms-swift's `loss`."""
    first, second = ANSWER | {"content": "Eight.", key: False}, ANSWER | {key: True}
    rows, _ = prepare(tmp_path, [{"messages": [ASK | {key: False}, first, ASK, second]}])
    assert rows[0]["unlearnt"] == [0]
    with pytest.raises(RowRejected, match=f"a {key} other than true and false .'maybe'"):
        read_messages([ASK, ANSWER | {key: "maybe"}], [])
    with pytest.raises(RowRejected, match="contradict one another"):
        read_messages([ASK, ANSWER | {key: False, "weight": 1}], [])


# Roles


@pytest.mark.parametrize("role", ["ipython", "tool_response", "observation"])
def test_result_of_tool_by_any_name_is_a_tool_turn(role: str) -> None:
    turns = said({"function": {"name": "weather", "arguments": {}}})
    turns[2] = {"role": role, "content": "7"}
    assert read_messages(turns, TOOLS)[2] == {"role": "tool", "content": "7"}


@pytest.mark.parametrize(("role", "as_text"), [("function_call", True), ("tool_call", True), ("tool_call", False)])
def test_turn_that_is_a_call_is_read_as_tool_calls(role: str, as_text: bool) -> None:
    """LLaMA-Factory's ShareGPT form and ms-swift's; consecutive calls of ms-swift are made at once."""
    rome, town = ({"name": "weather", "arguments": {"city": city}} for city in ("Rome", "Town"))
    changes: Counter[str] = Counter()
    turns = [
        {"from": "human", "value": "Weather?"},
        *({"from": role, "value": json.dumps(call) if as_text else call} for call in (rome, town)),
        {"from": "observation", "value": "20"},
        {"from": "gpt", "value": "20 degrees."},
    ]
    read = read_messages(turns, TOOLS, changes=changes)
    assert [turn["role"] for turn in read] == ["user", "assistant", "tool", "assistant"]
    assert read[1] == {"role": "assistant", "content": "", "tool_calls": [rome, town]}
    assert changes["turns that are calls read as tool_calls"] == 2
    assert read_messages([turns[0], {"from": role, "value": json.dumps([rome, town])}], TOOLS)[1] == read[1]
    parts = [{"type": "text", "text": json.dumps(rome)}]
    assert read_messages([turns[0], {"role": role, "content": parts}], TOOLS)[1]["tool_calls"] == [rome]
    for bad in ("weather(Rome)", "", "[]", "7", "null"):
        with pytest.raises(RowRejected, match=f"a turn of role {role} is not the JSON of a call"):
            read_messages([turns[0], {"from": role, "value": bad}], TOOLS)


def test_role_that_the_template_renders_is_kept_and_counted(tmp_path: Path) -> None:
    critic = {"role": "critic", "content": "Too short."}
    rows, counts = prepare(tmp_path, [{"messages": [ASK, ANSWER, critic, ANSWER]}])
    assert rows[0]["messages"][2] == critic
    assert counts["train_rows_changed: a role of its own left to the chat template"] == 1
    with pytest.raises(DataError, match="row 0: a turn has no role"):
        prepare(tmp_path, [{"messages": [{"content": "x"}, ANSWER]}])


# Plain text


def test_prompt_that_begins_a_response_by_chance_is_left(tmp_path: Path) -> None:
    pairs = [("The", "There you go"), ("Berlin", "Berlin"), ("A", "A cat"), ("Q:", "Seven."), ("7", "70")]
    rows, counts = prepare(tmp_path, [{"prompt": p, "completion": c} for p, c in pairs], PAIR)
    assert [(row["prompt"], row["completion"]) for row in rows] == pairs
    assert counts["train_rows_whose_responses_begin_with_the_prompt"] == 1
    for prompt, completion in pairs[:2]:
        rows, _ = prepare(tmp_path, [{"prompt": prompt, "completion": completion}] * 2, PAIR)
        assert rows[0]["completion"] == completion
    preferences = [("A", "A cat", "A dog"), ("B", " cat", " dog")]
    named = [dict(zip(("prompt", "chosen", "rejected"), one, strict=True)) for one in preferences]
    rows, _ = prepare(tmp_path, named, PREFERENCE)
    assert [row["chosen"] for row in rows] == ["A cat", " cat"]


def test_prompt_that_nearly_all_responses_repeat_is_cut(tmp_path: Path) -> None:
    """In a script without blanks as well; a row that does not repeat it is left."""
    given = [{"prompt": f"Q{n}: how many?", "completion": f"Q{n}: how many? {n}"} for n in range(18)]
    given += [{"prompt": "今天天气", "completion": "今天天气很好"}, {"prompt": "The", "completion": "There you go"}]
    rows, counts = prepare(tmp_path, given, PAIR)
    assert [row["completion"] for row in rows] == [*(f" {n}" for n in range(18)), "很好", "There you go"]
    assert counts["train_rows_changed: prompt repeated in the responses taken out"] == 19


# What the template shows

THOUGHT = {"role": "assistant", "content": "", "reasoning_content": "Hmm"}


def test_turn_of_a_thought_that_the_template_leaves_out_is_refused(tmp_path: Path) -> None:
    reason = "row 0: an assistant turn of thoughts alone is not shown by the chat template"
    with pytest.raises(DataError, match=reason):
        prepare(tmp_path, [{"messages": [ASK, THOUGHT]}])
    with pytest.raises(DataError, match=reason):
        prepare(tmp_path, [{"prompt": [ASK], "chosen": [THOUGHT], "rejected": [ANSWER]}], PREFERENCE)


@pytest.mark.parametrize(("thought", "reason"), [(" ", "is empty"), (True, "is empty"), ({"a": 1}, "is not text")])
def test_turn_of_a_thought_without_text_is_refused(thought: Any, reason: str) -> None:
    with pytest.raises(RowRejected, match=reason):
        read_messages([ASK, THOUGHT | {"reasoning_content": thought}], [])


@pytest.mark.parametrize("template", [SPOKEN, PLAIN_CHATML])
def test_calls_that_the_template_leaves_out_are_refused(tmp_path: Path, template: str) -> None:
    form = _rows.Form("messages", weighted=template == SPOKEN)
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    for turn in ({"tool_calls": [{"type": "function", "function": call}]}, {"function_call": call}):
        turns = [ASK, {"role": "assistant", "content": ""} | turn, {"role": "tool", "content": "7"}, ANSWER]
        with pytest.raises(DataError, match="row 0: an assistant turn of calls alone is not shown"):
            prepare(tmp_path, [{"messages": turns}], form, template)
        turns[1] = turns[1] | {"content": "Let me see."}
        with pytest.raises(DataError, match=r"row 0: the chat template leaves out tool calls: .* chatml_tools"):
            prepare(tmp_path, [{"messages": turns}], form, template)


def test_thought_that_the_template_leaves_out_is_counted(tmp_path: Path) -> None:
    turns = [ASK, ANSWER | {"reasoning_content": "Hmm"}]
    rows, counts = prepare(tmp_path, [{"messages": turns}])
    assert len(rows) == 1
    assert counts["train_rows_changed: thoughts of turns not shown by the chat template"] == 1
    shows = PLAIN_CHATML.replace("message['content']", "(message.reasoning_content or '') + message['content']")
    _, counts = prepare(tmp_path, [{"messages": turns}], _rows.Form("messages"), shows)
    assert not [key for key in counts if "not shown" in key]


def test_role_that_the_template_leaves_out_is_refused(tmp_path: Path) -> None:
    turns = [ASK, ANSWER, {"role": "critic", "content": "Seven."}, ANSWER]
    with pytest.raises(DataError, match="row 0: a turn of role critic is not shown by the chat template"):
        prepare(tmp_path, [{"messages": turns}], template=SPOKEN)


def test_template_that_refuses_marks_is_checked_by_the_texts_themselves(tmp_path: Path) -> None:
    """A template may look into the values: this one takes no other words than its own."""
    fixed = "{% for m in messages %}{% if m.content not in ('How many?', 'Seven.') %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    rows, _ = prepare(tmp_path, [{"messages": [ASK, ANSWER]}], template=fixed + SPOKEN)
    assert len(rows) == 1
    silent = fixed + SPOKEN.replace("{{ m.content }}<|im_end|>", "<|im_end|>")
    with pytest.raises(DataError, match="an assistant turn of text alone is not shown"):
        prepare(tmp_path, [{"messages": [ASK, ANSWER]}], template=silent)


# Control tokens


def with_tokens(template: str, *tokens: str) -> Any:
    tokenizer = make_tokenizer(template)
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    return tokenizer


def test_reasoning_tag_that_is_a_special_token_is_trained_on(tmp_path: Path) -> None:
    """Magistral's `[THINK]` is one."""
    tokenizer = with_tokens(CHATML_TOOLS.read_text(), "[THINK]", "[/THINK]", "<think>")
    thought = ANSWER | {"content": "[THINK]x[/THINK]Seven."}
    rows, _ = prepare(tmp_path, [{"messages": [ASK, thought]}], tokenizer=tokenizer)
    assert rows[0]["messages"][1] == thought


def test_token_that_the_template_writes_within_answers_may_stand_in_answers_alone(tmp_path: Path) -> None:
    calls = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content }}{% if m.tool_calls %}[CALLS]"
        "{{ m.tool_calls | tojson }}{% endif %}<|im_end|>{% endfor %}"
    )
    tokenizer, form = with_tokens(calls, "[CALLS]"), _rows.Form("messages")
    spelt = ANSWER | {"content": '[CALLS][{"name": "f"}]'}
    prepare(tmp_path, [{"messages": [ASK, spelt]}], form, tokenizer=tokenizer)
    for bad in ([spelt | {"role": "user"}, ANSWER], [ASK, ANSWER | {"content": "<|im_end|>"}]):
        with pytest.raises(DataError, match=r"row 0: a text spells a control token .* allow_control_tokens"):
            prepare(tmp_path, [{"messages": bad}], form, tokenizer=tokenizer)


def test_control_token_that_the_settings_allow_is_trained_on(tmp_path: Path) -> None:
    row = {"messages": [ASK, ANSWER | {"content": "<|image|>Seven."}]}
    tokenizer = with_tokens(CHATML_TOOLS.read_text(), "<|image|>")
    with pytest.raises(DataError, match=r"row 0: a text spells a control token .* allow_control_tokens"):
        prepare(tmp_path, [row], tokenizer=tokenizer)
    prepare(tmp_path, [row], tokenizer=tokenizer, allow_control_tokens=("<|image|>",))
    with pytest.raises(UsageError, match=r"allow_control_tokens: '<\|imago\|>' is not a control token"):
        prepare(tmp_path, [row], tokenizer=tokenizer, allow_control_tokens=("<|imago|>",))
