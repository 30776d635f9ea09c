"""FB-Bench's verdicts: our verdict rows and the official judgement JSONL, read into the same samples.

Our rows (`_lib.judging.cases`) carry FB-Bench's labels as columns (scenario, task, deficiencies, feedback) and need no
other file to be scored. Verdicts are joined by item index, never by text: 40 of the 15,957 published judgements carry
item texts that differ from the data set's (lost backslashes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...hub_sync.errors import DataError
from ...inference.reasoning import answer_of
from .._lib.judging.cases import AnswerState, ItemVerdict, JudgeInfo, Row, answer_hash, verdict_rows
from .._lib.judging.verdicts import Lines, StoredVerdicts, group_rows, read_stored
from .samples import Sample, answer_state, from_official, index_samples

VerdictState = Literal["complete", "partial", "refused", "failed", "not_judged"]

_RESULT, _REASON = "评判结果", "评判理由"  # field names of the official judgement files
_YES_NO = {"是": True, "否": False}


@dataclass(frozen=True)
class Judged:
    """A sample with its verdicts.

    Attributes:
        verdicts: one per item: met, not met, or None where the judge gave no usable verdict on it.
        state: complete; partial (some item lacks its verdict and counts as not met, as published); refused (the judge
            would not judge: 0, as published); failed (no usable reply: no score); not_judged (there was no answer: 0).
    """

    sample: Sample
    verdicts: tuple[bool | None, ...]
    state: VerdictState
    answer: AnswerState = "ok"
    answer_sha256: str = ""
    reasons: tuple[str, ...] = ()
    judge: str = ""
    prompt_hash: str = ""
    attempts: int = 0
    p_yes: tuple[float | None, ...] = ()
    mass: tuple[float | None, ...] = ()
    judge_revision: str = ""
    method: str = "text"
    language: str = ""

    def rows(self, answers: int) -> list[Row]:
        """The verdict rows, one per item."""
        none = (None,) * len(self.verdicts)
        parts = zip(
            self.verdicts, self.reasons or ("",) * len(none), self.p_yes or none, self.mass or none, strict=True
        )
        asked = JudgeInfo(self.judge, self.judge_revision, self.method, self.language)
        return verdict_rows(
            self.sample.case(None, self.answer),
            [ItemVerdict(*part) for part in parts],
            sha256=self.answer_sha256,
            state=self.state,
            attempts=self.attempts,
            asked=asked,
            prompt_hash=self.prompt_hash,
            answers=answers,
        )


@dataclass(frozen=True)
class VerdictFile:
    """All samples of a file, in the order of their first line, and how many there should be."""

    judged: list[Judged]
    expected: int


def read_verdicts(source: str | Path) -> VerdictFile:
    """The samples of our verdict file or of an official judgement file. Raises DataError as `read_stored` does."""
    stored = read_stored(source, (official_rows,))
    return VerdictFile(judged_of(stored), stored.expected)


def official_rows(lines: Lines, name: str) -> list[Row] | None:
    """The verdict rows of an official judgement file; None for another file."""
    if "judgement" not in lines[0][1]:
        return None
    judged = [read_official(record, f"{name}: line {number}") for number, record in lines]
    index_samples((one.sample for one in judged), name)  # refuses a sample that occurs twice
    return [row for one in judged for row in one.rows(len(judged))]


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
    known = {"yes": True, "no": False, "unparsable": None, None: None}
    return Judged(
        sample=sample,
        verdicts=tuple(known[row["verdict"]] for row in rows),
        state=first["state"],
        answer=first["answer_state"],
        answer_sha256=first["answer_sha256"],
        reasons=tuple(row["reason"] for row in rows),
        judge=first["judge"],
        prompt_hash=first["prompt_hash"],
        attempts=first["attempts"],
        p_yes=_values(rows, "p_yes"),
        mass=_values(rows, "mass"),
        judge_revision=first["judge_revision"] or "",
        method=first["method"] or "text",
        language=first["language"] or "",
    )


def _values(rows: Sequence[Row], name: str) -> tuple[float | None, ...]:
    """A column; () if no row has a value."""
    values = tuple(row[name] for row in rows)
    return values if any(value is not None for value in values) else ()


def read_official(record: Mapping[str, Any], where: str) -> Judged:
    """One line of an official judgement file. The labels and weights are the record's own data set fields."""
    sample = from_official(record, where)
    if "second_response" not in record:
        raise DataError(f"{where}: has no second_response; is this an answer or judgement file?")
    answer = record["second_response"]
    answer = answer_of(answer) if isinstance(answer, str) else answer  # as `answers` reads it
    judgement = record.get("judgement")
    _check_judgement(judgement, where)
    verdicts, reasons = _by_index(sample.items, judgement if isinstance(judgement, dict) else {})
    given = sum(verdict is not None for verdict in verdicts)
    state: VerdictState = "refused" if not given else "complete" if given == len(verdicts) else "partial"
    return Judged(
        sample=sample,
        verdicts=verdicts,
        state=state,
        answer=answer_state(answer),
        answer_sha256=answer_hash(answer),
        reasons=reasons,
        judge=str(record.get("judge_model", "")),
        prompt_hash="official",
    )


def _check_judgement(judgement: Any, where: str) -> None:
    """Refuse verdicts that are not text; missing and other texts are left to count as no verdict, as published."""
    if not isinstance(judgement, dict):
        return
    for item, value in judgement.items():
        verdict = value.get(_RESULT) if isinstance(value, dict) else None
        if not isinstance(verdict, str | None):
            raise DataError(
                f"{where}: the verdict on {item[:60]!r} is {json.dumps(verdict, ensure_ascii=False)[:60]}, not text: "
                f"write one of {', '.join(_YES_NO)}"
            )


def _by_index(items: tuple[str, ...], judgement: Mapping[str, Any]) -> tuple[tuple[bool | None, ...], tuple[str, ...]]:
    """Official verdicts, keyed by the text the judge echoed, put to item indices.

    By equal text (white space apart) first; what is left over, in order, to the items that are left over. An item the
    judge dropped stays None.
    """
    given = [
        (key, value) for key, value in judgement.items() if isinstance(value, dict) and value.get(_RESULT) in _YES_NO
    ]
    wanted = ["".join(text.split()) for text in items]
    result: dict[int, dict[str, Any]] = {}
    left = []
    for key, value in given:
        text = "".join(key.split())
        if text in wanted and wanted.index(text) not in result:
            result[wanted.index(text)] = value
        else:
            left.append(value)
    open_items = [index for index in range(len(items)) if index not in result]
    result.update(zip(open_items, left, strict=False))
    verdicts = tuple(_YES_NO[result[i][_RESULT]] if i in result else None for i in range(len(items)))
    reasons = tuple(str(result[i].get(_REASON, "")) if i in result else "" for i in range(len(items)))
    return verdicts, reasons
