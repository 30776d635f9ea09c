"""Scores of image-text pairs as text: the prompt of a scorer, its JSON, and how a reply is read.

    >>> prompt("A dog runs")
    'Caption: A dog runs\\nRate this caption for the image from 1 to 10. Reply in JSON.'
    >>> target({"overall": 3, "matching": 2}, "A red bus in the rain")
    '{"overall": 3, "recaption": "A red bus in the rain", "matching": 2}'
    >>> read('{"overall": 3, "recaption": "A red bus in the rain", "matching": 2}').recaption
    'A red bus in the rain'

The paper's model writes the new caption first, where the old one is bad, then an overall score of 1 to 10 and five
aspects, each with an explanation. Here the overall score comes first, so that scoring ends after it, the new caption
second, and there are no explanations: our choice, as are the words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OVERALL = "overall"
ASPECTS = (OVERALL, "text_quality", "matching", "object_detail", "semantic", "text_chart")
"""The overall score and the paper's five aspects: grammar and fluency, image-text matching, detail of objects,
context and purpose, and whether texts and charts in the image are covered."""
LOW, HIGH = 1, 10
RECAPTION = "recaption"
_INSTRUCTION = "Rate this caption for the image from 1 to 10. Reply in JSON."
_NUMBER = re.compile(r'\s*"?(\d+)(?![\d.])')


@dataclass(frozen=True)
class Reply:
    """What a reply says.

    Attributes:
        scores: by aspect, those that could be read.
        recaption: the new caption; None if there is none.
        fault: why it is not what was asked for; None if it is.
    """

    scores: Mapping[str, int]
    recaption: str | None = None
    fault: str | None = None


def prompt(text: str) -> str:
    """The user's turn beside the image."""
    return f"Caption: {text}\n{_INSTRUCTION}"


def target(scores: Mapping[str, int], recaption: str | None) -> str:
    """The reply that is learnt.

    Args:
        scores: by aspect, `overall` among them, whole numbers from 1 to 10.
        recaption: a better caption; None where the old one is good.
    """
    more = {} if recaption is None else {RECAPTION: recaption}
    rest = {name: scores[name] for name in ASPECTS[1:] if name in scores}
    return json.dumps({OVERALL: scores[OVERALL], **more, **rest}, ensure_ascii=False)


def begin(score: int | None = None, *, rewrite: bool = False) -> str:
    """How a reply begins, up to the overall score, or with a score up to the new caption.

    >>> begin(), begin(3, rewrite=True)
    ('{"overall": ', '{"overall": 3, "recaption": "')
    """
    text = f'{{"{OVERALL}": '
    return text if not rewrite else f'{text}{score}, "{RECAPTION}": "'


def read(reply: str) -> Reply:
    """Scores and new caption of a reply. The first number of an aspect counts, in quotes too, and what a cut has taken
    is not guessed.

    >>> read('{"overall": 7.5.5.5.5').fault
    'overall is not a whole number from 1 to 10'
    >>> read('Here: {"overall": 9, "overall": 2} and so on').scores["overall"]
    9
    """
    start = reply.find("{")
    if start < 0:
        return Reply({}, fault="no JSON")
    body = reply[start:]
    scores: dict[str, int] = {}
    for aspect in ASPECTS:
        found = re.search(rf'"{aspect}"\s*:', body)
        if found is None:
            continue
        match = _NUMBER.match(body, found.end())
        if match is None or len(match[1]) > 2 or not LOW <= int(match[1]) <= HIGH:
            return Reply({}, fault=f"{aspect} is not a whole number from {LOW} to {HIGH}")
        scores[aspect] = int(match[1])
    if OVERALL not in scores:
        return Reply({}, fault="no overall score")
    return Reply(scores, recaption_of(body))


def recaption_of(text: str) -> str | None:
    """The new caption of a reply, whose text has ended with a quote; None without one."""
    match = re.search(rf'"{RECAPTION}"\s*:\s*("(?:[^"\\]|\\.)*")', text, re.DOTALL)
    if match is None:
        return None
    try:
        value: Any = json.loads(match[1], strict=False)
    except ValueError:
        return None
    return " ".join(value.split()) or None
