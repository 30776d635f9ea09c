"""Recipe step `agreement`: two judges' verdicts on the same answers, joined item by item, and how far they agree."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.settings import Settings
from .._lib.data import write_parquet
from .._lib.judging.agreement import compare, compare_groups, pair, spread
from .._lib.judging.cases import COLUMNS
from .._lib.judging.verdicts import read_stored
from .._lib.results import write_json

COPIED = ("id", "item", "scenario", "task", "text", "weight", "answer_sha256")


class AgreementConfig(Settings):
    """How the agreement is broken down."""

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
    report["by"] = {by: compare_groups(pairs, by, resamples=config.bootstrap, seed=config.seed) for by in config.by}
    words = {True: "yes", False: "no", None: "unparsable"}
    rows = [{**{name: p.row.get(name) for name in COPIED}, "a": words[p.a], "b": words[p.b]} for p in pairs]
    write_parquet(rows, context.output / "data", "agreement")
    write_json(report, context.output / "agreement.json")
    _report(config, context, report)


def _report(config: AgreementConfig, context: StepContext, results: Mapping[str, Any]) -> None:
    report, whole = context.report, results["overall"]
    a, b = (context.inputs[role].ref for role in ("a", "b"))
    report.card.setdefault("pretty_name", f"Agreement of {a.repo_id} and {b.repo_id}")
    report.card.setdefault("tags", ["evaluation", "llm-as-a-judge", "agreement"])
    report.summary = (
        f"Verdicts `{a}` (A) and `{b}` (B) on {whole['items']} checklist items of {whole['answers']} answers, joined "
        "by sample, item and answer. Intervals: 95 %, by bootstrap over whole answers."
    )
    report.columns |= {name: COLUMNS[name] for name in COPIED}
    report.columns |= {name: f"verdict of {name.upper()}: yes, no or unparsable" for name in ("a", "b")}
    report.counts |= {"items": whole["items"], "answers": whole["answers"]}
    shares = ("a_yes", "b_yes", "a_unparsable", "b_unparsable")
    report.metrics |= {f"agreement/{name}": whole[name]["value"] for name in ("agreement", "kappa", *shares)}
    columns = ["", "items", "agreement", "Cohen's kappa", "A yes", "B yes", "A unparsable", "B unparsable"]
    groups = {"all items": {"all": whole}} | {f"by {by}": results["by"][by] for by in config.by}
    for title, table in groups.items():
        rows = []
        for name, figures in table.items():
            spreads = [spread(figures[key]) for key in ("agreement", "kappa")]
            rows.append([name, figures["items"], *spreads, *(figures[key]["value"] for key in shares)])
        report.table(f"Agreement, {title}", columns, rows)
    scores = results["scores"]
    if scores["answers"]:
        row = [scores["answers"], *(spread(scores[key]) for key in ("a", "b", "difference"))]
        columns = ["answers judged in full", "A", "B", "A - B"]
        report.table("Mean score, 0 to 1", columns, [row])
