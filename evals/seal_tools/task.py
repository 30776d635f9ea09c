"""Seal-Tools as lm-eval tasks: a request and functions in, all calls that serve it out.

    lm_eval run --model hf --model_args pretrained=... --apply_chat_template --tasks seal_tools_in_domain \\
        --metadata '{"dataset": "org/seal-tools@v1.0.0"}'

The chat form is that of the `toolcall` task, with one rule before the functions: how a call takes a result of another.
"""

from __future__ import annotations

import json
from typing import Any

from ...hub_sync.errors import DataError
from .. import micro
from ..chat import RuleScoredTask
from ..data import load_rows
from ..toolcall.render import system_turn
from .scorer import score

COLUMNS = ("id", "query", "calls", "tools", "scorable")
RULE = (
    "Write all calls that the request needs, in the order in which they are to be made, in one reply. The results of "
    "your calls are named API_call_0, API_call_1 and so on: they are counted from 0 over all your calls in their "
    "order, and a call has one result for each property in the `responses` of its function. Where an argument is a "
    "result of an earlier call, give that name as its value."
)


class SealToolsTask(RuleScoredTask):
    """One split of the instances; `test_split` of the YAML names it."""

    METRICS = ("format_acc", "call_exact")
    INTERVALS = METRICS
    TALLIES = ("tool", "param")

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the rows that can be scored from `--metadata` or HUBWRIGHT_SEAL_TOOLS. Raises as `load_rows` does."""
        split = str(self.config.test_split)
        rows = load_rows(
            self.config.metadata,
            "HUBWRIGHT_SEAL_TOOLS",
            "hubwright/seal-tools",
            split,
            config="instances",
            hint="build it with `hubwright run seal_tools --set namespace=YOU`",
        )
        missing = [name for name in COLUMNS if name not in rows.column_names]
        if missing:
            raise DataError(
                f"{self.config.task}: the data set has no column {missing[0]!r}; give one of `uses: seal_tools`"
            )
        scorable = rows.filter(lambda kept: kept, input_columns="scorable", keep_in_memory=True)
        if not len(scorable):
            raise DataError(f"{self.config.task}: no row of {split!r} can be scored; look at its column `faults`")
        self.dataset = {split: scorable}

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The functions and the rule in the system turn, and the request."""
        system = system_turn(json.loads(doc["tools"]), RULE)
        return [{"role": "system", "content": system}, {"role": "user", "content": doc["query"]}]

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        """The gold calls as JSON."""
        return str(doc["calls"])

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
        """Score one reply."""
        if self.bypassed:
            return {"bypass": 0.0}
        values, tallies = score(json.loads(doc["calls"]), results[0])
        scores: dict[str, Any] = self.with_intervals(values)
        for name in self.TALLIES:
            scores |= micro.spread(name, tallies[name])
        return scores

    def aggregation(self) -> dict[str, Any]:
        """Means, and what comes of the tallies of all documents; `metadata.bootstrap` resamples (1,000)."""
        resamples = int((self.config.metadata or {}).get("bootstrap", 1000))
        table = super().aggregation()
        for name in self.TALLIES:
            table |= micro.aggregations(name, resamples)
        return table
