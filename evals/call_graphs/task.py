"""The held-out turns of `call_graphs` as lm-eval tasks: the calls of a turn are compared, and made for real.

    lm_eval run --model hf --model_args pretrained=... --apply_chat_template \\
        --tasks call_graphs,call_graphs_functions \\
        --metadata '{"dataset": "org/call-graphs@v1.0.0"}'

`call_graphs` has sets of functions that no train row plans or offers (split `test`; each function may be in train rows
beside others), `call_graphs_functions` has functions that no train row plans or offers (split `test_functions`).

The model continues the conversation as it went up to that turn (teacher forcing), greedily. Beside the metrics of
`toolcall`, the state of the worlds is brought to that turn and the model's calls are made: `call_runs` where all give
a result, `call_result` where the results are those of the right calls, whatever the calls look like.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...environments.sandbox import Sandbox
from ...environments.world_sandbox import open_worlds
from .._lib.data import TaskData
from .._lib.tool_calls import METRICS, parse
from .._lib.turn_task import TurnTask, turns_to_answer
from .scorer import calls_made, played

COLUMNS = ("id", "messages", "tools", "plan")


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
    """A conversation with tools that run; held-out sets of functions."""

    SPLIT = "test"
    METRICS = (*METRICS, "call_runs", "call_result")
    INTERVALS = (*TurnTask.INTERVALS, "call_runs", "call_result")
    _box: Sandbox | None = None

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the split and cut it into turns. Raises as `TaskData.rows` does."""
        import datasets

        rows = TaskData("call_graphs").rows(self.config.metadata, self.SPLIT, columns=COLUMNS)
        self.dataset = {"test": datasets.Dataset.from_list(turns_with_state(rows))}

    @property
    def box(self) -> Sandbox:
        """One sandbox for all documents; a new one where a call ended it."""
        if self._box is None or not self._box.call("begin", {"seed": 0}).ok:
            self._box = open_worlds()
        return self._box

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        """Metrics of one response."""
        figures = super().scores(doc, results)
        gold = json.loads(doc["gold"])
        if not gold:
            return figures
        calls = parse(results[0]).calls
        result = played(self.box, doc, calls) if calls else None
        right = result is not None and result == played(self.box, doc, gold)
        return figures | {"call_runs": float(result is not None), "call_result": float(right)}


class CallGraphsFunctionsTask(CallGraphsTask):
    """The same over held-out functions."""

    SPLIT = "test_functions"
