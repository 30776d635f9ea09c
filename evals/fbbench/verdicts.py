"""Verdict files: ours (one line per checklist item) and the official judgement JSONL, read into the same thing.

Our format, one JSON object per (sample, item), complete in itself so that scoring needs no other file:

    id, item (from 0), items (their number), scenario, task, deficiencies, feedback, text, weight|null: of the row
    answer_state "ok|empty|failed", answer_sha256                       : of the answer
    verdict "yes|no|unparsable"|null, reason, state, attempts           : of the judge; `state` says what became of
        the whole sample: complete, refused, failed (no complete reply after all attempts) or not_judged (no answer)
    judge, prompt_hash                                                  : which judge, asked what
    answers                                                             : number of samples the run set out to judge

A sample judged twice counts with its last complete set of lines. Verdicts are joined by item index, never by text:
40 of the 15,957 published judgements carry item texts that differ from the data set's (lost backslashes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...hub_sync.errors import DataError
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

    def rows(self, answers: int) -> list[dict[str, Any]]:
        """The lines of our format, one per item."""
        sample = self.sample
        words = {True: "yes", False: "no", None: "unparsable" if self.state in ("partial", "failed") else None}
        return [
            {
                "id": sample.id,
                "item": index,
                "items": len(sample.items),
                "scenario": sample.scenario,
                "task": sample.task,
                "deficiencies": list(sample.deficiencies),
                "feedback": list(sample.feedback),
                "text": text,
                "weight": sample.weights[index],
                "answer_state": self.answer,
                "answer_sha256": self.answer_sha256,
                "verdict": words[self.verdicts[index]],
                "reason": self.reasons[index] if self.reasons else "",
                "state": self.state,
                "attempts": self.attempts,
                "judge": self.judge,
                "prompt_hash": self.prompt_hash,
                "answers": answers,
            }
            for index, text in enumerate(sample.items)
        ]


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
    path = _verdict_file(path)
    if path.suffix == ".parquet":
        from ..data import read_split

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


def _verdict_file(path: Path) -> Path:
    """The verdict file in a folder: its only .jsonl, else its only Parquet below data/."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.jsonl")) or sorted(path.glob("data/*.parquet"))
    if len(found) != 1:
        raise DataError(f"{path.name}: holds {len(found)} verdict files; name one of them")
    return found[0]


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


def _collect(lines: list[tuple[int, dict[str, Any]]], name: str) -> VerdictFile:
    """Group our lines by sample; of a sample judged more than once the last complete run of lines counts."""
    complete: dict[str, Judged] = {}
    pending: dict[str, dict[int, dict[str, Any]]] = {}
    expected = 0
    for number, row in lines:
        try:
            key, item, size = str(row["id"]), int(row["item"]), int(row["items"])
            expected = max(expected, int(row["answers"]))
            group = pending.setdefault(key, {})
            if item in group:  # a new run over this sample begins
                group.clear()
            group[item] = row
            if len(group) == size:
                complete[key] = _from_rows([group[index] for index in range(size)])
                del pending[key]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name}: line {number} is not a verdict ({type(error).__name__}: {error})") from error
    return VerdictFile(list(complete.values()), expected=max(expected, len(complete)))


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
    )


def read_official(record: Mapping[str, Any], where: str) -> Judged:
    """One line of an official judgement file. The labels and weights are the record's own data set fields."""
    sample = from_official(record, where)
    if "second_response" not in record:
        raise DataError(f"{where}: has no second_response; is this an answer or judgement file?")
    answer = record["second_response"]
    judgement = record.get("judgement")
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
