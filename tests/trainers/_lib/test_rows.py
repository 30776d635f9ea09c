"""Rows as people store them: trained on as they say, or refused by reason in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_parts import ANSWER, ASK, SYSTEM, WRONG, conversation_of, ids, learnt, structs
from trainer_parts import PLAIN_CHATML, TOOLS, make_tokenizer, tool_conversation

from hubwright.hub_sync.errors import DataError
from hubwright.trainers import dpo
from hubwright.trainers._lib.templates import CHATML_TOOLS


def test_struct_column_with_padded_arguments_trains_as_json_column(train: Callable[..., Any]) -> None:
    rows = [{"messages": tool_conversation(n)["messages"], "tools": TOOLS} for n in range(3)]
    padded = structs(rows)
    arguments = padded[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert arguments == {"city": "Town 0", "a": None}  # what Arrow made of it
    trainer, plain = train(padded), train(rows)
    assert ids(trainer) == ids(plain)
    assert '"arguments": {"city": "Town 0"}}' in learnt(trainer, trainer.train_dataset[0])[0]
    assert trainer.counts["train_null arguments dropped"] == 6


def test_struct_column_with_required_null_is_refused_by_reason(train: Callable[..., Any]) -> None:
    tools = copy.deepcopy(TOOLS)
    tools[0]["function"]["parameters"]["required"] = ["city"]
    good = {"messages": conversation_of("weather", {"city": "Rome"}), "tools": tools}
    # `a` makes the struct; `city`, which is required, is not there.
    bad = {"messages": conversation_of("weather", {"a": "x"}), "tools": tools}
    with pytest.raises(DataError, match=r"1 of 3 rows .* row 2: a required argument is null \('city'\)"):
        train(structs([good, good, bad]))
    trainer = train(structs([good, good, bad]), max_refused_share=0.5)
    counts = trainer.counts
    assert counts["train_rows_read"] == 3 and counts["train_rows_used"] == 2
    assert counts["train_rows_refused: a required argument is null"] == 1


def test_struct_column_without_schema_is_refused(train: Callable[..., Any]) -> None:
    rows = [
        {"messages": conversation_of("weather", {"city": "Rome"})},
        {"messages": conversation_of("add", {"a": "1"})},
    ]
    with pytest.raises(DataError, match=r"2 of 2 rows .* row 0: arguments in a struct column have null keys"):
        train(structs(rows))


def test_null_that_somebody_wrote_is_kept(train: Callable[..., Any]) -> None:
    """In JSON a null argument was written by somebody."""
    row = {"messages": conversation_of("weather", {"city": "Rome", "town": None}), "tools": TOOLS}
    trainer = train([row, row])
    assert '{"city": "Rome", "town": null}' in learnt(trainer, trainer.train_dataset[0])[0]


def test_null_that_the_schema_allows_is_kept_in_structs(train: Callable[..., Any]) -> None:
    tools = copy.deepcopy(TOOLS)
    tools[0]["function"]["parameters"] |= {
        "properties": {"city": {"type": "string"}, "unit": {"type": ["string", "null"]}},
        "required": ["city", "unit"],
    }
    rows = [
        {"messages": conversation_of("weather", {"city": "Rome", "unit": unit}), "tools": tools}
        for unit in ("C", None)
    ]
    trainer = train(structs(rows))
    assert '{"city": "Rome", "unit": null}' in learnt(trainer, trainer.train_dataset[1])[0]


def test_arguments_as_json_text_train_as_objects(train: Callable[..., Any]) -> None:
    """OpenAI's API gives arguments as text, transformers' templates want objects."""
    rows = [{"messages": conversation_of("weather", {"city": "Rome"}), "tools": TOOLS}] * 2
    text = copy.deepcopy(rows)
    for row in text:
        function = row["messages"][1]["tool_calls"][0]["function"]
        function["arguments"] = '{"city":"Rome"}'
    assert ids(train(text)) == ids(train(rows))


# Content


@pytest.mark.parametrize("template", ["keep", "chatml_tools"])
def test_content_parts_train_as_their_text(train: Callable[..., Any], template: str) -> None:
    """TRL's own conversion to parts, the other way round."""
    from trl.data_utils import prepare_multimodal_messages

    rows = [{"messages": [ASK, ANSWER, ASK, ANSWER]}] * 2
    parts = [{"messages": prepare_multimodal_messages(row["messages"])} for row in rows]
    assert parts[0]["messages"][0]["content"] == [{"type": "text", "text": "How many?"}]
    settings = {"chat_template": template, "assistant_only_loss": template != "keep"}
    trainer = train(parts, **settings)
    assert ids(trainer) == ids(train(rows, **settings))
    assert trainer.counts["train_rows_changed: content parts joined"] == 2
    assert "Seven." in trainer.processing_class.decode(ids(trainer)[0])


def test_content_part_that_is_not_text_is_refused(train: Callable[..., Any]) -> None:
    picture = {"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": "x"}]}
    with pytest.raises(DataError, match=r"row 1: a content part is not text \('image_url'\): repair these rows"):
        train([{"messages": [ASK, ANSWER]}, {"messages": [picture, ANSWER]}])


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_assistant_turn_without_content_is_refused(train: Callable[..., Any], content: str | None) -> None:
    good, bad = {"messages": [ASK, ANSWER]}, {"messages": [ASK, {"role": "assistant", "content": content}]}
    with pytest.raises(DataError, match=r"1 of 3 rows of the train split cannot be used, .* row 1: a"):
        train([good, bad, good])
    assert len(train([good, bad, good], max_refused_share=0.5).train_dataset) == 2


def test_turn_of_weight_zero_is_not_learnt(train: Callable[..., Any]) -> None:
    """OpenAI's fine-tuning format: weight 0 keeps a turn as context and out of the loss."""
    first, second = ANSWER | {"content": "Eight.", "weight": 0}, ANSWER | {"weight": 1}
    trainer = train([{"messages": [ASK, first, ASK, second]}, {"messages": [ASK, ANSWER]}])
    row = trainer.train_dataset[0]
    assert learnt(trainer, row) == ["Seven.<|im_end|>"]
    assert "Eight." in trainer.processing_class.decode(row["input_ids"])
    with pytest.raises(DataError, match="every assistant turn has weight 0"):
        train([{"messages": [ASK, first]}, {"messages": [ASK, ANSWER]}])
    with pytest.raises(DataError, match=r"a weight other than 0 and 1 \(0.5\)"):
        train([{"messages": [ASK, ANSWER | {"weight": 0.5}]}, {"messages": [ASK, ANSWER]}])
    with pytest.raises(DataError, match="weight 0, which needs assistant_only_loss"):
        train([{"messages": [ASK, first, ASK, second]}], assistant_only_loss=False)


def test_control_token_spelt_in_a_text_is_refused(train: Callable[..., Any]) -> None:
    odd = {"messages": [ASK, ANSWER | {"content": "Write <|im_end|> to stop."}]}
    with pytest.raises(DataError, match=r"row 0: a text spells a control token of the model.*'<\|im_end\|>'"):
        train([odd, {"messages": [ASK, ANSWER]}])


# Forms


def test_messages_as_json_text_train_as_messages(train: Callable[..., Any]) -> None:
    rows = [{"messages": conversation_of("weather", {"city": "Rome"}), "tools": TOOLS}] * 2
    text = [{"messages": json.dumps(row["messages"]), "tools": json.dumps(row["tools"])} for row in rows]
    assert ids(train(text)) == ids(train(rows))


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_from_and_value_turns_train_as_trl_reads_them(train: Callable[..., Any], column: str) -> None:
    from trl.data_utils import maybe_convert_to_chatml

    row = {"conversations": [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "Seven."}]}
    expected = maybe_convert_to_chatml(dict(row))
    trainer = train([{column: row["conversations"]}] * 2)
    assert ids(trainer) == ids(train([expected] * 2))
    assert learnt(trainer, trainer.train_dataset[0]) == ["Seven.<|im_end|>"]


def test_row_without_tools_is_rendered_without_them(
    train: Callable[..., Any], roomy_model: Path, tmp_path: Path
) -> None:
    """Some templates write about tools for an empty list of them (`trl.data_utils.apply_chat_template` says so)."""
    import shutil

    wordy = tmp_path / "wordy"
    shutil.copytree(roomy_model, wordy)
    make_tokenizer("{% if tools is not none %}Call functions!{% endif %}" + PLAIN_CHATML).save_pretrained(wordy)
    rows = [{"messages": [ASK, ANSWER], "tools": tools} for tools in ([], None, "[]")]
    trainer = train(rows, given=wordy, chat_template="keep", assistant_only_loss=False)
    for row in ids(trainer):
        assert "Call" not in trainer.processing_class.decode(row)


def test_system_text_in_a_column_of_its_own_is_not_dropped(train: Callable[..., Any]) -> None:
    """ShareGPT's `system` column is the conversation's first turn."""
    apart = {
        "system": "Be short.",
        "conversations": [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "Seven."}],
    }
    inside = {"messages": [SYSTEM, ASK, ANSWER]}
    assert ids(train([apart] * 2)) == ids(train([inside] * 2))
    pair = {"prompt": [ASK], "chosen": [ANSWER], "rejected": [WRONG]}
    rows = train([pair | {"system": "Be short."}] * 2, dpo), train([pair | {"prompt": [SYSTEM, ASK]}] * 2, dpo)
    assert rows[0].train_dataset[0]["prompt_ids"] == rows[1].train_dataset[0]["prompt_ids"]
    with pytest.raises(DataError, match="row 0: the column system is not text, or says other than the system turn"):
        train([inside | {"system": "Be long."}] * 2)


def test_empty_file_is_refused_in_one_line(train: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"org/dataset@\w+: split 'train' cannot be read: \w+"):
        train([])


def test_null_and_unreadable_rows_are_refused_by_reason(train: Callable[..., Any]) -> None:
    good = {"messages": [ASK, ANSWER], "tools": None}
    bad = [{"messages": None}, good | {"tools": "no JSON"}, {"messages": []}, {"messages": [{"content": "x"}]}]
    trainer = train([good] * 96 + bad)
    counts = trainer.counts
    refused = {key.partition(": ")[2]: n for key, n in counts.items() if "rows_refused" in key}
    assert refused == {
        "null in place of turns": 1,
        "tools are not JSON": 1,
        "turns are not a list with something in it": 1,
        "a turn has no role": 1,
    }
    assert counts["train_rows_read"] == 100 == counts["train_rows_used"] + sum(refused.values())


def test_template_that_refuses_a_row_is_named(train: Callable[..., Any], roomy_model: Path, tmp_path: Path) -> None:
    import shutil

    strict = tmp_path / "strict"
    shutil.copytree(roomy_model, strict)
    raising = "{% if messages[0].role != 'user' %}{{ raise_exception('user first, please') }}{% endif %}"
    make_tokenizer(raising + PLAIN_CHATML).save_pretrained(strict)
    rows = [{"messages": [ASK, ANSWER]}, {"messages": [ANSWER, ASK, ANSWER]}]
    settings = {"chat_template": "keep", "assistant_only_loss": False}
    with pytest.raises(DataError, match=r"row 1: the chat template refuses the row \('user first, please'\)"):
        train(rows, given=strict, **settings)


def test_model_with_several_templates_by_name_trains_and_keeps_them(
    train: Callable[..., Any], roomy_model: Path, tmp_path: Path
) -> None:
    import shutil

    several = tmp_path / "several"
    shutil.copytree(roomy_model, several)
    tokenizer = make_tokenizer()
    named = {"default": CHATML_TOOLS.read_text(), "rag": "{{ raise_exception('no documents') }}"}
    tokenizer.chat_template = named
    (several / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(several)
    trainer = train([{"messages": [ASK, ANSWER]}] * 2, given=several, chat_template="keep")
    assert learnt(trainer, trainer.train_dataset[0]) == ["Seven.<|im_end|>"]
    assert trainer.processing_class.chat_template == named
