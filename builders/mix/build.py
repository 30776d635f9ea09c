"""Builder `mix`: several data sets of conversations as one, in proportions that are told.

Its inputs are called `part_NAME`. Every row keeps the name of its part in `part`, so that a mixture can be taken
apart, weighted and counted later.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.json_columns import encode_row
from ...inference.conversations import read_messages, read_tools, with_system
from ...inference.padding import padded, pads_arguments
from .._lib.cards import add_table, describe
from .._lib.context import local_context
from .._lib.sources import read_rows

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

PART = "part_"


class MixConfig(BaseModel):
    """How much of which part. Defaults are our choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="Rows by part's name, drawn without replacement; a part that is not named gives all.",
    )
    configs: dict[str, str] = Field(
        default_factory=dict, description="Config by part's name, for parts with several; else the default."
    )
    split: str = Field("train", description="Split that is read of every part.")
    seed: int = Field(0, ge=0, description="Of the choice and of the order of the rows.")


def build(config: MixConfig, context: StepContext | None = None) -> DatasetDict:
    """Draw and shuffle. Returns split `train`: messages and tools (JSON; no functions: an empty list), part.

    Raises UsageError for a part nobody gave, DataError for one that cannot be read, without `messages`, with other
    things in `messages` and `tools` than lists, or with too few rows.
    """
    from datasets import DatasetDict, concatenate_datasets

    context = context or local_context()
    parts = {role.removeprefix(PART): source for role, source in sorted(context.inputs.items())}
    if len(parts) < 2:
        raise UsageError(f"step {context.step}: a mixture needs two inputs or more: part_a, part_b, ...")
    for field in ("rows", "configs"):
        if unknown := sorted(set(getattr(config, field)) - set(parts)):
            raise UsageError(f"step {context.step}: {field}: no part is called {unknown[0]!r}: {', '.join(parts)}")
    drawn = {name: _draw(name, source, config, context) for name, source in parts.items()}
    rows = concatenate_datasets(list(drawn.values())).shuffle(seed=config.seed).flatten_indices()
    _report(context, parts, drawn)
    return DatasetDict({"train": rows})


def _draw(name: str, source: Input, config: MixConfig, context: StepContext) -> Dataset:
    rows = read_rows(source, context, config.split, config.configs.get(name))
    if "messages" not in rows.column_names:
        raise DataError(f"part {name}: {source.ref} has no column `messages`: build it with a step of conversations")
    count = config.rows.get(name, len(rows))
    if count > len(rows):
        raise DataError(f"part {name}: {source.ref} has {len(rows):,} rows, {count:,} are asked for: lower `rows`")
    chosen = sorted(random.Random(f"{config.seed}:{name}").sample(range(len(rows)), count))  # noqa: S311
    where, columns = f"part {name}: {source.ref}", _features()
    pads = pads_arguments(rows.features["messages"]), "tools" in rows.features and padded(rows.features["tools"])
    drawn: Dataset = rows.select(chosen).map(
        lambda row, place: encode_row(_row(row, name, f"{where}: row {chosen[place]}", pads), columns, chosen[place]),
        with_indices=True,
        remove_columns=rows.column_names,
        features=columns,
    )
    return drawn


def _row(row: Mapping[str, Any], part: str, where: str, pads: tuple[bool, bool]) -> dict[str, Any]:
    """A row of the mixture, in whatever form its turns are. Raises DataError.

    Args:
        pads: whether arguments of calls, and tools, lie in Arrow structs.
    """
    try:
        tools = read_tools(row.get("tools"), pads[1])
        messages = with_system(read_messages(row["messages"], tools, is_padded=pads[0]), row.get("system") or None)
    except RowRejected as error:
        raise DataError(f"{where}: {error}: build it with a step of conversations, or repair the row") from error
    return {"messages": messages, "tools": tools, "part": part}


def _features() -> Any:
    from datasets import Features, Json, List, Value

    return Features({"messages": List(Json()), "tools": List(Json()), "part": Value("string")})


def _report(context: StepContext, parts: dict[str, Input], drawn: dict[str, Dataset]) -> None:
    report = context.report
    total = sum(len(rows) for rows in drawn.values())
    describe(report, __file__)
    table = []
    for name, rows in drawn.items():
        letters = sum(len(turn["content"]) for turns in rows["messages"] for turn in turns)
        report.counts[f"{name}_rows"] = len(rows)
        table.append([name, f"`{parts[name].ref}`", len(rows), f"{len(rows) / total:.1%}", letters])
    columns = ["part", "data set", "rows", "of all", "characters of the turns"]
    add_table(report, "Parts", columns, table)
