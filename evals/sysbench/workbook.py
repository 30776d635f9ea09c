"""The rows of SysBench's published workbooks, one for each turn of a dialogue, as verdict rows.

Columns are system_id, multi_rounds_related, alignment, round_index, system_prompt, prompt, answer, infer_model,
评判细则 (criteria, lines `1. TEXT | KIND`), 评判结果 (verdicts, lines `1. KIND | 是`) and 是否可用 (1 if no verdict
is 否).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...hub_sync.errors import DataError
from .._lib.judging.cases import Case, ItemVerdict, JudgeInfo, Row, answer_state, verdict_rows
from .._lib.judging.verdicts import Lines

KINDS = {
    "动作约束": "action", "内容约束": "content", "背景约束": "background", "角色约束": "role", "格式约束": "format",
    "风格约束": "style",
}  # fmt: skip
TURNS = 5
LABELS = {
    "session": "number of the dialogue",
    "turn": "number of the turn, from 1",
    "aligned": "whether the user's turn agrees with the system message",
    "related": "whether the dialogue's turns belong together",
    "kinds": "kind of each criterion: action, content, background, role, format or style",
    "lengths": "what a rule of the authors that never ran would say of each criterion on length: met or not; null "
    "without such a rule",
    "available": "whether the published file counts the turn as satisfied; null of other verdicts",
}
_LINE = re.compile(r"^\s*(\d+)\s*\.\s*(.*?)\s*\|\s*([^|\n]*?)\s*$", re.MULTILINE)
_WORDS = {"是": True, "否": False}
_LENGTH = re.compile(r"(汉字)?字数数量(大于|小于|等于|)(\d{1,5})")


def official_rows(lines: Lines, name: str) -> list[Row] | None:
    """The verdict rows of a published workbook; None for another file."""
    if not {"system_id", "round_index", "评判细则", "评判结果"} <= set(lines[0][1]):
        return None
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, record in lines:
        where = f"{name}: row {number}"
        case, verdicts = _read(record, where)
        if case.id in seen:
            raise DataError(f"{where} is the same turn as row {seen[case.id]}: keep one of them")
        seen[case.id] = number
        left = sum(one.met is None for one in verdicts)
        state = "complete" if not left else "partial" if left < len(verdicts) else "failed"
        rows += verdict_rows(
            case, verdicts, JudgeInfo("", language="zh"), state=state, attempts=0, prompt_hash="official",
            answers=len(lines),
        )  # fmt: skip
    return rows


def _read(record: Mapping[str, Any], where: str) -> tuple[Case, list[ItemVerdict]]:
    criteria = _LINE.findall(str(record["评判细则"] or ""))
    verdicts = {number: word for number, _, word in _LINE.findall(str(record["评判结果"] or ""))}
    try:
        session, turn = int(record["system_id"]), int(record["round_index"])
        aligned = {"align": True, "misalign": False}[record["alignment"]]
        kinds = [KINDS[kind] for _, _, kind in criteria]
        available = None if record.get("是否可用") is None else bool(int(record["是否可用"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: is no turn of SysBench ({type(error).__name__}: {error})") from error
    if not criteria or not 1 <= turn <= TURNS:
        raise DataError(f"{where}: is no turn of SysBench: turn {turn}, {len(criteria)} criteria")
    if unknown := set(verdicts) - {number for number, _, _ in criteria}:
        raise DataError(f"{where}: has a verdict on criterion {min(unknown)}, of which there is none")
    answer = record.get("answer")
    texts = [text for _, text, _ in criteria]
    labels = labels_of(session, turn, aligned, _related(record), kinds, texts, str(answer or ""))
    labels |= {"available": available}
    turns = [("system", record.get("system_prompt")), ("user", record.get("prompt"))]
    messages = tuple({"role": role, "content": str(text or "")} for role, text in turns)
    case = Case(
        f"sys-{session}-{turn}", messages, answer if isinstance(answer, str) else None,
        tuple(text for _, text, _ in criteria), (None,) * len(criteria), labels, answer_state(answer),
    )  # fmt: skip
    words = [verdicts.get(number, "") for number, _, _ in criteria]
    return case, [ItemVerdict(_WORDS.get(word), "" if word in _WORDS else word or "no verdict") for word in words]


def labels_of(
    session: int, turn: int, aligned: bool, related: bool, kinds: Sequence[str], texts: Sequence[str], answer: str
) -> dict[str, Any]:
    """The columns of a turn's verdict rows that the scorer reads.

    Args:
        kinds, texts: of its criteria.
    """
    return {
        "scenario": "related" if related else "parallel", "task": "aligned" if aligned else "misaligned",
        "session": session, "turn": turn, "aligned": bool(aligned), "related": bool(related), "kinds": list(kinds),
        "lengths": [length_rule(text, answer) for text in texts],
    }  # fmt: skip


def _related(record: Mapping[str, Any]) -> bool:
    value = record.get("multi_rounds_related")
    return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1")


def length_rule(criterion: str, answer: str) -> bool | None:
    """Whether an answer keeps to the length that a criterion states; None if it states none in the words of the rule.

    Example: "汉字字数数量小于10" on an answer of 12 Chinese characters gives False.
    """
    match = _LENGTH.search(criterion)
    if match is None:
        return None
    chinese, comparison, limit = match.groups()
    count = len(re.findall("[一-龥]", answer)) if chinese else len(answer)
    return {"大于": count > int(limit), "等于": count == int(limit)}.get(comparison, count < int(limit))
