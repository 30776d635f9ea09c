"""Recipe step `agreement`: two judges' verdicts on the same answers, joined item by item, and how far they agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...hub_sync.context import StepContext
from .._lib.data import write_parquet
from .._lib.judging.agreement import compare, pair, spread
from .._lib.judging.verdicts import read_stored

COPIED = ("id", "item", "scenario", "task", "text", "weight", "answer_sha256")


class AgreementConfig(BaseModel):
    """How the agreement is broken down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: list[Literal["task", "scenario", "position"]] = Field(
        ["task", "scenario", "position"], description="Groups to show beside the whole."
    )
    bootstrap: int = Field(1000, ge=0, description="Resamples of the 95 % intervals, whole answers drawn; 0: none.")
    seed: int = Field(1234, ge=0, description="Seed of the bootstrap.")


def agreement(config: AgreementConfig, context: StepContext) -> None:
    """Write the joined items and `agreement.json` below `context.output`; the card shows the tables.

    Raises DataError where the two inputs share no judged item of any answer.
    """
    a, b = context.inputs["a"], context.inputs["b"]
    pairs = pair(read_stored(a.path).rows, read_stored(b.path).rows)
    report = compare(pairs, resamples=config.bootstrap, seed=config.seed)
    for by in config.by:
        report["by"][by] = compare(pairs, by=by, resamples=config.bootstrap, seed=config.seed)["by"]
    words = {True: "yes", False: "no", None: "unparsable"}
    rows = [{**{name: p.row.get(name) for name in COPIED}, "a": words[p.a], "b": words[p.b]} for p in pairs]
    write_parquet(rows, context.output / "data" / "agreement-00000-of-00001.parquet")
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    (context.output / "agreement.json").write_text(text + "\n", encoding="utf-8")
    _report(config, context, report)


def _report(config: AgreementConfig, context: StepContext, found: Mapping[str, Any]) -> None:
    report, whole = context.report, found["overall"]
    a, b = (context.inputs[role].ref for role in ("a", "b"))
    report.card.setdefault("pretty_name", f"Agreement of {a.repo_id} and {b.repo_id}")
    report.card.setdefault("tags", ["evaluation", "llm-as-a-judge", "agreement"])
    report.summary = (
        f"Verdicts `{a}` (A) and `{b}` (B) on {whole['items']} checklist items of {whole['answers']} answers, joined "
        "by sample, item and answer. Intervals: 95 %, by bootstrap over whole answers."
    )
    report.counts |= {"items": whole["items"], "answers": whole["answers"]}
    for name in ("agreement", "kappa", "a_yes", "b_yes", "a_unparsable", "b_unparsable"):
        report.metrics[f"agreement/{name}"] = whole[name]["value"]
    columns = ["", "items", "agreement", "Cohen's kappa", "A yes", "B yes", "A unparsable", "B unparsable"]
    groups = {"all items": {"all": whole}} | {f"by {by}": found["by"][by] for by in config.by}
    for title, table in groups.items():
        rows = [[name, figures["items"], *(_cell(figures, key) for key in _SHOWN)] for name, figures in table.items()]
        report.tables.append({"title": f"Agreement, {title}", "columns": columns, "rows": rows})
    scores = found["scores"]
    if scores["answers"]:
        row = [scores["answers"], *(spread(scores[key]) for key in ("a", "b", "difference"))]
        report.tables.append(
            {"title": "Mean score, 0 to 1", "columns": ["answers judged in full", "A", "B", "A - B"], "rows": [row]}
        )


_SHOWN = ("agreement", "kappa", "a_yes", "b_yes", "a_unparsable", "b_unparsable")


def _cell(figures: Mapping[str, Any], key: str) -> Any:
    return spread(figures[key]) if key in ("agreement", "kappa") else figures[key]["value"]
