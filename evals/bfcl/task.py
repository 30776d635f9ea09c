"""BFCL's single-turn categories as lm-eval tasks.

The prompt is the package's own, which is a column of the data set; the reply is read and matched as the package does
(`bfcl-eval` 2026.3.23, prompting mode), without its `eval`.
"""

import json
from collections.abc import Sequence
from typing import Any

from .._lib.chat import RuleScoredTask
from .._lib.data import TaskData
from .scorer import METRICS, score

DATA = TaskData("bfcl", "hubwright/bfcl-v4")


class BFCLTask(RuleScoredTask):
    """One category: a question and functions in, a list of calls out. `test_split` of the YAML names the category."""

    DATA = DATA
    SUBSET = "single_turn"
    COLUMNS = ("id", "messages", "functions", "gold", "prompt")
    METRICS = METRICS
    INTERVALS = ("acc", "function")

    @property
    def category(self) -> str:
        return str(self.config.test_split)

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The package's prompt, before a system turn of the row's own where there is one, and the question."""
        system = {"role": "system", "content": doc["prompt"]}
        turns: list[dict[str, str]] = json.loads(doc["messages"])
        if turns and turns[0]["role"] == "system":
            system["content"] += f"\n\n{turns.pop(0)['content']}"
        return [system, *turns]

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        gold = json.loads(doc["gold"]) if doc["gold"] else None
        return score(results[0], gold, json.loads(doc["functions"]), self.category)
