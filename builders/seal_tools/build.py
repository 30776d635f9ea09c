"""Build the Seal-Tools data set from the benchmark's own files (Apache-2.0; github.com/fairyshine/Seal-Tools).

    build(SealToolsConfig(source="Seal-Tools/Seal-Tools_Dataset"), context)

Out: `tools`, the functions, and `instances`, requests with the calls that serve them, some of which take a result of
an earlier call ("API_call_3"). The benchmark gives a model whatever its retriever found; here every row offers its own
functions among others that sound like the request, so that a score is the model's and no retriever's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...environments.definition import fault
from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from .._lib.call_rows import DESCRIPTIONS, Candidates, call_columns, fault_counts, features, offered_tools, to_json
from .._lib.cards import add_sources, describe
from .._lib.context import local_context
from .._lib.retrieval import TfidfRetriever
from .._lib.sources import FolderSource, json_lines
from .convert import definition, faults, references

if TYPE_CHECKING:
    import datasets

TOOLS = "tool.jsonl"
COLUMNS = (
    "id", "query", "calls", "gold_tools", "tools", "n_calls", "nested", "level", "faults", "scorable",
)  # fmt: skip
SPLITS = ("dev", "test_in_domain", "test_out_domain")


class SealToolsConfig(FolderSource):
    """Where tool.jsonl, dev.jsonl, test_in_domain.jsonl and test_out_domain.jsonl are, and how many functions a row
    offers."""

    candidates: Candidates = 5


def build(config: SealToolsConfig, context: StepContext | None = None) -> dict[str, datasets.DatasetDict]:
    """Read, check and lay out the rows; tell `context.report` about them.

    tools rows (split `train`, the only one): name, description, field, parameters and responses (JSON Schema as JSON
    text), required.
    instances rows: id, query, calls (JSON: `[{"name", "arguments"}]`), gold_tools and tools (JSON: OpenAI's form, with
    `responses`), n_calls, nested (an argument names a result), level, faults ("kind: where"), scorable (all functions
    that are called are defined).

    Raises DataError in one line for a file that is not Seal-Tools', and as `fetch` does.
    """
    import datasets

    context = context or local_context()
    origins: list[str] = []
    records = {name: _records(config, name, origins) for name in (TOOLS, *(f"{split}.jsonl" for split in SPLITS))}
    try:
        tools = {record["api_name"]: definition(record) for record in records[TOOLS]}
        unusable = {name: reason for name, tool in tools.items() if (reason := fault(tool))}
        texts = {r["api_name"]: f"{r['api_name']} {r['api_description']} {r['field']}" for r in records[TOOLS]}
        retriever = TfidfRetriever({name: text for name, text in texts.items() if name not in unusable})
        rows = {}
        for split in SPLITS:
            read = records[f"{split}.jsonl"]
            ranked = retriever.rank([record["query"] for record in read], config.candidates)
            rows[split] = [
                _row(record, tools, names, config.candidates) for record, names in zip(read, ranked, strict=True)
            ]
        listed = [tools[r["api_name"]] | {"field": r["field"], "required": r["required"]} for r in records[TOOLS]]
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(f"the files are not those of Seal-Tools ({error!r}); give Seal-Tools_Dataset") from error
    _describe(config, context, origins, rows)
    context.report.counts |= {"tools": len(tools), "functions without a usable definition": len(unusable)}
    text = {"parameters": to_json, "responses": to_json}
    listed = [{key: text.get(key, lambda v: v)(value) for key, value in tool.items()} for tool in listed]
    return {
        "instances": datasets.DatasetDict(
            {split: datasets.Dataset.from_list(part, features=features(COLUMNS)) for split, part in rows.items()}
        ),
        "tools": datasets.DatasetDict({"train": datasets.Dataset.from_list(listed)}),
    }


def _records(config: SealToolsConfig, file: str, origins: list[str]) -> list[dict[str, Any]]:
    """The lines of one file; what it is goes into `origins`."""
    return [record for _, record in json_lines(*config.read(file, origins))]


def _row(
    record: dict[str, Any], tools: dict[str, dict[str, Any]], ranked: Sequence[str], candidates: int
) -> dict[str, Any]:
    calls = [{"name": call["api"], "arguments": call["parameters"]} for call in record["calling"]]
    return {
        "id": record["id"],
        "query": record["query"],
        "calls": to_json(calls),
        **offered_tools(record["id"], calls, tools, ranked, candidates),
        "n_calls": len(calls),
        "nested": any(references(call["arguments"]) for call in calls),
        "level": record["id"].split("-")[-2],
        **call_columns(calls, faults(record["calling"], tools)),
    }


def _ambiguous(row: dict[str, Any]) -> bool:
    """Is another function offered whose arguments have the names of those of a function that is needed?"""
    gold, offered = (
        {
            tool["function"]["name"]: set(tool["function"]["parameters"]["properties"])
            for tool in json.loads(row[column])
        }
        for column in ("gold_tools", "tools")
    )
    return any(arguments in gold.values() for name, arguments in offered.items() if name not in gold)


def _describe(
    config: SealToolsConfig, context: StepContext, origins: list[str], rows: dict[str, list[dict[str, Any]]]
) -> None:
    report = context.report
    describe(report, __file__, candidates=config.candidates)
    report.columns |= DESCRIPTIONS
    add_sources(report, origins, "Files")
    for split, part in rows.items():
        report.counts |= {split: len(part), f"{split}: nested": sum(row["nested"] for row in part)}
        report.counts |= {f"{split}: {kind}": number for kind, number in fault_counts(part).items()}
        report.counts |= {
            f"{split}: not scorable": sum(not row["scorable"] for row in part),
            f"{split}: offered another function with the same arguments": sum(map(_ambiguous, part)),
        }
