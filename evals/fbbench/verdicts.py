"""Verdict files: ours (one line per checklist item) and the official judgement JSONL, read into the same thing.

Ours are the rows of `_lib.judging.cases`, with FB-Bench's labels as columns: scenario, task, deficiencies, feedback.
They need no other file to be scored. Older files lack p_yes, mass, judge_revision, method and language.

A sample judged twice counts with its last complete set of lines. Verdicts are joined by item index, never by text:
40 of the 15,957 published judgements carry item texts that differ from the data set's (lost backslashes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...hub_sync.errors import DataError
from ...inference.reasoning import answer_of
from .._lib.data import locate, read_split
from .._lib.judging.cases import Asked, Row, Said, group_rows, verdict_file, verdict_rows
from .samples import AnswerState, Sample, answer_hash, answer_state, from_official, read_jsonl

VerdictState = Literal["complete", "partial", "refused", "failed", "not_judged"]
STATES: tuple[str, ...] = ("complete", "partial", "refused", "failed", "not_judged")

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
        asked = Asked(self.judge, self.judge_revision, self.method, self.language)
        return verdict_rows(
            self.sample.case(None, self.answer),
            [Said(*part) for part in parts],
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


def read_verdicts(path: Path) -> VerdictFile:
    """Read our verdict file, the same rows as Parquet, or an official judgement file; which is told by its fields.

    Of a folder its only verdict file is read.

    Raises DataError in one line that names the file and the line.
    """
    path = verdict_file(path)
    if path.suffix == ".parquet":
        lines = [(number, dict(row)) for number, row in enumerate(read_split(path, "train"), 1)]
    else:
        lines = list(read_jsonl(path, torn_tail=_is_ours(path)))
    if not lines:
        raise DataError(f"{path.name}: holds no verdict; run `hubwright judge fbbench` first")
    first = lines[0][1]
    if "judgement" in first:
        judged = [read_official(record, f"{path.name}: line {number}") for number, record in lines]
        _refuse_repeats(judged, path.name)
        return VerdictFile(judged, expected=len(judged))
    if {"id", "item", "verdict", "state"} <= set(first):
        return _collect(lines, path.name)
    raise DataError(
        f"{path.name}: is neither a verdict file of hubwright nor an official judgement file (line 1 has "
        f"{', '.join(sorted(first)[:6])})"
    )


def verdict_rows_of(source: str) -> list[Row]:
    """The verdict rows behind a file, folder or `org/name@revision`, official judgements included."""
    stored = read_verdicts(locate(source)[0])
    return [row for one in stored.judged for row in one.rows(stored.expected)]


def _is_ours(path: Path) -> bool:
    """Only our own writer leaves a torn last line behind; other files may well end without a newline."""
    try:
        with path.open("rb") as file:
            return b'"judgement"' not in file.readline()
    except OSError:
        return False


def _refuse_repeats(judged: list[Judged], name: str) -> None:
    seen: set[str] = set()
    for one in judged:
        if one.sample.id in seen:
            raise DataError(f"{name}: sample {one.sample.id} occurs twice; keep one")
        seen.add(one.sample.id)


def collect(rows: Sequence[Row], name: str = "verdicts") -> list[Judged]:
    """Verdict rows put together by sample. Raises DataError for a row that is no verdict."""
    return _collect(list(enumerate(rows, 1)), name).judged


def _collect(lines: list[tuple[int, Row]], name: str) -> VerdictFile:
    judged = []
    for group in group_rows(lines, name):
        try:
            judged.append(_from_rows(group))
        except (KeyError, TypeError, ValueError) as error:
            number = next(number for number, row in lines if row is group[0])
            raise DataError(f"{name}: line {number} is not a verdict ({type(error).__name__}: {error})") from error
    # Of all rows: a file may hold samples that are not whole.
    expected = max((int(row["answers"]) for _, row in lines if isinstance(row.get("answers"), int)), default=0)
    return VerdictFile(judged, expected=max(expected, len(judged)))


def _from_rows(rows: list[dict[str, Any]]) -> Judged:
    first = rows[0]
    if first["state"] not in STATES:
        raise ValueError(f"state {first['state']!r}")
    weights = tuple(None if row["weight"] is None else float(row["weight"]) for row in rows)
    sample = Sample(
        id=first["id"],
        scenario=first["scenario"],
        task=first["task"],
        deficiencies=tuple(first["deficiencies"]),
        feedback=tuple(first["feedback"]),
        items=tuple(row["text"] for row in rows),
        weights=weights,
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
        attempts=int(first["attempts"]),
        p_yes=_values(rows, "p_yes"),
        mass=_values(rows, "mass"),
        judge_revision=str(first.get("judge_revision") or ""),
        method=str(first.get("method") or "text"),
        language=str(first.get("language") or ""),
    )


def _values(rows: Sequence[Row], name: str) -> tuple[float | None, ...]:
    """A column that older files lack; () where no row has a value."""
    values = tuple(row.get(name) for row in rows)
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
    found: dict[int, dict[str, Any]] = {}
    left = []
    for key, value in given:
        text = "".join(key.split())
        if text in wanted and wanted.index(text) not in found:
            found[wanted.index(text)] = value
        else:
            left.append(value)
    open_items = [index for index in range(len(items)) if index not in found]
    found.update(zip(open_items, left, strict=False))
    verdicts = tuple(_YES_NO[found[i][_RESULT]] if i in found else None for i in range(len(items)))
    reasons = tuple(str(found[i].get(_REASON, "")) if i in found else "" for i in range(len(items)))
    return verdicts, reasons
