"""Builder `mix`: several data sets of conversations as one, in proportions that are told.

Its inputs are called `part_NAME`. Every row keeps the name of its part in `part`, so that a mixture can be taken
apart, weighted and counted later.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.pace import Pace
from ...hub_sync.settings import Settings
from ...inference.conversations import read_messages, read_tools, with_system
from ...inference.padding import padded, pads_arguments
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.row_writer import RowWriter
from .._lib.sources import read_rows

if TYPE_CHECKING:
    from datasets import DatasetDict

PART = "part_"
BATCH = 1000  # rows that are read at once


class MixConfig(Settings):
    """How much of which part. Defaults are our choice."""

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
    context = context or local_context()
    parts = {role.removeprefix(PART): source for role, source in sorted(context.inputs.items())}
    if len(parts) < 2:
        raise UsageError(f"step {context.step}: a mixture needs two inputs or more: part_a, part_b, ...")
    for field in ("rows", "configs"):
        if unknown := sorted(set(getattr(config, field)) - set(parts)):
            raise UsageError(f"step {context.step}: {field}: no part is called {unknown[0]!r}: {', '.join(parts)}")
    drawn = [_Part(name, source, config, context) for name, source in parts.items()]
    # The order of `Dataset.shuffle`: numbers of all rows, part after part.
    order = np.random.default_rng(config.seed).permutation(sum(len(part.chosen) for part in drawn))
    writer = RowWriter(context.workdir / "rows", _features())
    pace = Pace("mix", "rows", total=len(order))
    for start in range(0, len(order), BATCH):
        for row in pace.over(_rows(drawn, order[start : start + BATCH])):
            writer.write("train", row)
    splits = writer.finish()
    shutil.rmtree(context.workdir / "datasets", ignore_errors=True)  # the parts as Arrow, read by now
    _report(context, parts, drawn)
    return splits


class _Part:
    """Rows of a part, and which of them are drawn; `letters` counts those of the turns that were written."""

    def __init__(self, name: str, source: Input, config: MixConfig, context: StepContext) -> None:
        rows = read_rows(source, context, config.split, config.configs.get(name))
        if "messages" not in rows.column_names:
            raise DataError(
                f"part {name}: {source.ref} has no column `messages`: build it with a step of conversations"
            )
        count = config.rows.get(name, len(rows))
        if count > len(rows):
            raise DataError(f"part {name}: {source.ref} has {len(rows):,} rows, {count:,} are asked for: lower `rows`")
        numbers = random.Random(f"{config.seed}:{name}").sample(range(len(rows)), count)  # noqa: S311
        self.chosen = np.sort(np.array(numbers, dtype=np.int64))
        self.name, self.where, self.letters = name, f"part {name}: {source.ref}", 0
        self._pads = (
            pads_arguments(rows.features["messages"]),
            "tools" in rows.features and padded(rows.features["tools"]),
        )
        self._rows = rows.select_columns([c for c in ("messages", "tools", "system") if c in rows.column_names])

    def read(self, places: np.ndarray) -> Iterator[dict[str, Any]]:
        """The mixture's rows of some of the drawn ones. Raises DataError."""
        numbers = self.chosen[places].tolist()
        columns = self._rows[numbers] if numbers else {}
        for place, number in enumerate(numbers):
            row = {name: values[place] for name, values in columns.items()}
            row = _row(row, self.name, f"{self.where}: row {number}", self._pads)
            self.letters += sum(len(turn["content"]) for turn in row["messages"])
            yield row


def _rows(drawn: list[_Part], order: np.ndarray) -> Iterator[dict[str, Any]]:
    """Rows by their numbers, in that order; each part is read once."""
    ends = np.cumsum([len(part.chosen) for part in drawn])
    owners = np.searchsorted(ends, order, side="right")
    first = ends - [len(part.chosen) for part in drawn]
    readers = [part.read(order[owners == n] - first[n]) for n, part in enumerate(drawn)]
    for owner in owners:
        yield next(readers[owner])


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


def _report(context: StepContext, parts: dict[str, Input], drawn: list[_Part]) -> None:
    report = context.report
    total = sum(len(part.chosen) for part in drawn)
    describe(report, __file__)
    table = []
    for part in drawn:
        count = len(part.chosen)
        report.counts[f"{part.name}_rows"] = count
        table.append([part.name, f"`{parts[part.name].ref}`", count, f"{count / total:.1%}", part.letters])
    columns = ["part", "data set", "rows", "of all", "characters of the turns"]
    report.table("Parts", columns, table)
