"""Prompts and responses in every form: mixed, repeated, plain; what fills max_length; the share that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_parts import ANSWER, ASK, SYSTEM, WRONG, ids, learnt

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers import dpo, sft


def test_mixed_prompt_forms_train_as_one(train: Callable[..., Any]) -> None:
    turns = {"prompt": [ASK], "completion": [ANSWER]}
    mixed = [turns, {"prompt": "How many?", "completion": "Seven."}, {"prompt": "How many?", "completion": [ANSWER]}]
    mixed[1]["completion"] = [ANSWER]
    assert ids(train(mixed)) == ids(train([turns] * 3))


def test_plain_text_among_conversations_is_refused_by_reason(train: Callable[..., Any]) -> None:
    turns, plain = {"prompt": [ASK], "completion": [ANSWER]}, {"prompt": "How many?", "completion": "Seven."}
    with pytest.raises(DataError, match="row 1: plain text among conversations"):
        train([turns, plain])


@pytest.mark.parametrize("method", [sft, dpo])
def test_model_without_template_trains_on_plain_text(
    train: Callable[..., Any], roomy_model: Path, tmp_path: Path, method: Any
) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(roomy_model, bare)
    (bare / "chat_template.jinja").unlink()
    row = {"prompt": "How many?", "completion": " Seven."}
    if method is dpo:
        row = {"prompt": "How many?", "chosen": " Seven.", "rejected": " Blue."}
    trainer = train([row] * 2, method, bare, chat_template="keep")
    decode = trainer.processing_class.decode
    if method is dpo:
        assert decode(trainer.train_dataset[0]["chosen_ids"]) == " Seven.<|im_end|>"
    else:
        assert learnt(trainer, trainer.train_dataset[0]) == [" Seven.<|im_end|>"]
    with pytest.raises(UsageError, match="has no chat template"):
        train([{"messages": [ASK, ANSWER]}], sft, bare, chat_template="keep")


# Preferences


@pytest.mark.parametrize("form", ["turns", "text", "text and system", "implicit"])
def test_prompt_repeated_in_responses_is_not_trained_on(train: Callable[..., Any], form: str) -> None:
    """TRL's `extract_prompt` says which part of two whole conversations is the prompt."""
    from trl.data_utils import extract_prompt

    head = [SYSTEM, ASK] if form == "text and system" else [ASK, ANSWER, ASK] if form == "turns" else [ASK]
    whole = {"chosen": [*head, ANSWER], "rejected": [*head, WRONG]}
    expected = extract_prompt(whole)
    assert expected["chosen"] == [ANSWER]
    prompt = {"turns": head, "text": "How many?", "text and system": "How many?"}
    given = whole if form == "implicit" else whole | {"prompt": prompt[form]}
    doubled, plain = train([given] * 2, dpo), train([expected] * 2, dpo)
    for column in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert doubled.train_dataset[0][column] == plain.train_dataset[0][column]


def test_prompt_repeated_in_plain_text_is_not_trained_on(train: Callable[..., Any]) -> None:
    once = {"prompt": "Q: How many?\nA:", "chosen": " Seven.", "rejected": " Blue."}
    twice = once | {name: once["prompt"] + once[name] for name in ("chosen", "rejected")}
    doubled, plain = train([twice] * 2, dpo), train([once] * 2, dpo)
    assert doubled.train_dataset["chosen_ids"][0] == plain.train_dataset["chosen_ids"][0]
    assert doubled.counts["train_rows_changed: prompt repeated in the responses taken out"] == 2


def test_users_words_within_a_response_are_refused(train: Callable[..., Any]) -> None:
    good = {"prompt": [ASK], "chosen": [ANSWER], "rejected": [WRONG]}
    with pytest.raises(DataError, match="row 1: a user turn within the chosen would be learnt"):
        train([good, good | {"chosen": [ANSWER, ASK, ANSWER]}], dpo)
    with pytest.raises(DataError, match="row 1: a user turn within the completion would be learnt"):
        pair = {"prompt": [ASK], "completion": [ANSWER]}
        train([pair, pair | {"completion": [ANSWER, ASK, ANSWER]}])


def test_refused_share_is_inclusive(train: Callable[..., Any]) -> None:
    good = {"messages": [ASK, ANSWER]}
    assert len(train([*[good] * 3, {"messages": None}], max_refused_share=0.25).train_dataset) == 3
    with pytest.raises(
        DataError, match=r"1 of 4 rows of the train split cannot be used, more than max_refused_share 0.24"
    ):
        train([*[good] * 3, {"messages": None}], max_refused_share=0.24)
    with pytest.raises(DataError, match="no row of the train split can be used; row 0: null in place of turns"):
        train([{"messages": None}, {"messages": []}], max_refused_share=1.0)


def test_pair_that_fills_max_length_is_not_cut(train: Callable[..., Any]) -> None:
    pair = {"prompt": "Q: How many?", "chosen": " Seven.", "rejected": " Blue."}
    whole = train([pair] * 2, dpo).train_dataset[0]
    length = len(whole["prompt_ids"]) + max(len(whole["chosen_ids"]), len(whole["rejected_ids"]))
    for limit, cut in ((length, 0), (length - 1, 2), (len(whole["prompt_ids"]) + 1, 2)):
        trainer = train([pair] * 2, dpo, max_length=limit)
        assert trainer.counts["train_rows_cut_at_max_length"] == cut
        assert trainer.counts["train_rows_used"] == 2
    with pytest.raises(UsageError, match="2 of 2 pairs of the train split the prompt alone fills max_length"):
        train([pair] * 2, dpo, max_length=len(whole["prompt_ids"]))
