"""SysBench's answers as cases: turns of dialogues, with what the scorer needs to know of each."""

from collections.abc import Mapping
from typing import Any

from ...hub_sync.errors import DataError
from .._lib.judging import criteria
from .._lib.judging.benchmark import Source
from .._lib.judging.cases import Case
from .workbook import KINDS, TURNS, labels_of


def row_case(row: Mapping[str, Any], where: str, answer: Any, state: Any = None) -> Case:
    """A row of the step `constraints` with an answer."""
    try:
        kinds = [one["kind"] for one in row["criteria"]]
        session, turn, aligned, related = (row[name] for name in ("session", "turn", "aligned", "related"))
        known = 1 <= turn <= TURNS and set(kinds) <= set(KINDS.values())
        texts = [str(one["text"]) for one in row["criteria"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: is no turn of SysBench ({type(error).__name__}: {error})") from error
    if not known:
        raise DataError(f"{where}: is no turn of SysBench: turn {turn}, kinds {', '.join(sorted(set(kinds)))}")
    labels = labels_of(session, turn, aligned, related, kinds, texts, str(answer or ""))
    return criteria.case_of(row, where, answer, state, labels | {"available": None})


def read_cases(answers: Source, dataset: Source | None = None) -> list[Case]:
    """Answers to built rows as `criteria.read_answered` reads them."""
    answered = criteria.read_answered(answers, "sys-", dataset)
    return [row_case(row, where, text, state) for where, row, text, state in answered]
