"""The score of a played request, and when an answer is the wanted one. Needs neither lm-eval nor torch."""

import ast
import json
from collections.abc import Mapping
from typing import Any

MOST = 10_000  # characters of an answer that is read as a list


def score(transcript: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of a transcript of `ToolQueryEpisode`.

    `success` and `progress`: the transcript's. `grounding`: share of the actions that could be made. `steps`: replies.
    `stopped`: it never finished.
    """
    return {
        "success": float(transcript["success"]),
        "progress": transcript["progress"],
        "grounding": transcript["executable"] / transcript["actions"] if transcript["actions"] else 0.0,
        "steps": float(transcript["steps"]),
        "stopped": float(transcript["stopped"]),
    }


def matches(answer: Any, right: Any) -> bool:
    """True for the right answer: lists in any order; no regard to case, quotes and a full stop (our choice)."""
    if isinstance(right, list):
        return sorted(map(_plain, _listed(answer))) == sorted(map(_plain, right))
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    return _plain(answer) == _plain(right)


def _listed(answer: Any) -> list[Any]:
    """A list from a list, or from the text of one as JSON or Python write it."""
    if isinstance(answer, str) and len(answer) <= MOST:
        for read in (json.loads, ast.literal_eval):
            try:
                result = read(answer)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(result, list):
                return result
    return answer if isinstance(answer, list) else [answer]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    try:
        text = str(value).strip(" \t\n'\"").rstrip(" \t\n'\".").casefold()
    except (ValueError, RecursionError):  # an integer of more digits than Python writes
        return ""
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text
