"""FB-Bench's verdicts: our verdict rows and the official judgement JSONL, read into the same samples.

Our rows (`_lib.judging.cases`) carry FB-Bench's labels as columns (scenario, task, deficiencies, feedback) and need no
other file to be scored. Verdicts are joined by item index, never by text: 40 of the 15,957 published judgements carry
item texts that differ from the data set's (lost backslashes).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...hub_sync.errors import DataError
from ...inference.reasoning import answer_of
from .._lib.judging.cases import AnswerState, ItemVerdict, JudgeInfo, Row, verdict_rows
from .._lib.judging.verdicts import Lines, StoredVerdicts, group_rows
from .samples import Sample, answer_state, from_official, index_samples

VerdictState = Literal["complete", "partial", "refused", "failed", "not_judged"]

_RESULT, _REASON = "评判结果", "评判理由"  # field names of the official judgement files
_YES_NO = {"是": True, "否": False}


@dataclass(frozen=True)
class Judged:
    """A sample with its `verdicts` per item (True, False, or None without a usable one), the judge's `reasons`, and
    the `rows` that it was read from.

    States: complete; partial (an item without a verdict counts as not met, as published); refused (by the judge: 0, as
    published); failed (no usable reply: no score); not_judged (there was no answer: 0).
    """

    sample: Sample
    verdicts: tuple[bool | None, ...]
    state: VerdictState
    answer: AnswerState = "ok"
    reasons: tuple[str, ...] = ()
    judge: str = ""
    rows: tuple[Row, ...] = ()


def official_rows(lines: Lines, name: str) -> list[Row] | None:
    """The verdict rows of an official judgement file; None for another file."""
    if "judgement" not in lines[0][1]:
        return None
    judged = [read_official(record, f"{name}: line {number}") for number, record in lines]
    index_samples((one.sample for one in judged), name)  # refuses a sample that occurs twice
    return [row | {"answers": len(judged)} for one in judged for row in one.rows]


def collect(rows: Sequence[Row], name: str = "verdicts") -> list[Judged]:
    """Verdict rows by sample. Raises DataError for a row that is not a verdict on FB-Bench."""
    return judged_of(group_rows(list(enumerate(rows, 1)), name))


def judged_of(stored: StoredVerdicts) -> list[Judged]:
    """Stored verdicts by sample. Raises DataError for verdicts of another benchmark."""
    try:
        return [_from_rows(rows) for rows in stored.cases]
    except (KeyError, TypeError) as error:
        raise DataError(f"the verdicts are not on FB-Bench: column {error} is absent or malformed") from error


def _from_rows(rows: list[Row]) -> Judged:
    first = rows[0]
    sample = Sample(
        id=first["id"],
        scenario=first["scenario"],
        task=first["task"],
        deficiencies=tuple(first["deficiencies"]),
        feedback=tuple(first["feedback"]),
        items=tuple(row["text"] for row in rows),
        weights=tuple(row["weight"] for row in rows),
    )
    met = {"yes": True, "no": False, "unparsable": None, None: None}
    return Judged(
        sample=sample,
        verdicts=tuple(met[row["verdict"]] for row in rows),
        state=first["state"],
        answer=first["answer_state"],
        reasons=tuple(row["reason"] for row in rows),
        judge=first["judge"],
        rows=tuple(rows),
    )


def read_official(record: Mapping[str, Any], where: str) -> Judged:
    """One line of an official judgement file. The labels and weights are the record's own data set fields."""
    sample = from_official(record, where)
    if "second_response" not in record:
        raise DataError(f"{where}: has no second_response; is this an answer or judgement file?")
    answer = record["second_response"]
    answer = answer_of(answer) if isinstance(answer, str) else answer  # as `answers` reads it
    judgement = record["judgement"] if isinstance(record.get("judgement"), dict) else {}
    _check_judgement(judgement, where)
    verdicts = _by_index(sample.items, judgement)
    usable = sum(verdict.met is not None for verdict in verdicts)
    state: VerdictState = "refused" if not usable else "complete" if usable == len(verdicts) else "partial"
    judge = JudgeInfo(str(record.get("judge_model", "")), language="")
    case = sample.case(answer, answer_state(answer))
    rows = verdict_rows(case, verdicts, judge, state=state, attempts=0, prompt_hash="official", answers=1)
    return replace(_from_rows(rows), sample=sample)


def _check_judgement(judgement: Mapping[str, Any], where: str) -> None:
    """Refuse verdicts that are not text; missing and other texts count as no verdict, as published."""
    for item, value in judgement.items():
        verdict = value.get(_RESULT) if isinstance(value, dict) else None
        if not isinstance(verdict, str | None):
            raise DataError(
                f"{where}: the verdict on {item[:60]!r} is {json.dumps(verdict, ensure_ascii=False)[:60]}, not text: "
                f"write one of {', '.join(_YES_NO)}"
            )


def _by_index(items: tuple[str, ...], judgement: Mapping[str, Any]) -> list[ItemVerdict]:
    """Official verdicts, keyed by the text that the judge echoed, by item.

    By equal text (white space apart) first; the others, in order, to the items that are left. An item that the judge
    dropped has no verdict.
    """
    usable = {
        key: entry for key, entry in judgement.items() if isinstance(entry, dict) and entry.get(_RESULT) in _YES_NO
    }
    texts = ["".join(text.split()) for text in items]
    by_item: dict[int, dict[str, Any]] = {}
    left = []
    for key, entry in usable.items():
        text = "".join(key.split())
        if text in texts and texts.index(text) not in by_item:
            by_item[texts.index(text)] = entry
        else:
            left.append(entry)
    by_item.update(zip([n for n in range(len(items)) if n not in by_item], left, strict=False))
    entries = [by_item.get(number, {}) for number in range(len(items))]
    return [ItemVerdict(_YES_NO.get(one.get(_RESULT, "")), str(one.get(_REASON, ""))) for one in entries]
