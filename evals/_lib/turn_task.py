"""The task of a data set of conversations with functions: one document per assistant turn."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .chat import RuleScoredTask
from .tool_calls import METRICS, score
from .tool_turns import plain_turns


def turns_to_answer(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Documents: id, kind (call or words); messages, tools and gold calls as JSON text (Arrow merges arguments)."""
    documents = []
    for row in rows:
        if not row["tools"]:
            continue
        for index, message in enumerate(row["messages"]):
            if message["role"] != "assistant":
                continue
            calls = [call.get("function") or call for call in message.get("tool_calls") or ()]
            gold = [{"name": c["name"], "arguments": c["arguments"]} for c in calls]
            documents.append(
                {
                    "id": f"{row['id']}:{index}",
                    "kind": "call" if gold else "words",
                    "messages": json.dumps(row["messages"][:index], ensure_ascii=False),
                    "tools": json.dumps(row["tools"], ensure_ascii=False),
                    "gold": json.dumps(gold, ensure_ascii=False),
                }
            )
    return documents


class TurnTask(RuleScoredTask):
    """A conversation with signatures in, a call or words out, compared with the assistant's turn (teacher forcing).

    A subclass reads its documents with `turns_to_answer`.
    """

    METRICS: tuple[str, ...] = METRICS
    INTERVALS: tuple[str, ...] = tuple(m for m in METRICS if m != "call_argument_f1")  # an F1 is no proportion
    LOWER_IS_BETTER = ("call_missing", "empty")

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The turns before the one to answer, signatures in the system turn."""
        return plain_turns(json.loads(doc["messages"]), json.loads(doc["tools"]))

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        return score(json.loads(doc["gold"]), results[0])
