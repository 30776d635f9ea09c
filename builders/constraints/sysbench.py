"""SysBench (arXiv:2408.10943): 500 system messages of five turns, rebuilt from a published workbook of judgements.

A row is a turn in the mode of true history: the system message, the turns before with their reference answers, and the
user's turn. `session` and `turn` say which; a model's own history takes the place of the references where it answers
turn by turn.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ...hub_sync.errors import RowRejected
from .._lib.rejections import Rejections
from .common import features as shared
from .common import number_of, one_of, text_of

LABELS = ("turn", "aligned", "related")
KINDS = {
    "动作约束": "action", "内容约束": "content", "背景约束": "background", "角色约束": "role", "格式约束": "format",
    "风格约束": "style",
}  # fmt: skip
TURNS = 5
_LINE = re.compile(r"^\s*(\d+)\s*\.\s*(.*?)\s*\|\s*([^|\n]*?)\s*$", re.MULTILINE)


def features() -> Any:
    """Columns and types."""
    from datasets import Value

    text, number, flag = Value("string"), Value("int32"), Value("bool")
    return shared(session=number, turn=number, aligned=flag, related=flag, domain=text, scenario=text)


def rows(name: str, records: list[Any], rejections: Rejections) -> Iterator[dict[str, Any]]:
    """The turns of whole dialogues; those of a dialogue that lacks one are counted as left out."""
    dialogues: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    for turn in rejections.convert(name, records, _turn):
        if turn["turn"] in dialogues[turn["session"]]:
            rejections.reject(name, RowRejected("twice", f"session {turn['session']} has turn {turn['turn']} twice"))
        dialogues[turn["session"]].setdefault(turn["turn"], turn)
    for session, turns in dialogues.items():
        if set(turns) != set(range(1, TURNS + 1)):
            for _ in turns:
                rejections.reject(
                    name, RowRejected("incomplete", f"session {session} has turns {sorted(turns)} alone")
                )
            continue
        history = [{"role": "system", "content": turns[1].pop("system")}]
        for number in range(1, TURNS + 1):
            turn = turns[number]
            turn.pop("system", None)
            history = [*history, {"role": "user", "content": turn.pop("prompt")}]
            yield {"id": f"sys-{session}-{number}", "messages": history, **turn}
            history = [*history, {"role": "assistant", "content": turn["reference"]}]


def _turn(record: Any) -> dict[str, Any]:
    criteria = _LINE.findall(str(record.get("评判细则") or ""))
    if not criteria:
        raise RowRejected("no criteria", "评判细则 has no line `1. TEXT | KIND`")
    if unknown := {kind for _, _, kind in criteria} - set(KINDS):
        raise RowRejected("criterion", f"a criterion's kind is {min(unknown)!r:.20}, not one of {', '.join(KINDS)}")
    turn = number_of(record, "round_index")
    if not 1 <= turn <= TURNS:
        raise RowRejected("turn", f"round_index is {turn}, not 1 to {TURNS}")
    flags = {True: True, False: False, "True": True, "False": False}
    return {
        "criteria": [{"text": text, "kind": KINDS[kind], "priority": "primary"} for _, text, kind in criteria],
        "reference": text_of(record, "referrence"), "session": number_of(record, "system_id"), "turn": turn,
        "aligned": one_of(record, "alignment", {"align": True, "misalign": False}),
        "related": one_of(record, "multi_rounds_related", flags), "domain": str(record.get("领域") or ""),
        "scenario": str(record.get("场景") or ""), "system": text_of(record, "system_prompt"),
        "prompt": text_of(record, "prompt"),
    }  # fmt: skip
