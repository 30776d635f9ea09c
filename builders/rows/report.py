"""What the step tells about its result: the summary, the columns, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from .._lib.cards import add_sources, describe
from .._lib.rejections import Rejections
from .convert import Converter

if TYPE_CHECKING:
    from .build import RowsConfig

TASKS = {"images": "image-to-text"}
MEANINGS = {
    "id": "16 hex digits of the SHA-256 of what the format makes",
    "messages": "turns with role and content, as chat templates take them",
    "tools": "functions that the row offers, as JSON Schemas",
    "prompt": "what the model is shown",
    "completion": "what it is to reply",
    "chosen": "the better reply",
    "rejected": "the worse reply",
    "text": "the text",
    "image": "the image file, byte for byte",
    "source": "file or data set of the row",
    "license": "licence of the row (Hub identifier)",
}


def describe_rows(
    config: RowsConfig,
    context: StepContext,
    splits: Mapping[str, Any],
    mapping: Mapping[str, Mapping[str, str]],
    origins: Sequence[str],
    converter: Converter,
    rejections: Rejections,
) -> None:
    """Fill in the report.

    Args:
        mapping: table -> what a column is read as -> column.
    """
    report = context.report
    how = "by a hash of the prompt, so that no prompt is in two splits" if config.splits else "the source's own"
    if config.split_column:
        how = f"named by the column `{config.split_column}`"
    once = {"exact": "are there once", "near": "or nearly the same are there once", None: "may be there several times"}
    describe(report, __file__, form=config.format, splits=how, once=once[config.deduplicate])
    report.card["task_categories"] = [TASKS.get(config.format, "text-generation")]
    report.card |= {"language": list(config.language)} if config.language else {}
    report.card |= {"license": config.license} if config.license else {}
    first = next(iter(splits.values()))
    read_from: dict[str, list[str]] = {}
    for columns in mapping.values():
        for target, column in columns.items():
            name = target if target in first.column_names else first.column_names[1]
            if (shown := f"`{column}`") not in read_from.setdefault(name, []):
                read_from[name].append(shown)
    for name in first.column_names:
        what = "as in the source" if name in converter.extra else MEANINGS[name]
        report.columns[name] = f"{what}; read from {', '.join(read_from[name])}" if name in read_from else what
    add_sources(report, origins)
    rejections.describe(report)
    report.counts |= {f"{name}_rows": len(part) for name, part in splits.items()}
    if converter.changes:
        table = [[what, count] for what, count in converter.changes.most_common()]
        report.table("What was changed to read the rows", ["change", "records"], table)
