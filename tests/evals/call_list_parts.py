"""What the tests of tasks with lists of calls share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hubwright.evals._lib.data import tasks_dir

SPLITS = ("test_in_domain", "test_out_domain")
GOLD = [
    {"name": "film", "arguments": {"title": "Heat", "year": "1995"}},
    {"name": "weather", "arguments": {"place": "API_call_1"}},
]


def written(calls: list[dict[str, Any]]) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(c, ensure_ascii=False)}\n</tool_call>" for c in calls)


def small(scorable: bool = True, **changed: Any) -> Any:
    from datasets import Dataset

    tool = {"type": "function", "function": {"name": "film", "description": "Ü", "parameters": {}, "responses": {}}}
    row = {"id": "dev-easy-0", "query": "Which?", "calls": json.dumps(GOLD), "tools": json.dumps([tool])}
    return Dataset.from_list([row | {"scorable": scorable} | changed, row | {"scorable": False} | changed])


def evaluate(data: Path, replies: Any, seen: list[Any], tasks: list[str], **settings: Any) -> dict[str, Any]:
    """lm-eval's evaluator with a model that replies to each document as told."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Scripted(LM):
        tokenizer_name = "scripted"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            seen.append(chat_history)
            return json.dumps(chat_history)

        def chat_template(self, chat_template: Any = False) -> str:
            return "scripted"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [replies(request.doc) for request in requests]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    metadata = {"dataset": str(data), "bootstrap": 20}
    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    return lm_eval.simple_evaluate(
        model=Scripted(), tasks=tasks, task_manager=manager, apply_chat_template=True, bootstrap_iters=10, **settings
    )
