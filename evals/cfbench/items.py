"""CFBench's answers and judgements, as cases and verdict rows.

A record of the published files has `idx`, `prompt`, `gold`, `split` (easy, hard) and `criteria`, each a list of text,
priority (主需 or 次需), kind and finer kind; with an answer also `response`; with a judgement `judge_response` (a line
`TEXT<tab>0 or 1` for each criterion), `judge_score` and `judge_parsing`. Built rows are of the step `constraints`.
"""

from collections.abc import Mapping
from typing import Any

from ...hub_sync.errors import DataError
from ...inference.reasoning import answer_of
from .._lib.data import locate, read_records
from .._lib.judging import criteria
from .._lib.judging.benchmark import Source
from .._lib.judging.cases import Case, ItemVerdict, JudgeInfo, Row, verdict_rows
from .._lib.judging.verdicts import Lines

PRIORITIES = {"主需": "primary", "次需": "secondary"}
SPLITS = ("easy", "hard")
LABELS = {
    "split": "easy or hard",
    "priorities": "primary or secondary, of each criterion",
    "kinds": "kind of each criterion",
    "published": "of a published judgement: the scores of its own parser, and whether it read the reply in full (1), "
    "in part (0) or not (-1); else null",
}


def case_of(record: Mapping[str, Any], where: str, answer: Any = None, state: Any = None) -> Case:
    """A published record with an answer. Raises DataError for a record that is no item of CFBench."""
    try:
        parts = [(str(one[0]), PRIORITIES[one[1]], str(one[2])) for one in record["criteria"]]
        split, name, prompt = record["split"], f"cf-{int(record['idx'])}", record["prompt"]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{where}: is no item of CFBench ({type(error).__name__}: {error})") from error
    row = {
        "id": name, "messages": [{"role": "user", "content": prompt}], "level": split,
        "criteria": [{"text": text, "priority": priority, "kind": kind} for text, priority, kind in parts],
    }  # fmt: skip
    return row_case(row, where, answer_of(answer) if isinstance(answer, str) else answer, state)


def row_case(row: Mapping[str, Any], where: str, answer: Any, state: Any = None) -> Case:
    """A built row with an answer."""
    if row.get("level") not in SPLITS or not row.get("criteria"):
        count = len(row.get("criteria") or [])
        raise DataError(f"{where}: is no item of CFBench: split {row.get('level')!r:.20}, {count} criteria")
    labels = {"task": row["level"], "split": row["level"]}
    labels |= {"priorities": [one["priority"] for one in row["criteria"]], "published": None}
    return criteria.case_of(row, where, answer, state, labels | {"kinds": [one["kind"] for one in row["criteria"]]})


def read_cases(answers: Source, dataset: Source | None = None) -> list[Case]:
    """Answers to built rows as `criteria.read_answered` reads them, or published records with `response`.

    Raises DataError for an unreadable file; UsageError where the data set is needed.
    """
    path, name = locate(str(answers))
    if path.is_file() and path.suffix == ".json":
        records = list(read_records(path))
        if records and "response" in records[0][1]:
            return [case_of(row, f"{name}: row {number}", row["response"]) for number, row in records]
    return [
        row_case(row, where, text, state)
        for where, row, text, state in criteria.read_answered(answers, "cf-", dataset)
    ]


def official_rows(lines: Lines, name: str) -> list[Row] | None:
    """The verdict rows of a published judgement file; None for another file."""
    if not {"judge_response", "criteria"} <= set(lines[0][1]):
        return None
    rows: list[Row] = []
    for number, record in lines:
        where = f"{name}: row {number}"
        if not isinstance(record.get("judge_response"), str):
            raise DataError(f"{where}: has no judge_response")
        case = case_of(record, where, record.get("response"))
        verdicts = verdicts_of(case.items, record["judge_response"])
        left = sum(one.met is None for one in verdicts)
        state = "complete" if not left else "partial" if left < len(verdicts) else "failed"
        rows += [
            row | {"published": published_of(record, where)}
            for row in verdict_rows(
                case, verdicts, JudgeInfo("", language="zh"), state=state, attempts=0, prompt_hash="official",
                answers=len(lines),
            )
        ]  # fmt: skip
    return rows


def verdicts_of(texts: tuple[str, ...], reply: str) -> list[ItemVerdict]:
    """The verdicts in a judge's reply by the text of the criterion, white space apart; a criterion whose text the
    reply does not have, or has twice with different scores, has no verdict.

    Example: criteria "a", "b" and the reply "a<tab>0" give one that is not met and one without a verdict.
    """
    by_text: dict[str, set[str]] = {}
    for line in reply.split("\n"):
        text, tab, score = line.rpartition("\t")
        if tab and score.strip() in ("0", "1"):
            by_text.setdefault("".join(text.split()), set()).add(score.strip())
    found = [by_text.get("".join(text.split()), set()) for text in texts]
    return [ItemVerdict(None if len(one) != 1 else "1" in one) for one in found]


def published_of(record: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    """{"scores": [0 or 1], "parsing": 1, 0 or -1} as the published parser left them; None where there are none."""
    if "judge_score" not in record:
        return None
    try:
        scores, parsing = [int(one) for one in record["judge_score"]], int(record["judge_parsing"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: judge_score and judge_parsing cannot be read ({error})") from error
    if not scores or set(scores) - {0, 1} or parsing not in (1, 0, -1):
        raise DataError(f"{where}: judge_score {scores!r:.40}, judge_parsing {parsing}: not those of CFBench")
    return {"scores": scores, "parsing": parsing}
