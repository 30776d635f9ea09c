"""BFCL's single-turn categories with functions and calls as JSON, for models that were tuned to call functions.

What the leaderboard calls FC, where a model is asked in its own form: here that of the `toolcall` task, whose system
turn lists JSON Schemas and whose calls stand in `<tool_call>` blocks. Questions, gold calls and matching are those of
`button_bfcl`; names keep their dots, which the package replaces for some interfaces.
"""

import json
from collections.abc import Sequence
from typing import Any

from ...environments.calls import Call
from .._lib.tool_calls import parse
from .._lib.tool_turns import system_turn
from .scorer import score_calls
from .task import BFCLTask

JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


def json_schema(value: Any) -> Any:
    """BFCL's types as JSON Schema's, at any depth; a property that is called `type` is a property."""
    if isinstance(value, list):
        return [json_schema(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    types = {"type": JSON_TYPES.get(kind, kind)} if isinstance(kind, str) else {}
    return {key: json_schema(one) for key, one in value.items()} | types


class BFCLFunctionCallTask(BFCLTask):
    """One category. `test_split` of the YAML names it."""

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The functions, behind a system turn of the row's own where there is one, and the question."""
        turns: list[dict[str, str]] = json.loads(doc["messages"])
        own = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
        tools = [{"type": "function", "function": json_schema(f)} for f in json.loads(doc["functions"])]
        return [{"role": "system", "content": system_turn(tools, own)}, *turns]

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        gold = json.loads(doc["gold"]) if doc["gold"] else None
        result = parse(results[0])
        # A call that cannot be read makes the reply wrong, as it does in the other form.
        calls = [Call(call["name"], call["arguments"]) for call in result.calls] if result.valid else []
        return score_calls(calls, gold, json.loads(doc["functions"]), self.category)
