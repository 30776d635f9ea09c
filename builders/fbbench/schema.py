"""The official FB-Bench JSON: its labels, its rules, and the typed row each record becomes.

Labels and counts were read from the published `fb_bench_dataset_v3.json` (arXiv:2410.09412, 591 rows). What a record
must satisfy is what every published row satisfies; a record that does not would be judged or scored wrongly later.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...hub_sync.text import is_well_formed, utf8

EC = "Error Correction"
RM = "Response Maintenance"
SCENARIOS = (EC, RM)
SUB_TASKS: dict[str, tuple[str, ...]] = {
    "Mathematics": (
        "Algebra",
        "Arithmetic",
        "Combinatorial Probability",
        "Equations and Inequalities",
        "Geometry",
    ),
    "Reasoning": ("Common Sense Reasoning", "IQ Questions"),
    "Coding": ("Code Debugging", "Code Generation", "Code Knowledge"),
    "Text Extraction": ("Information Extraction", "Summary", "Title Extraction"),
    "Text Error Correction": ("Grammar Checking", "Text Checking", "Typo Detection"),
    "Text Creation": ("Generation", "Rewriting"),
    "Knowledge Q&A": ("Concept Explanation", "Experience Advice", "Objective Facts", "Reasoning Analysis"),
    "Text Translation": ("Chinese to English", "English to Chinese"),
}
DEFICIENCIES = (
    "Factual Error",
    "Incomplete Answer",
    "Logical Error",
    "Not Following Instructions",
    "Unprofessional Answer",
)
FEEDBACK: dict[str, tuple[str, ...]] = {
    EC: (
        "Clarifying Intent",
        "Detailed Explanation",
        "Hinting Guidance",
        "Pointing Out Errors",
        "Raising Objections",
        "Simple Questioning",
    ),
    RM: ("Credibility Support", "Misinformation", "Simple Questioning", "Unreasonable Requests"),
}
REQUIRED = (
    "bench_type",
    "task_type",
    "sub_task_type",
    "user_query",
    "origin_first_response",
    "feedback",
    "error_type",
    "feedback_type",
    "checklist",
)
OPTIONAL = ("reference_second_response",)
WEIGHT_TOLERANCE = 1e-9  # every published row sums to 1.0 within one unit in the last place


@dataclass(frozen=True)
class Problem:
    """One broken rule: where, what stands there, and what to write instead. `row` counts from 0."""

    row: int
    field: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.field} = {self.value}: {self.remedy}"


def sample_id(user_query: str) -> str:
    """A stable id: "fb-" and the first 12 hex digits of the SHA-1 of the query (our choice; upstream has none)."""
    return "fb-" + hashlib.sha1(utf8(user_query), usedforsecurity=False).hexdigest()[:12]


def _show(value: Any, limit: int = 60) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def check_records(records: list[Any]) -> list[Problem]:
    """Every broken rule of every record, in the order of the rows."""
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for row, record in enumerate(records):
        problems += [Problem(row, field, _show(value), remedy) for field, value, remedy in _check(record)]
        query = record.get("user_query") if isinstance(record, dict) else None
        if isinstance(query, str):
            first = seen.setdefault(sample_id(query), row)
            if first != row:
                problems.append(Problem(row, "user_query", _show(query), f"repeats row {first}; it must be unique"))
    return problems


def _check(record: Any) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(record, dict):
        yield "record", record, "write a JSON object"
        return
    for field, value in record.items():
        if not is_well_formed(json.dumps([field, value], ensure_ascii=False)):
            yield field, value, "write whole characters; it holds half a surrogate pair"
    for field in REQUIRED:
        if field not in record:
            yield field, None, "add this field"
    for field in record:
        if field not in REQUIRED + OPTIONAL:
            yield field, record[field], "unknown field; remove it"
    for field in ("user_query", "origin_first_response", "feedback", *OPTIONAL):
        if field in record and (not isinstance(record[field], str) or not record[field].strip()):
            yield field, record[field], "write a text that is not empty"

    scenario, task = record.get("bench_type"), record.get("task_type")
    if "bench_type" in record and scenario not in SCENARIOS:
        yield "bench_type", scenario, f"use one of {', '.join(SCENARIOS)}"
        scenario = None
    if "task_type" in record and task not in tuple(SUB_TASKS):
        yield "task_type", task, f"use one of {', '.join(SUB_TASKS)}"
    elif "sub_task_type" in record and isinstance(task, str) and record["sub_task_type"] not in SUB_TASKS[task]:
        yield "sub_task_type", record["sub_task_type"], f"{task} has {', '.join(SUB_TASKS[task])}"
    if not isinstance(scenario, str):
        return  # the remaining rules depend on it

    if "feedback_type" in record:
        yield from _check_labels("feedback_type", record["feedback_type"], FEEDBACK[scenario], scenario)
    if "error_type" in record:
        if scenario == EC:
            yield from _check_labels("error_type", record["error_type"], DEFICIENCIES, scenario)
        elif record["error_type"] is not None:
            yield "error_type", record["error_type"], f"write null for {RM}"
    if "checklist" in record:
        yield from _check_checklist(record["checklist"], weighted=scenario == EC)


def _check_labels(field: str, labels: Any, allowed: tuple[str, ...], scenario: str) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(labels, list) or not labels:
        yield field, labels, f"list at least one label of {scenario}"
        return
    for label in labels:
        if label not in allowed:
            yield field, label, f"{scenario} has {', '.join(allowed)}"
    if len({str(label) for label in labels}) != len(labels):
        yield field, labels, "name each label once"


def _check_checklist(items: Any, *, weighted: bool) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(items, list) or not items:
        yield "checklist", items, "list at least one item"
        return
    texts: list[str] = []
    total = 0.0
    for number, item in enumerate(items):
        field = f"checklist[{number}]"
        if weighted:
            if not isinstance(item, list) or len(item) != 2:
                yield field, item, f"write [text, weight] for {EC}"
                continue
            text, weight = item
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
                yield field, weight, "write a weight above 0 and at most 1"
            else:
                total += weight
        else:
            text = item
            if isinstance(item, list):
                yield field, item, f"write a text without a weight for {RM}"
                continue
        if not isinstance(text, str) or not text.strip():
            yield field, text, "write a text that is not empty"
        else:
            texts.append(text)
    if len(set(texts)) != len(texts):
        yield "checklist", texts, "write each item once"
    if weighted and len(texts) == len(items) and not math.isclose(total, 1.0, abs_tol=WEIGHT_TOLERANCE, rel_tol=0):
        yield "checklist", round(total, 6), "make the weights sum to 1"


def to_row(record: dict[str, Any]) -> dict[str, Any]:
    """The typed row of a checked record; nothing of the record is lost and no text is stored twice."""
    weighted = record["bench_type"] == EC
    return {
        "id": sample_id(record["user_query"]),
        "bench_type": record["bench_type"],
        "task_type": record["task_type"],
        "sub_task_type": record["sub_task_type"],
        "messages": [
            {"role": "user", "content": record["user_query"]},
            {"role": "assistant", "content": record["origin_first_response"]},
            {"role": "user", "content": record["feedback"]},
        ],
        "error_types": list(record["error_type"] or []),
        "feedback_types": list(record["feedback_type"]),
        "checklist": [
            {
                "index": index,
                "text": item[0] if weighted else item,
                "weight": float(item[1]) if weighted else None,
            }
            for index, item in enumerate(record["checklist"])
        ],
        "any_of": not weighted,
        "reference_response": record.get("reference_second_response"),
    }


def features() -> Any:
    """`datasets.Features` of a row. Labels are strings: `load_dataset` users filter and group by name."""
    from datasets import Features, List, Value

    text = Value("string")
    return Features(
        {
            "id": text,
            "bench_type": text,
            "task_type": text,
            "sub_task_type": text,
            "messages": List({"role": text, "content": text}),
            "error_types": List(text),
            "feedback_types": List(text),
            "checklist": List({"index": Value("int32"), "text": text, "weight": Value("float64")}),
            "any_of": Value("bool"),
            "reference_response": text,
        }
    )
