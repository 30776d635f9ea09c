"""The lm-eval task of a data set whose rows are a request, functions, and the calls that serve the request."""

import json
from collections.abc import Sequence
from typing import Any

import datasets

from ....hub_sync.errors import DataError
from ..chat import RuleScoredTask
from ..tool_turns import system_turn
from . import micro
from .scorer import score


class CallListTask(RuleScoredTask):
    """Rows with id, query, calls and tools (JSON text) and scorable.

    A subclass sets `DATA`, `SUBSET` and `RULE`, which stands before the functions and tells how a call takes a result
    of another.
    """

    METRICS: tuple[str, ...] = ("format_acc", "call_exact")
    INTERVALS: tuple[str, ...] = METRICS
    TALLIES = ("tool", "param")
    RULE = ""
    SCORE = staticmethod(score)  # (gold calls, reply) -> values to average, tallies to add up
    TARGET = "{calls}"
    COLUMNS = ("id", "query", "calls", "tools", "scorable")

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        scorable = rows.filter(lambda value: value, input_columns="scorable", keep_in_memory=True)
        if not len(scorable):
            split = self.config.test_split
            raise DataError(f"{self.config.task}: no row of {split!r} can be scored; look at its column `faults`")
        return scorable

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The rule and the functions in the system turn, and the request."""
        system = system_turn(json.loads(doc["tools"]), self.RULE)
        return [{"role": "system", "content": system}, {"role": "user", "content": doc["query"]}]

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        values, tallies = type(self).SCORE(json.loads(doc["calls"]), results[0])
        result: dict[str, Any] = dict(values)
        for name in self.TALLIES:
            result |= dict.fromkeys(micro.aggregations(name, 0), tallies[name])
        return result

    def aggregation(self) -> dict[str, Any]:
        """Means, and what comes of the tallies of all documents; `metadata.bootstrap` resamples (1,000)."""
        resamples = int((self.config.metadata or {}).get("bootstrap", 1000))
        table = super().aggregation()
        for name in self.TALLIES:
            table |= micro.aggregations(name, resamples)
        return table
