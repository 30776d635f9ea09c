"""A prompt with its responses (`completion`, or `chosen` and `rejected`), each text or turns, in one form.

A response is learnt whole, so it must hold the assistant's turns and nothing else: a prompt repeated in it is taken
out, and the user's or a tool's words are refused unless the caller leaves them out of what is learnt.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .conversations import Changes, RowRejected, Turn, is_turns, note, read_messages

ABSENT: Any = object()
"""In place of a prompt where the data set has no such column: it is what the responses have in common."""


def read_responses(
    prompt: Any,
    responses: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
    *,
    is_padded: bool = False,
    repeats: bool = False,
    others: bool = False,
    changes: Changes | None = None,
) -> dict[str, Any]:
    """`prompt` and the responses by name: all text, or all lists of turns. Raises RowRejected.

    Args:
        prompt: text, turns, JSON text of turns, or ABSENT.
        responses: by name, in the same forms; `rejected` may be empty.
        tools, is_padded, changes: as `read_messages` takes them.
        repeats: text responses repeat the prompt throughout the data set, as `repeats_prompt` finds per row.
        others: a response may hold turns of others after its first one.
    """
    given = responses if prompt is ABSENT else {"prompt": prompt, **responses}
    for name, value in given.items():
        if value is None:
            raise RowRejected(f"null in place of the {name}")
        if not isinstance(value, str) and not is_turns(value):
            raise RowRejected(f"the {name} is neither text nor turns", value)
    if not any(is_turns(value) for value in given.values()):
        return _plain(given, tools, repeats, changes)
    turns: dict[str, list[Turn]] = {}
    for name, value in given.items():
        if not is_turns(value):
            note(changes, "text beside turns read as a turn")
            value = [{"role": "user" if name == "prompt" else "assistant", "content": value}]
        empty = name in ("rejected", "prompt")
        turns[name] = read_messages(value, tools, is_padded=is_padded, empty_answers=empty, changes=changes)
    heads = _without_prompt(turns, changes)
    for name in responses:
        if not heads[name]:
            raise RowRejected(f"the {name} holds nothing but the prompt")
        for turn in heads[name]:
            if turn["role"] != "assistant" and not (others and heads[name][0]["role"] == "assistant"):
                raise RowRejected(f"a {turn['role']} turn within the {name} would be learnt")
            if turn.get("weight") == 0:
                raise RowRejected(f"weight 0 within the {name}, which is learnt whole")
    return heads


def repeats_prompt(prompt: str, responses: Collection[str]) -> bool:
    """True if every text response begins with the prompt, and the prompt does not end within a word of it.

    One row says little: "Berlin" may be the answer to "Berlin". Only a data set of which nearly all rows do this
    repeats its prompts.
    """
    return bool(prompt.strip()) and all(
        text.startswith(prompt) and not _within_word(prompt[-1], text[len(prompt) : len(prompt) + 1])
        for text in responses
    )


def _within_word(before: str, after: str) -> bool:
    """True between two letters or digits of a script that has upper and lower case, and so writes blanks."""
    return all(one.isdigit() or one.lower() != one.upper() for one in (before, after)) and after != ""


def _plain(given: Mapping[str, str], tools: Sequence[Any], repeats: bool, changes: Changes | None) -> dict[str, Any]:
    if "prompt" not in given:
        raise RowRejected("text responses without a prompt")
    if tools:
        raise RowRejected("tools beside plain text, which no template shows to the model")
    prompt = given["prompt"]
    responses = {name: text for name, text in given.items() if name != "prompt"}
    if repeats and repeats_prompt(prompt, responses.values()):
        responses = {name: text[len(prompt) :] for name, text in responses.items()}
        note(changes, "prompt repeated in the responses taken out")
    for name, text in responses.items():
        if not text.strip() and name != "rejected":
            raise RowRejected(f"the {name} is empty, which would teach to end at once")
    return {"prompt": prompt, **responses}


def _without_prompt(turns: Mapping[str, list[Turn]], changes: Changes | None) -> dict[str, list[Turn]]:
    """The same with a prompt that no response repeats; one that the responses extend to the left is extended too."""
    responses = {name: value for name, value in turns.items() if name != "prompt"}
    if "prompt" not in turns:
        first, *others = responses.values()
        same = 0
        while all(same < len(one) and same < len(first) and one[same] == first[same] for one in others) and others:
            same += 1
        # What the responses have in common may be their answer's beginning: the prompt ends before it.
        while same and first[same - 1]["role"] == "assistant":
            same -= 1
        if not same:
            raise RowRejected("chosen and rejected have no prompt in common")
        return {"prompt": first[:same], **{name: value[same:] for name, value in responses.items()}}
    prompt = turns["prompt"]
    cut = {name: _end_of(prompt, value) for name, value in responses.items()}
    heads = [responses[name][:end] for name, end in cut.items() if end]
    if heads:
        if any(head != heads[0] for head in heads) or (len(heads) < len(responses) and heads[0] != prompt):
            raise RowRejected("the responses repeat the prompt in different ways")
        prompt = heads[0]
        note(changes, "prompt repeated in the responses taken out")
    return {"prompt": prompt, **{name: value[cut[name] :] for name, value in responses.items()}}


def _end_of(prompt: list[Turn], response: list[Turn]) -> int:
    """Where the prompt that a response begins with ends in it; 0 if it begins with none."""
    if response[0]["role"] == "assistant" and response[: len(prompt)] != prompt:
        return 0
    for end in range(len(prompt), len(response) + 1):
        if response[end - len(prompt) : end] == prompt:
            return end
        if end < len(response) and response[end]["role"] == "assistant":
            break
    return 0
