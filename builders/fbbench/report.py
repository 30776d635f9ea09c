"""The FB-Bench card: composition, lengths and the licence as it stands; its texts are in card.yaml."""

from collections import Counter
from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from ...hub_sync.context import Report
from .._lib.cards import describe
from .schema import DEFICIENCIES, EC, FEEDBACK, RM, SCENARIOS, SUB_TASKS

LICENCE_NOTE = (
    "The authors' repository holds no licence file and states no licence for the data. All rights stay with them; "
    "hubwright ships a converter, not the data. Ask the authors before you redistribute these rows."
)
Row = dict[str, Any]


def fill_report(report: Report, rows: Sequence[Row], *, origin: str, sample: bool) -> None:
    """Fill the report from the finished rows. `origin` says where the JSON came from, with its hash."""
    counts = Counter(row["bench_type"] for row in rows)
    items = sum(len(row["checklist"]) for row in rows)
    name = "sample_card" if sample else "card"
    sizes = {"rows": len(rows), "items": items, "corrections": counts[EC], "maintenances": counts[RM]}
    describe(report, __file__, name, **sizes)
    if not sample:
        report.section("Licence of the source", LICENCE_NOTE)
    report.section("Source", f"Built from {origin}; order and texts as in the source.")
    report.counts |= {
        "rows": len(rows),
        "error_correction": counts[EC],
        "response_maintenance": counts[RM],
        "checklist_items": items,
        "with_reference_response": sum(row["reference_response"] is not None for row in rows),
    }
    cells = Counter((row["task_type"], row["bench_type"]) for row in rows)
    table = [[task, cells[task, EC], cells[task, RM], cells[task, EC] + cells[task, RM]] for task in SUB_TASKS]
    totals = [["all", counts[EC], counts[RM], len(rows)]]
    report.table("Tasks and scenarios", ["task", EC, RM, "rows"], table + totals)
    cells = Counter((row["task_type"], row["sub_task_type"]) for row in rows)
    table = [[task, name, cells[task, name]] for task, names in SUB_TASKS.items() for name in names]
    report.table("Sub-tasks", ["task", "sub-task", "rows"], table)
    _add_labels(report, "Deficiencies of the first answer", rows, EC, "error_types", DEFICIENCIES)
    for scenario in SCENARIOS:
        _add_labels(report, f"Feedback in {scenario}", rows, scenario, "feedback_types", FEEDBACK[scenario])
    lengths = Counter((len(row["checklist"]), row["bench_type"]) for row in rows)
    table = [[size, lengths[size, EC], lengths[size, RM]] for size in sorted({size for size, _ in lengths})]
    report.table("Checklist items per row", ["items", EC, RM], table)
    weights = Counter(item["weight"] for row in rows for item in row["checklist"] if item["weight"] is not None)
    note = "The weights of a row sum to 1."
    report.table(
        "Checklist weights (Error Correction)", ["weight", "items"], list(map(list, sorted(weights.items()))), note
    )
    turns = [[len(turn["content"]) for turn in row["messages"]] for row in rows]
    texts = {
        name: [row[place] for row in turns] for place, name in enumerate(("user query", "first answer", "feedback"))
    }
    texts |= {"whole context": [sum(row) for row in turns]}
    texts |= {"checklist item": [len(item["text"]) for row in rows for item in row["checklist"]]}
    table = [[name, min(some), median(some), round(mean(some), 1), max(some)] for name, some in texts.items()]
    report.table("Lengths in characters", ["text", "min", "median", "mean", "max"], table)


def _add_labels(
    report: Report, title: str, rows: Sequence[Row], scenario: str, field: str, labels: Sequence[str]
) -> None:
    chosen = [row for row in rows if row["bench_type"] == scenario]
    counts = Counter(label for row in chosen for label in row[field])
    note = f"{len(chosen)} rows; a row may carry several labels."
    report.table(title, ["label", "rows"], [[label, counts[label]] for label in labels], note)
