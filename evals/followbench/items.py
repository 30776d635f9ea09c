"""FollowBench's answers as cases: some are decided by a rule, the others judged constraint by constraint."""

from collections.abc import Mapping
from typing import Any

from ...hub_sync.errors import DataError
from .._lib.judging import criteria
from .._lib.judging.benchmark import Source
from .._lib.judging.cases import Case, JudgeInfo, Row, answer_state, decided_rows
from .._lib.judging.verdicts import Lines
from .rules import LANGUAGES, has_rule, satisfies

LABELS = {
    "language": "en or zh",
    "category": "content, situation, style, format, example or mixed",
    "example": "the instruction that gains a constraint with each level",
    "level": "number of its constraints, 1 to 5",
}


def row_case(row: Mapping[str, Any], where: str, answer: Any, state: Any = None) -> Case:
    """A built row with an answer; an answer that a rule decides comes with its verdict."""
    try:
        labels = {name: row[name] for name in ("language", "category", "level")}
        labels |= {"task": row["category"], "example": f"{row['language']}-{row['category']}-{row['example_id']}"}
        known = row["language"] in LANGUAGES and 1 <= row["level"] <= 5
        by_rule = known and has_rule(row)
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: is no row of FollowBench ({type(error).__name__}: {error})") from error
    if not known:
        raise DataError(
            f"{where}: is no row of FollowBench: language {row['language']!r:.20}, level {row['level']!r:.20}"
        )
    state = state or answer_state(answer)
    decided = None
    if by_rule:
        try:
            decided = state == "ok" and satisfies(row, answer)
        except (ValueError, SyntaxError, TypeError) as error:
            raise DataError(f"{where}: its rule cannot be read from target {row['target']!r:.60}: {error}") from error
    return criteria.case_of(row, where, answer, state, labels, decided)


def read_cases(answers: Source, dataset: Source | None = None) -> list[Case]:
    """Answers to built rows as `criteria.read_answered` reads them."""
    answered = criteria.read_answered(answers, "fo-", dataset)
    return [row_case(row, where, text, state) for where, row, text, state in answered]


def official_rows(lines: Lines, name: str) -> list[Row] | None:
    """Of stored answers with their rows the verdict rows that rules decide; None for another file."""
    first = lines[0][1]
    if "verdict" in first or not ("answer" in first or "filtered_resps" in first):
        return None
    row = criteria.answer_in(first, name, has_rows=True)[0]
    if not {"versions", "level", "source", "target"} <= set(row):
        return None
    rows: list[Row] = []
    for number, record in lines:
        where = f"{name}: line {number}"
        row, text, state = criteria.answer_in(record, where)
        case = row_case(row, where, text, state)
        if case.decided is not None:
            rows += decided_rows(case, JudgeInfo("", language=""), len(lines))
    if not rows:
        raise DataError(f"{name}: has no answer that a rule decides; have it judged: `hubwright judge followbench`")
    return rows
