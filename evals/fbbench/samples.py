"""What judging and scoring need to know of a row, whichever file it comes from: data set, answers or verdicts."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .._lib.judging import cases
from .._lib.judging.cases import AnswerState, Case

EC = "Error Correction"
RM = "Response Maintenance"

# How the tested model is sampled: the authors' temperatures by task type, greedy elsewhere; their limit in tokens.
TEMPERATURES = {"Knowledge Q&A": 0.1, "Text Creation": 0.7, "Text Translation": 0.7}
MAX_TOKENS = 4096

# What answer files store where the tested model gave no answer. The first two are upstream's own markers; a leading
# "$" alone says nothing, genuine LaTeX answers begin with it.
FAILED_ANSWERS = frozenset({"$ERROR$", "$REPETITIVE PATTERNS$"})

# The exhaustive three-item checklists of Response Maintenance / Mathematics: the right result in any case, or agrees
# with the user and is wrong, or disagrees and is wrong. One of them is always met, so full marks are certain.
_IF_AGREES = re.compile(r"^(?:如果(?:回答)?(?:认同|同意)|if (?:the )?(?:answer|response|reply) agrees)", re.I)
_IF_DISAGREES = re.compile(
    r"^(?:如果(?:回答)?不(?:认同|同意)|if (?:the )?(?:answer|response|reply) (?:disagrees|does not agree))", re.I
)


@dataclass(frozen=True)
class Sample:
    """One row of the benchmark.

    Attributes:
        weights: one per item, summing to 1 (Error Correction), or all None (Response Maintenance, any one counts).
        messages: the three turns given to the tested model; empty where a file does not hold them.
    """

    id: str
    scenario: str
    task: str
    deficiencies: tuple[str, ...]
    feedback: tuple[str, ...]
    items: tuple[str, ...]
    weights: tuple[float | None, ...]
    messages: tuple[dict[str, str], ...] = ()

    @property
    def exhaustive(self) -> bool:
        """True if the checklist covers every possible answer, so that only its first item says anything.

        Our detection: Response Maintenance, three items, the second conditioned on agreement, the third on
        disagreement, the first on neither. It matches the 31 Mathematics rows of the published data and no other.
        """
        if self.scenario != RM or len(self.items) != 3:
            return False
        first, second, third = (item.strip() for item in self.items)
        free = not _IF_AGREES.match(first) and not _IF_DISAGREES.match(first)
        return bool(free and _IF_AGREES.match(second) and _IF_DISAGREES.match(third))

    def case(self, answer: str | None, state: AnswerState | None = None) -> Case:
        """An answer to this row; scenario, task and labels become columns of the verdict rows.

        Args:
            answer: None if there is no text at all.
            state: of the answer; None: `answer_state` of the text.
        """
        labels: dict[str, Any] = {"scenario": self.scenario, "task": self.task}
        labels |= {"deficiencies": list(self.deficiencies), "feedback": list(self.feedback)}
        return Case(self.id, self.messages, answer, self.items, self.weights, labels, state or answer_state(answer))


def sample_id(user_query: str) -> str:
    """The id that the builder gives to a query: "fb-" and 12 hex digits of its SHA-1."""
    return "fb-" + hashlib.sha1(utf8(user_query), usedforsecurity=False).hexdigest()[:12]


def from_row(row: Mapping[str, Any]) -> Sample:
    checklist = sorted(row["checklist"], key=lambda item: item["index"])
    return Sample(
        id=row["id"],
        scenario=row["bench_type"],
        task=row["task_type"],
        deficiencies=tuple(row["error_types"]),
        feedback=tuple(row["feedback_types"]),
        items=tuple(item["text"] for item in checklist),
        weights=tuple(item["weight"] for item in checklist),
        messages=tuple({"role": turn["role"], "content": turn["content"]} for turn in row["messages"]),
    )


def official_to_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record in the official schema (data set, answer or judgement file) as a row of the built data set.

    The builder checks every rule; this only converts, and raises KeyError, TypeError or IndexError for what it cannot.
    """
    weighted = record["bench_type"] == EC
    checklist = [(item[0], float(item[1])) if weighted else (item, None) for item in record["checklist"]]
    turns = zip(("user", "assistant", "user"), ("user_query", "origin_first_response", "feedback"), strict=True)
    return {
        "id": sample_id(record["user_query"]),
        "bench_type": record["bench_type"],
        "task_type": record["task_type"],
        "sub_task_type": record["sub_task_type"],
        "messages": [{"role": role, "content": record[field]} for role, field in turns],
        "error_types": list(record["error_type"] or []),
        "feedback_types": list(record["feedback_type"]),
        "checklist": [
            {"index": index, "text": text, "weight": weight} for index, (text, weight) in enumerate(checklist)
        ],
        "any_of": not weighted,
        "reference_response": record.get("reference_second_response"),
    }


def from_official(record: Mapping[str, Any], where: str) -> Sample:
    """A record in the official schema. Raises DataError, naming `where`, for a record that lacks a field."""
    try:
        return from_row(official_to_row(record))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DataError(f"{where}: is not a record of FB-Bench ({type(error).__name__}: {error})") from error


def answer_state(answer: Any) -> AnswerState:
    """ "failed" also for a marker of a failed call; else as for every benchmark."""
    if isinstance(answer, str) and answer.strip() in FAILED_ANSWERS:
        return "failed"
    return cases.answer_state(answer)


def index_samples(samples: Iterable[Sample], where: str) -> dict[str, Sample]:
    """Samples by id. Raises DataError where an id occurs twice."""
    result: dict[str, Sample] = {}
    for sample in samples:
        if sample.id in result:
            raise DataError(f"{where}: sample {sample.id} occurs twice; keep one")
        result[sample.id] = sample
    return result
