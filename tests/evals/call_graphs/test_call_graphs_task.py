"""The held-out turns of the call-graph builder: gold replies make every call again, others do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.environments.world_sandbox import open_worlds
from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.tool_calls import canonical
from hubwright.evals.call_graphs.scorer import replay
from hubwright.evals.call_graphs.task import CallGraphsTask, turns_with_state
from hubwright.hub_sync.context import StepContext


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A published form of 30 rows of held-out sets and 10 of held-out functions, and the documents of the former."""
    folder = tmp_path_factory.mktemp("gold")
    config = CallGraphsConfig(train_rows=0, test_rows=30, function_test_rows=10)
    splits = build(config, StepContext("gold", folder, folder))
    (folder / "out" / "data").mkdir(parents=True)
    for split, rows in splits.items():
        rows.to_parquet(str(folder / "out" / "data" / f"{split}-00000-of-00001.parquet"))
    return folder / "out", turns_with_state(splits["test"])


def reply(calls: list[dict[str, Any]]) -> str:
    return "I will. " + "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)


def test_the_state_before_every_turn_is_the_recorded_one(data: tuple[Path, list[dict[str, Any]]]) -> None:
    """The gold calls of a turn, made after those before, give what the conversation says they gave."""
    compared = 0
    with open_worlds() as box:
        for document, after in zip(data[1], data[1][1:], strict=False):
            gold = json.loads(document["gold"])
            if not gold or after["seed"] != document["seed"]:
                continue
            results = replay(box, document, gold)
            told = [m["content"] for m in json.loads(after["messages"]) if m["role"] == "tool"][-len(gold) :]
            if any(set(json.loads(text)) == {"error"} or "request_id" in text for text in told):
                continue
            assert results is not None
            assert results == sorted(canonical(json.loads(text)) for text in told)
            compared += 1
    assert compared > 20


def run(data: Path, answer: Any, task: str = "call_graphs", asked: list[Any] | None = None) -> dict[str, float]:
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Scripted(LM):
        tokenizer_name = "scripted"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history)

        def chat_template(self, chat_template: Any = False) -> str:
            return "scripted"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            if asked is not None:
                asked.extend(request.doc for request in requests)
            return [answer(json.loads(request.doc["gold"])) for request in requests]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata={"dataset": str(data)})
    results = lm_eval.simple_evaluate(
        model=Scripted(), tasks=[task], task_manager=manager, apply_chat_template=True, bootstrap_iters=10
    )
    return {name.partition(",")[0]: value for name, value in results["results"][task].items()}


def test_gold_is_one_silence_is_none_and_another_call_gives_another_result(data: Any) -> None:
    gold = run(data[0], lambda calls: reply(calls) if calls else "Done.")
    assert gold["call_result"] == gold["call_runs"] == gold["call_exact"] == gold["no_call"] == 1.0
    assert gold["call_result_ci_low"] > 0.8
    silent = run(data[0], lambda calls: "")
    assert silent["call_result"] == silent["call_runs"] == silent["call_exact"] == 0.0 and silent["empty"] == 1.0

    def other(calls: list[dict[str, Any]]) -> str:
        """Runs where a city is asked about, on another one."""
        swap = {"Oslo": "Lima"}
        return reply(
            [
                call
                | {"arguments": {k: swap.get(v, "Oslo") if k == "city" else v for k, v in call["arguments"].items()}}
                for call in calls
            ]
        )

    found = run(data[0], other)
    assert found["call_result"] < found["call_runs"] and found["call_result"] < 1.0
    hidden = run(data[0], lambda calls: reply([{"name": "pools", "arguments": {}} for _ in calls]))
    assert hidden["call_runs"] == 0.0 and hidden["call_name"] == 0.0
    broken = run(data[0], lambda calls: reply([{"name": "begin", "arguments": {"seed": "x"}} for _ in calls]))
    assert broken["call_result"] == 0.0


def test_task_of_held_out_functions_reads_their_split_alone(data: Any) -> None:
    asked: dict[str, list[Any]] = {"call_graphs": [], "call_graphs_functions": []}
    for task, documents in asked.items():
        gold = run(data[0], lambda calls: reply(calls) if calls else "Done.", task, documents)
        assert gold["call_result"] == gold["call_exact"] == gold["no_call"] == 1.0
    offered = {
        task: {tool["function"]["name"] for document in documents for tool in json.loads(document["tools"])}
        for task, documents in asked.items()
    }
    assert offered["call_graphs"] and offered["call_graphs_functions"]
    assert not offered["call_graphs"] & offered["call_graphs_functions"]


def test_the_task_refuses_rows_without_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    from hubwright.hub_sync.errors import DataError

    Dataset.from_dict({"id": ["a"], "messages": ["[]"]}).to_parquet(str(tmp_path / "test.parquet"))
    monkeypatch.setenv("HUBWRIGHT_DATA_CALL_GRAPHS", str(tmp_path))
    with pytest.raises(
        DataError, match="the data set has no column 'tools'; build it with `hubwright run call_graphs"
    ):
        CallGraphsTask(config={"task": "call_graphs", "test_split": "test", "output_type": "generate_until"})
