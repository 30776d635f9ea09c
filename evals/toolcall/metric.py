"""Exact scoring of tool calls, for `evaluate.load`. Needs `pip install hubwright`."""

import json
from collections import defaultdict
from typing import Any

from hubwright.evals._lib import metric_module
from hubwright.evals._lib import tool_calls as scorer

NAME = "tool_calls"  # of the Space, and so of this file there
TITLE = "Tool calls, exact"
SUMMARY = "function calls compared as JSON values, and restraint where no call is right"
EXAMPLE = """\
evaluate.load("ORG/tool_calls").compute(
    predictions=['{"name": "now", "arguments": {}}'],
    references=['[{"name": "now", "arguments": {}}]'],
)
"""


class ToolCalls(metric_module.ScorerMetric):
    """Tool calls compared as JSON values: same names, same arguments; and restraint where words are right.

    Args:
        predictions: what the model wrote, one text per turn.
        references: the right calls of each turn as JSON text: a list of {"name", "arguments"}, [] for words.
    Returns:
        means, 0 to 1: call_exact, call_name, call_valid, call_argument_f1, call_missing over the turns where calls are
        right, no_call over the others, empty over all; and n_call, n_no_call. A mean over no turn is left out.
    """

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        values: dict[str, list[float]] = defaultdict(list)
        for response, reference in zip(predictions, references, strict=True):
            for name, value in scorer.score(json.loads(reference), response).items():
                values[name].append(value)
        means = {name: sum(result) / len(result) for name, result in values.items()}
        return {**means, "n_call": len(values["call_exact"]), "n_no_call": len(values["no_call"])}
