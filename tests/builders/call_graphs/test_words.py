"""Words of executed rows: varied, nothing said twice, nothing claimed that is not so. Counted here on its own."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.hub_sync.context import StepContext


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("words")
    return build(CallGraphsConfig(train_rows=400), StepContext("executed", folder, folder))["train"].to_list()


def said(rows: list[dict[str, Any]], *roles: str) -> list[str]:
    return [m["content"] for row in rows for m in row["messages"] if m["role"] in roles and m["content"]]


def test_words_of_400_rows_are_varied(rows: list[dict[str, Any]]) -> None:
    runs: Counter[tuple[str, ...]] = Counter()
    for text in said(rows, "user", "assistant"):
        words = re.sub(r"[0-9]", "0", text.lower())
        found = re.findall(r"\w[\w'-]*", words)
        runs.update(zip(found, found[1:], found[2:], found[3:], strict=False))
    # Of fewer rows more runs are different: 0.31 before, 0.30 then of all 2,000.
    assert len(runs) / sum(runs.values()) > 0.45


def test_three_commonest_openings_begin_at_most_a_fifth_of_the_rows(rows: list[dict[str, Any]]) -> None:
    first = [next(m["content"] for m in row["messages"] if m["role"] == "user") for row in rows]
    openings = Counter(tuple(re.findall(r"\w[\w'-]*", text.lower())[:3]) for text in first)
    assert sum(count for _, count in openings.most_common(3)) <= len(rows) / 5


def test_no_turn_says_six_words_twice(rows: list[dict[str, Any]]) -> None:
    for text in said(rows, "user", "assistant"):
        words = text.lower().split()
        phrases = [" ".join(words[n : n + 6]) for n in range(len(words) - 5)]
        assert len(set(phrases)) == len(phrases), text


def test_sentences_are_filled_and_written_as_sentences(rows: list[dict[str, Any]]) -> None:
    for text in said(rows, "user", "assistant"):
        assert not re.search(r"[\[\]{}|]|  |\s[.,;:?!]|[,;:][.,?]|\.\.|\b(\w+) \1\b", text), text
        assert text[0].isupper() or text[0] in '"0123456789' or "@" in text.split()[0], text
        assert text[-1] in '.?"', text
        assert not re.search(r"[.?] (?!\S*@)[a-z]", text), text


def test_thought_that_builds_on_a_result_takes_something_from_it(rows: list[dict[str, Any]]) -> None:
    counted = 0
    for row in rows:
        previous = ""
        for message in row["messages"]:
            if message["role"] == "tool":
                previous += " " + message["content"]
            elif message["role"] == "assistant":
                if re.match(
                    r"With th(at|is)\b|That (result|is what|is enough)|Knowing|Having|On that basis",
                    message["content"],
                ):
                    assert message.get("tool_calls"), message
                    values = [v for one in message["tool_calls"] for v in one["function"]["arguments"].values()]
                    assert any(json.dumps(value) in previous for value in values), (message, previous)
                    counted += 1
                previous = ""
            else:
                previous = ""
    assert counted > 40


def test_amount_that_is_converted_stands_in_its_own_currency(tmp_path: Path) -> None:
    """The currency of an amount is what the result beside it says; what was converted is in the target currency."""
    config = CallGraphsConfig(train_rows=120, worlds=("money", "travel", "shop"), variants=("plain",), near=1.0)
    counted = 0
    for row in build(config, StepContext("executed", tmp_path, tmp_path))["train"]:
        currencies: dict[str, set[str]] = {}
        calls = {one["id"]: one["function"] for m in row["messages"] for one in m.get("tool_calls") or ()}
        for message in row["messages"]:
            for one in message.get("tool_calls") or ():
                arguments = one["function"]["arguments"]
                source = arguments.get("source_currency") or arguments.get("currency")
                if (known := currencies.get(json.dumps(arguments.get("amount")))) and source:
                    assert source in known, (row["id"], arguments, known)
                    counted += 1
            if message["role"] == "tool":
                result, call = json.loads(message["content"]), calls[message["tool_call_id"]]
                target = call["arguments"].get("target_currency")
                its = result.get("currency") or result.get("account_currency") or target
                for key, value in result.items():
                    if key in ("price", "price_per_night", "refund", "balance", "converted", "amount"):
                        currencies.setdefault(json.dumps(value), set()).add(its)
    assert counted > 10


def test_assistant_that_names_an_amount_to_convert_names_both_currencies(rows: list[dict[str, Any]]) -> None:
    counted = 0
    for row in rows:
        for message in row["messages"]:
            for one in message.get("tool_calls") or ():
                if one["function"]["name"] == "convert_amount" and not re.search(
                    r"again|once|repeat|try|attempt", message["content"]
                ):
                    arguments = one["function"]["arguments"]
                    assert arguments["source_currency"] in message["content"], message
                    assert arguments["target_currency"] in message["content"], message
                    counted += 1
    assert counted > 20


def test_choice_in_a_template_is_made_from_the_inside_out_and_other_brackets_stay() -> None:
    from hubwright.builders.call_graphs.phrases import repeats, vary

    rng = random.Random(0)
    found = {vary("[a|b [c|d]] {x} [note]", rng) for _ in range(60)}
    assert found == {"a {x} [note]", "b c {x} [note]", "b d {x} [note]"}
    assert repeats("one two three four five six, one two three four five six,") and not repeats("one two three " * 2)
