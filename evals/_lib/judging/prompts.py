"""The prompts of a judge (`prompts.yaml`) and the readers of its replies. The wording is ours.

Prompt "published" with method "text" follows the protocol of arXiv:2410.09412: one user message with the turns and the
checklist with its weights; each item is judged strictly, partly right is "no"; the reply is JSON with a reason and a
verdict per item; neither a reference answer nor labels are shown; temperature 0, at most 4096 tokens, JSON mode, three
whole attempts. Different on purpose: items are keyed by number, not by their text (echoed texts drift), and the judge
does not copy the weights.

Ours, for small judges: prompt "brief" (text: no reasons, no weights; logprob: one sentence instead of the rules), and
method "logprob": one question per item, answered by one token whose probability is read. All prompts of a language
begin with the same introduction and dialogue and the item stands last, so that a server's prompt cache shares them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ....inference.blocks import json_object
from ....inference.reasoning import answer_of
from .cases import Case, ItemVerdict

TOP_LOGPROBS = 20  # the most that the protocol allows

_TEXTS: dict[str, dict[str, str]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_YES = {"是", "yes", "true"}
_NO = {"否", "no", "false"}
_YES_TOKENS = _YES | {"是的"}
_NO_TOKENS = _NO | {"不是"}
_AROUND = " \t\r\n。.，,:：!！*_`'\"“”‘’▁ĠĊ"  # blanks, quotes and marks, and how tokenizers write blanks


def text_messages(
    case: Case, answer: str, *, language: str = "zh", prompt: str = "published", reverse: bool = False
) -> list[dict[str, str]]:
    """One user message that asks for all items at once; `reverse` numbers and lists them from the last on."""
    words = _TEXTS[language]
    order = list(zip(case.items, case.weights, strict=True))
    weighed = prompt == "published"  # weights are shown where there are any, as published
    listed = [
        f"{number}. {text}"
        if weight is None or not weighed
        else words["weighted"].format(number=number, text=text, weight=f"{weight:g}")
        for number, (text, weight) in enumerate(reversed(order) if reverse else order, 1)
    ]
    numbers = [str(number) for number in range(1, len(order) + 1)]
    form: dict[str, Any] = {number: {words["reason"]: "", words["verdict"]: ""} for number in numbers}
    if prompt == "brief":
        form = dict.fromkeys(numbers, "")
    intro, dialogue, name = _dialogue(case, answer, words)
    content = words[prompt].format(
        intro=intro,
        dialogue=dialogue,
        answer=name,
        items="\n".join(listed),
        weight_note=words["weight_note"] if any(weight is not None for weight in case.weights) else "",
        skeleton=json.dumps(form, ensure_ascii=False),
    )
    return [{"role": "user", "content": content}]


def logprob_messages(
    case: Case, answer: str, item: str, *, language: str = "zh", prompt: str = "published"
) -> list[dict[str, str]]:
    """One user message that asks for one item, to be answered by one word."""
    words = _TEXTS[language]
    intro, dialogue, name = _dialogue(case, answer, words)
    rules = words["logprob_rules"] if prompt == "published" else ""
    content = words["logprob"].format(intro=intro, rules=rules, dialogue=dialogue, answer=name, item=item)
    return [{"role": "user", "content": content}]


def _dialogue(case: Case, answer: str, words: Mapping[str, str]) -> tuple[str, str, str]:
    """(introduction, turns in tags, what the judged answer is called)."""
    two_rounds = [turn["role"] for turn in case.messages] == ["user", "assistant", "user"]
    names = ("query", "first", "feedback") if two_rounds else tuple(turn["role"] for turn in case.messages)
    last = words["second" if two_rounds else "last"]
    turns = [(words.get(n, n), turn["content"]) for n, turn in zip(names, case.messages, strict=True)]
    text = "\n\n".join(f"<{name}>\n{content}\n</{name}>" for name, content in [*turns, (last, answer)])
    return words["two_rounds" if two_rounds else "any"], text, last.replace("_", " ")


def reply_schema(items: int, language: str, prompt: str) -> dict[str, Any]:
    """A `response_format` that lets a server that can constrain its output write nothing but the asked form."""
    words = _TEXTS[language]
    verdict: dict[str, Any] = {"type": "string", "enum": ["是", "否"] if language == "zh" else ["yes", "no"]}
    entry = verdict
    if prompt == "published":
        parts = {words["reason"]: {"type": "string", "minLength": 1}, words["verdict"]: verdict}
        entry = {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}
    numbers = [str(number) for number in range(1, items + 1)]
    fields = dict.fromkeys(numbers, entry)
    schema = {"type": "object", "properties": fields, "required": numbers, "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "verdicts", "schema": schema, "strict": True}}


class VerdictError(ValueError):
    """A judge's reply that cannot be used; the text says why."""


def read_verdicts(text: str, items: int, *, reasons: bool = True) -> list[ItemVerdict]:
    """The verdict of a text reply on each item, by number; `met` is None, with the reason, if it is not usable.

    Also read: an object within words or a Markdown fence, after a thought, with either language's field names and
    words, with booleans or further fields; without `reasons` also a bare verdict in place of an item's object.

    Raises VerdictError if the reply holds no JSON object.
    """
    try:
        value = json_object(answer_of(text))
    except ValueError as error:
        raise VerdictError(str(error)) from error
    return [_item_verdict(value.get(str(number)), number, items, reasons) for number in range(1, items + 1)]


def parse_verdicts(text: str, items: int, *, reasons: bool = True) -> list[ItemVerdict]:
    """As `read_verdicts`, but raises VerdictError for an item without a usable verdict."""
    verdicts = read_verdicts(text, items, reasons=reasons)
    for verdict in verdicts:
        if verdict.met is None:
            raise VerdictError(verdict.reason)
    return verdicts


def _item_verdict(entry: Any, number: int, items: int, reasons: bool) -> ItemVerdict:
    if not reasons and isinstance(entry, str | bool):
        entry = {"verdict": entry}
    if not isinstance(entry, dict):
        return ItemVerdict(None, f"item {number} of {items} is missing")
    value = _first(entry, ("结论", "verdict"))
    met = _met(value)
    if met is None:
        return ItemVerdict(None, f"item {number} has verdict {value!r}, neither yes nor no")
    reason = _first(entry, ("理由", "reason"))
    reason = reason.strip() if isinstance(reason, str) else ""
    if reasons and not reason:
        return ItemVerdict(None, f"item {number} has no reason")
    return ItemVerdict(met, reason)


def _met(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.strip().strip("。.").lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _first(entry: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((entry[name] for name in names if name in entry), None)


@dataclass(frozen=True)
class LogprobReading:
    """What the likeliest first tokens of a reply say.

    Attributes:
        p_yes: probability of yes over that of yes and no, 0..1; None where neither is among the tokens.
        mass: probability that yes and no hold together, 0..1; None where the server gave no probabilities.
    """

    p_yes: float | None = None
    mass: float | None = None


def read_logprobs(logprobs: Sequence[Any]) -> LogprobReading:
    """The probability of "yes" against "no" in the first generated token, and how much both hold of the whole.

    Words of yes: 是, 是的, yes, true; of no: 否, 不是, no, false, whatever their case and the blanks, quotes and marks
    around them (our choice). Alternatives whose log probability is null or not a number are passed over.

    Args:
        logprobs: one entry per generated token, as in the chat completions protocol, natural logarithm.
    """
    first = logprobs[0] if logprobs and isinstance(logprobs[0], Mapping) else {}
    top = first.get("top_logprobs")
    listed = [one for one in top if isinstance(one, Mapping)] if isinstance(top, list) else []
    tokens = [(str(one.get("token", "")), _mass(one)) for one in listed or [first]]  # or the generated one alone
    masses = [(token.strip(_AROUND).lower(), mass) for token, mass in tokens if mass is not None]
    if not masses:
        return LogprobReading()
    yes, no = (math.fsum(mass for word, mass in masses if word in words) for words in (_YES_TOKENS, _NO_TOKENS))
    return LogprobReading(yes / (yes + no) if yes + no > 0 else None, min(1.0, yes + no))


def _mass(entry: Mapping[str, Any]) -> float | None:
    value = entry.get("logprob")
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return math.exp(min(0.0, value))
