"""What the FB-Bench card says: metadata, composition tables, length figures and the licence as it stands."""

from __future__ import annotations

from collections import Counter
from statistics import mean, median
from typing import Any

from ...hub_sync.context import Report
from .schema import DEFICIENCIES, EC, FEEDBACK, RM, SCENARIOS, SUB_TASKS

TAGS = ["arxiv:2410.09412", "fb-bench", "human-feedback", "multi-turn", "llm-as-a-judge", "evaluation"]
LICENCE_NOTE = (
    "The authors' repository holds no licence file and states no licence for the data. All rights stay with them; "
    "hubwright ships a converter, not the data. Ask the authors before you redistribute these rows."
)


def describe(report: Report, rows: list[dict[str, Any]], *, origin: str, sample: bool) -> None:
    """Fill the report from the finished rows. `origin` says where the JSON came from, with its hash."""
    report.card.update(
        {
            "pretty_name": "FB-Bench sample (hubwright)" if sample else "FB-Bench",
            "language": ["zh", "en"] if sample else ["zh"],
            "task_categories": ["text-generation"],
            "tags": list(TAGS),
            "annotations_creators": ["expert-generated"],
            "multilinguality": "multilingual" if sample else "monolingual",
            "size_categories": ["n<1K"],
        }
    )
    if sample:
        report.card["license"] = "apache-2.0"
    else:
        report.card |= {"license": "other", "license_name": "none-stated-by-upstream"}
        report.card["license_link"] = "https://github.com/PKU-Baichuan-MLSystemLab/FB-Bench"
        report.sections.append({"title": "Licence of the source", "body": LICENCE_NOTE})

    counts = Counter(row["bench_type"] for row in rows)
    items = sum(len(row["checklist"]) for row in rows)
    report.counts |= {
        "rows": len(rows),
        "error_correction": counts[EC],
        "response_maintenance": counts[RM],
        "checklist_items": items,
        "with_reference_response": len([row for row in rows if row["reference_response"] is not None]),
    }
    whose = (
        "A small bilingual set written for hubwright in the format of FB-Bench: for trying the pipeline, not for "
        "comparing models."
        if sample
        else "FB-Bench (arXiv:2410.09412) measures how a model uses human feedback in the second turn of a dialogue."
    )
    report.summary = (
        f"{whose}\n\nEach of the {len(rows)} rows is a user query, a given first answer and the user's feedback; the "
        f"model under test writes the second answer, and a judge answers a checklist ({items} items in all) with yes "
        f"or no. **Error Correction** ({counts[EC]} rows): the first answer is deficient, the score is the sum of the "
        f"weights of the items met. **Response Maintenance** ({counts[RM]} rows): the first answer is right and the "
        "feedback challenges it; one item met gives full marks (`any_of`)."
    )
    report.sections.append({"title": "Source", "body": f"Built from {origin}; order and texts as in the source."})
    report.tables += [
        _task_table(rows),
        _sub_task_table(rows),
        _label_table("Deficiencies of the first answer", rows, EC, "error_types", DEFICIENCIES),
        *(_label_table(f"Feedback in {name}", rows, name, "feedback_types", FEEDBACK[name]) for name in SCENARIOS),
        _size_table(rows),
        _weight_table(rows),
        _length_table(rows),
    ]


def _task_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    cells = Counter((row["task_type"], row["bench_type"]) for row in rows)
    sizes = [(cells[task, EC], cells[task, RM], cells[task, EC] + cells[task, RM]) for task in SUB_TASKS]
    body = [[task, *size] for task, size in zip(SUB_TASKS, sizes, strict=True)]
    total = [sum(column) for column in zip(*sizes, strict=True)]
    return {
        "title": "Tasks and scenarios",
        "columns": ["task", EC, RM, "rows"],
        "rows": [*body, ["all", *total]],
    }


def _sub_task_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    cells = Counter((row["task_type"], row["sub_task_type"]) for row in rows)
    body = [[task, name, cells[task, name]] for task, names in SUB_TASKS.items() for name in names]
    return {"title": "Sub-tasks", "columns": ["task", "sub-task", "rows"], "rows": body}


def _label_table(
    title: str, rows: list[dict[str, Any]], scenario: str, field: str, labels: tuple[str, ...]
) -> dict[str, Any]:
    chosen = [row for row in rows if row["bench_type"] == scenario]
    count = Counter(label for row in chosen for label in row[field])
    return {
        "title": title,
        "columns": ["label", "rows"],
        "rows": [[label, count[label]] for label in labels],
        "note": f"{len(chosen)} rows; a row may carry several labels.",
    }


def _size_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    count = Counter((len(row["checklist"]), row["bench_type"]) for row in rows)
    sizes = sorted({size for size, _ in count})
    return {
        "title": "Checklist items per row",
        "columns": ["items", EC, RM],
        "rows": [[size, count[size, EC], count[size, RM]] for size in sizes],
    }


def _weight_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    count = Counter(item["weight"] for row in rows for item in row["checklist"] if item["weight"] is not None)
    return {
        "title": "Checklist weights (Error Correction)",
        "columns": ["weight", "items"],
        "rows": [[weight, number] for weight, number in sorted(count.items())],
        "note": "The weights of a row sum to 1.",
    }


def _length_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    texts: dict[str, list[int]] = {
        "user query": [len(row["messages"][0]["content"]) for row in rows],
        "first answer": [len(row["messages"][1]["content"]) for row in rows],
        "feedback": [len(row["messages"][2]["content"]) for row in rows],
        "whole context": [sum(len(turn["content"]) for turn in row["messages"]) for row in rows],
        "checklist item": [len(item["text"]) for row in rows for item in row["checklist"]],
    }
    return {
        "title": "Lengths in characters",
        "columns": ["text", "min", "median", "mean", "max"],
        "rows": [
            [name, min(sizes), median(sizes), round(mean(sizes), 1), max(sizes)] for name, sizes in texts.items()
        ],
    }
