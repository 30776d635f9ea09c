r"""The held-out turns of `call_graphs` as lm-eval tasks: the calls of a turn are compared, and made for real.

`call_graphs` has sets of functions that no train row has (split `test`), `call_graphs_functions` functions that no
train row has (split `test_functions`). Beside the metrics of `toolcall`, the worlds are brought to the turn and the
model's calls are made: `call_runs`, all give a result; `call_result`, the results are those of the right calls.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets

from ...environments.sandbox import Sandbox
from ...environments.world_sandbox import open_worlds
from .._lib.data import TaskData
from .._lib.tool_calls import METRICS, parse
from .._lib.turn_task import TurnTask, turns_to_answer
from .scorer import calls_made, replay


def turns_with_state(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`turns_to_answer`, each with the seed of the worlds' state and, as JSON, the calls made before."""
    documents: list[dict[str, Any]] = []
    for row in rows:
        seed = json.loads(row["plan"])["seed"]
        for document in turns_to_answer([row]):
            before = calls_made(json.loads(document["messages"]))
            documents.append(document | {"seed": seed, "before": json.dumps(before)})
    return documents


class CallGraphsTask(TurnTask):
    """A conversation with tools that run."""

    DATA = TaskData("call_graphs")
    COLUMNS = ("id", "messages", "tools", "plan")
    METRICS = (*METRICS, "call_runs", "call_result")
    INTERVALS = (*TurnTask.INTERVALS, "call_runs", "call_result")
    _box: Sandbox | None = None

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        return datasets.Dataset.from_list(turns_with_state(rows))

    @property
    def box(self) -> Sandbox:
        if self._box is None or not self._box.call("begin", {"seed": 0}).ok:
            self._box = open_worlds()
        return self._box

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        figures = super().scores(doc, results)
        gold = json.loads(doc["gold"])
        if not gold:
            return figures
        calls = parse(results[0]).calls
        result = replay(self.box, doc, calls) if calls else None
        right = result is not None and result == replay(self.box, doc, gold)
        return figures | {"call_runs": float(result is not None), "call_result": float(right)}
