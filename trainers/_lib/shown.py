"""What a chat template shows of a row's turns: text, calls or thoughts that it leaves out would be missed in silence.

An assistant turn of which nothing is shown would teach to end at once. Every part gets a mark appended, and the row is
rendered once more: a part is shown if its mark is.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ...inference.conversations import THOUGHT, Changes, RowRejected, Turn, note

_REMEDY = "chat_template: chatml_tools would show it"


def render(tokenizer: Any, turns: Sequence[Turn], tools: Any) -> str:
    """A row as text."""
    return str(tokenizer.apply_chat_template(list(turns), tools=tools, tokenize=False))


def check_shown(tokenizer: Any, turns: Sequence[Turn], tools: Any, changes: Changes | None = None) -> None:
    """Raises RowRejected if the chat template leaves out a turn or its calls, and what a template that does not
    render the row raises.

    Args:
        changes: gets the parts that are left out and may be: thoughts, and text beside calls.
    """
    marks: Callable[[int, Turn], dict[str, list[str]]] = _marks
    try:
        text = render(tokenizer, [marked(number, turn) for number, turn in enumerate(turns)], tools)
    except Exception:  # the template reads the values: the parts themselves have to do as marks
        text, marks = render(tokenizer, turns, tools), _texts
    for number, turn in enumerate(turns):
        shown = {part: any(one in text for one in texts) for part, texts in marks(number, turn).items() if texts}
        if not shown:
            continue
        role = turn["role"]
        if not any(shown.values()):
            if role == "assistant":
                raise RowRejected(
                    f"an assistant turn of {' and '.join(sorted(shown))} alone is not shown by the chat template, "
                    "which would teach to end at once"
                )
            raise RowRejected(f"a turn of role {role} is not shown by the chat template")
        if not shown.get("calls", True):
            raise RowRejected(f"the chat template leaves out tool calls: {_REMEDY}")
        for part in sorted(part for part, is_shown in shown.items() if not is_shown):
            note(changes, f"{part} of turns not shown by the chat template")


def _name(call: Turn) -> Turn:
    function: Turn = call.get("function", call)
    return function


def _marks(number: int, turn: Turn) -> dict[str, list[str]]:
    """The marks of the parts of a turn that hold something."""
    return {part: [mark(number) + part + "end"] if texts else [] for part, texts in _texts(number, turn).items()}


def _texts(_number: int, turn: Turn) -> dict[str, list[str]]:
    """The texts of the parts of a turn that hold something."""
    thoughts = [turn[key].strip() for key in THOUGHT if isinstance(turn.get(key), str) and turn[key].strip()]
    return {
        "text": [turn["content"].strip()] if turn["content"].strip() else [],
        "calls": [_name(call)["name"] for call in turn.get("tool_calls", [])],
        "thoughts": thoughts if turn["role"] == "assistant" else [],
    }


def mark(number: int) -> str:
    """What every mark of a turn begins with."""
    return f"hwmark{number}x"


def marked(number: int, turn: Turn) -> Turn:
    """A turn with a mark appended to every part that holds something."""
    marks = {part: texts[0] for part, texts in _marks(number, turn).items() if texts}
    marked = dict(turn)
    if "text" in marks:
        marked["content"] = turn["content"].rstrip() + marks["text"]
    if "thoughts" in marks:
        marked |= {key: turn[key] + marks["thoughts"] for key in THOUGHT if isinstance(turn.get(key), str)}
    if "calls" in marks:
        calls = []
        for call in turn["tool_calls"]:
            named = _name(call) | {"name": _name(call)["name"] + marks["calls"]}
            calls.append(call | {"function": named} if "function" in call else named)
        marked["tool_calls"] = calls
    return marked
