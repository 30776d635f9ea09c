"""What is judged and what comes out: a case is an answer with its checklist, a verdict row is one item of it.

A row is complete in itself, so that scores can be made again years later from the rows alone:

    id, item (from 0), items (their number), LABELS of the case, text, weight|null      : what was asked about
    answer_state "ok|empty|failed|refused", answer_sha256                               : the answer
    verdict "yes|no|unparsable"|null, p_yes|null, mass|null, reason                     : what the judge said
    state   complete: every item has its verdict; failed: at least one has none, after all attempts; refused: the
            judge would not judge; not_judged: there was no answer to judge
    attempts, judge, judge_revision, method, language, prompt_hash                      : which judge, asked how
    answers                                                                             : cases of the whole run
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ....hub_sync.text import utf8
from ....inference.row_file import RowFile

AnswerState = Literal["ok", "empty", "failed", "refused"]
VERDICTS = ("yes", "no", "unparsable", None)
Row = dict[str, Any]
COLUMNS = {
    "id": "id of the row that was answered",
    "item": "number of the checklist item, from 0",
    "items": "items of the answer's checklist",
    "scenario": "the benchmark's scenario of the row; empty if it has none",
    "task": "the benchmark's task of the row; empty if it has none",
    "text": "the item as the judge reads it",
    "weight": "weight of the item in the score, 0 to 1; null if one item met gives full marks",
    "answer_state": "ok, empty, failed or refused; anything but ok was not judged",
    "answer_sha256": "SHA-256 of the answer",
    "verdict": "yes, no or unparsable; null if the judge refused or was not asked",
    "p_yes": "probability of yes against no, 0 to 1; null by method text, and if both are unlikely",
    "mass": "probability of yes and no together in the first token, 0 to 1; null by method text",
    "reason": "the judge's reason, or why there is no verdict; else empty",
    "state": "of the whole answer: complete, failed, refused or not_judged",
    "attempts": "requests until the verdict; the most of any item by method logprob",
    "judge": "name of the judge",
    "judge_revision": "its commit; empty if not known",
    "method": "how the verdict is read: `text` or `logprob`; `rule` where no judge was asked",
    "language": "code of the language that the judge is asked in",
    "prompt_hash": "first 16 hex digits of the SHA-256 of the request without the answer",
    "answers": "answers of the whole run",
}
"""What the columns of a verdict row hold; a benchmark's own labels come on top."""


@dataclass(frozen=True)
class Case:
    """One answer (None: there is none) and the checklist it is judged by.

    Attributes:
        labels: columns of the benchmark's own (scenario, task, ...), copied into every verdict row.
        messages: the conversation up to the answer, `role` and text `content`.
        weights: one per item, or None where any item met is full marks.
        answer_state: anything but "ok" is not shown to the judge.
        decided: whether all items are met, where a rule says so; no judge is asked.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    answer: str | None
    items: tuple[str, ...]
    weights: tuple[float | None, ...]
    labels: Mapping[str, Any] = field(default_factory=dict)
    answer_state: AnswerState = "ok"
    decided: bool | None = None


class CaseFile(Sequence[Case]):
    """Cases on the disk, in a file without a name in `folder`."""

    def __init__(self, folder: Path, cases: Iterable[Case]) -> None:
        self._rows = RowFile(folder, map(vars, cases))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        return read_case(self._rows[place])


def read_case(row: Mapping[str, Any]) -> Case:
    """The case whose fields came back from JSON."""
    fields: Row = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Case(**fields)


@dataclass(frozen=True)
class ItemVerdict:
    """A judge's verdict on one item: `met` is None if nothing usable came. Of a logprob judge `p_yes` is the
    probability of "yes" against "no", `mass` what both hold of the first token's, 0..1.
    """

    met: bool | None
    reason: str = ""
    p_yes: float | None = None
    mass: float | None = None


@dataclass(frozen=True)
class JudgeInfo:
    """The judge and its settings, as columns of a verdict row."""

    judge: str = ""
    judge_revision: str = ""
    method: str = "text"
    language: str = "zh"


def answer_hash(answer: Any) -> str:
    """SHA-256 of the answer's UTF-8: what ties a verdict to the answer it was given for."""
    return hashlib.sha256(utf8(str(answer))).hexdigest()


def verdict_rows(
    case: Case,
    verdicts: Sequence[ItemVerdict],
    judge: JudgeInfo,
    *,
    state: str,
    attempts: int,
    prompt_hash: str,
    answers: int,
) -> list[Row]:
    """The rows of one case; `verdicts` is empty if it was not judged.

    An item without a usable verdict is "unparsable" if the state is failed or partial, else null.
    """
    words = {True: "yes", False: "no", None: "unparsable" if state in ("failed", "partial") else None}
    sha256 = answer_hash(case.answer)
    items = zip(case.items, case.weights, verdicts or [ItemVerdict(None)] * len(case.items), strict=True)
    return [
        {
            "id": case.id, "item": number, "items": len(case.items), **case.labels, "text": text, "weight": weight,
            "answer_state": case.answer_state, "answer_sha256": sha256,
            "verdict": words[verdict.met], "p_yes": verdict.p_yes, "mass": verdict.mass, "reason": verdict.reason,
            "state": state, "attempts": attempts, **vars(judge), "prompt_hash": prompt_hash, "answers": answers,
        }
        for number, (text, weight, verdict) in enumerate(items)
    ]  # fmt: skip


def decided_rows(case: Case, judge: JudgeInfo, answers: int) -> list[Row]:
    """The rows of a case that a rule decides."""
    verdicts = [ItemVerdict(case.decided)] * len(case.items)
    by = replace(judge, method="rule")
    return verdict_rows(case, verdicts, by, state="complete", attempts=0, prompt_hash="rule", answers=answers)


def with_calls(answer: str | None, calls: Any) -> str | None:
    """An answer's words, then its calls as chat templates write them.

    Args:
        calls: in the API's form, the column `tool_calls` of the step `answers`.
    """
    written = []
    for call in calls if isinstance(calls, list | tuple) else ():
        function = call.get("function", call) if isinstance(call, Mapping) else {}
        arguments: Any = function.get("arguments")
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            arguments = json.loads(arguments)
        text = json.dumps({"name": function.get("name"), "arguments": arguments}, ensure_ascii=False)
        written.append(f"<tool_call>\n{text}\n</tool_call>")
    return "\n".join([answer, *written] if answer else written) if written else answer


def answer_state(answer: Any) -> AnswerState:
    """ "empty" for nothing but white space, "failed" for no text, else "ok"."""
    if not isinstance(answer, str):
        return "failed"
    return "ok" if answer.strip() else "empty"


def outcome_state(outcome: Any) -> AnswerState | None:
    """State of an answer by the outcome of its request (column `outcome` of the step `answers`); None if the text
    decides.

    Example: "refused" gives "refused", "length" gives "failed", "ok" gives None.
    """
    if outcome in ("ok", "truncated", None):
        return None
    return outcome if outcome in ("refused", "empty") else "failed"
