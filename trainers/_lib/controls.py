"""Control tokens of a model that a text of a row may spell: what a model writes itself is no danger in an answer."""

import json
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from ...hub_sync.errors import UsageError
from ...inference.conversations import RowRejected, Turn
from ...inference.reasoning import TAGS
from .shown import mark, marked, render
from .templates import PROBE

_REASONING = {form.lower() for tag in TAGS for form in (tag, f"{tag[0]}/{tag[1:]}")}
_ANSWER: Turn = PROBE["answer"]


class Controls:
    """Searches the texts of rows for control tokens.

    Args:
        allowed: tokens that any text may spell. Reasoning tags always may, and an assistant turn may spell what the
            chat template writes between thought, text and calls.

    Raises UsageError for an allowed token that the model does not have as a control token.
    """

    def __init__(self, tokenizer: Any, allowed: Sequence[str] = ()) -> None:
        special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
        special |= set(tokenizer.all_special_tokens)
        if unknown := [token for token in allowed if token not in special]:
            raise UsageError(f"allow_control_tokens: {unknown[0]!r} is not a control token of the model: drop it")
        controls = {token for token in special if token.strip() and token.lower() not in _REASONING} - set(allowed)
        self._stated = _pattern(controls)
        self._answered = _pattern(controls - _written(tokenizer, controls))

    @property
    def key(self) -> tuple[str, str]:
        """What the result depends on, as text."""
        return str(self._stated), str(self._answered)

    def check(self, turns: Sequence[Turn], tools: Any) -> None:
        """Raises RowRejected for a text that spells a control token."""
        answers = [turn for turn in turns if turn["role"] == "assistant"]
        rest = [turn for turn in turns if turn["role"] != "assistant"]
        for pattern, values in ((self._stated, [rest, tools]), (self._answered, answers)):
            if pattern and (match := pattern.search(json.dumps(values, ensure_ascii=False))):
                raise RowRejected(
                    "a text spells a control token of the model, which it would become unless allow_control_tokens "
                    "names it",
                    match[0],
                )


def _pattern(tokens: Collection[str]) -> re.Pattern[str] | None:
    longest = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest))) if longest else None


def _written(tokenizer: Any, controls: set[str]) -> set[str]:
    """The control tokens that the chat template writes before, between and after thought, text and calls of an
    assistant turn, except those that begin or end turns."""
    ask: Turn = {"role": "user", "content": "asked"}
    edges = {tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token}
    written: set[str] = set()
    for answer in (_ANSWER, {key: value for key, value in _ANSWER.items() if key != "tool_calls"}):
        with suppress(Exception):  # such turns are not for this template
            plain = render(tokenizer, [ask, ask | {"role": "assistant"}, ask], None)
            text = render(tokenizer, [ask, marked(1, answer)], None)
            edges |= {token for token in controls if token in plain}
            within = re.search(f"asked(.*){re.escape(mark(1))}", text, re.DOTALL)
            written |= {token for token in controls if within and token in within[1]}
    return written - edges
