"""The single-turn tasks: scores, prompts, and a real run through lm-eval in which gold gets all and silence nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from bfcl_parts import CATEGORIES, FUNCTION, GOLD, REPLY, rows_of

from hubwright.environments.calls import Call, as_python
from hubwright.evals._lib.data import tasks_dir
from hubwright.evals.bfcl.fc_task import json_schema
from hubwright.evals.bfcl.scorer import METRICS, score

JSON_REPLY = '<tool_call>\n{"name": "book", "arguments": {"city": "NYC", "nights": 2}}\n</tool_call>'


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (REPLY, {"acc": 1, "readable": 1, "function": 1}),
        (f"```\n{REPLY}\n```", {"acc": 1, "readable": 1, "function": 1}),
        ("[book(city='Rome')]", {"acc": 0, "readable": 1, "function": 1}),
        ("[look(city='NYC')]", {"acc": 0, "readable": 1, "function": 0}),
        ("[]", {"acc": 0, "readable": 0, "function": 0}),
        ("I would book a room.", {"acc": 0, "readable": 0, "function": 0}),
        ("", {"acc": 0, "readable": 0, "function": 0}),
    ],
)
def test_a_reply_with_a_gold_answer(reply, expected):
    assert score(reply, GOLD, [FUNCTION], "simple_python") == expected


@pytest.mark.parametrize("category", ["irrelevance", "live_irrelevance", "live_relevance"])
def test_a_reply_without_one(category):
    silent = float(category.endswith("irrelevance"))
    for reply, called in ((REPLY, 1 - silent), ("[]", silent), ("None of them fits.", silent)):
        assert score(reply, None, [FUNCTION], category) == {"acc": called}


def test_types_become_those_of_json_schema():
    definition = {
        "name": "f",
        "parameters": {
            "type": "dict",
            "required": ["type"],
            "properties": {
                "type": {"type": "float", "default": 1.5},
                "at": {"type": "tuple", "items": {"type": "any"}},
                "on": {"type": "boolean", "enum": [True]},
            },
        },
    }
    assert json_schema(definition)["parameters"] == {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"type": "number", "default": 1.5},
            "at": {"type": "array", "items": {"type": "string"}},
            "on": {"type": "boolean", "enum": [True]},
        },
    }


def test_whatever_is_replied_is_scored():
    rng = random.Random(0)

    def value(depth: int = 0) -> Any:
        plain = [None, True, 0, 1.5, "x", "", "NYC", 2]
        inner = [value(depth + 1) for _ in range(rng.randrange(3))] if depth < 3 else []
        return rng.choice([*plain, inner, tuple(inner), {rng.choice(["name", "age", "a"]): i for i in inner}])

    for _ in range(3000):
        names = rng.sample(list(FUNCTION["parameters"]["properties"]), rng.randrange(7))
        call = Call("book", {"city": "NYC"} | {name: value() for name in names})
        found = score(as_python(call), GOLD, [FUNCTION], rng.choice(["simple_python", "parallel", "multiple"]))
        assert set(found) == set(METRICS) and found["function"] == 1


def save(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> Path:
    """Rows by category, laid out as the builder's data set is published."""
    from datasets import Dataset

    for category, found in rows.items():
        path = folder / "single_turn" / f"{category}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(found).to_parquet(str(path))
    files = [{"split": c, "path": f"single_turn/{c}-00000-of-00001.parquet"} for c in rows]
    head = yaml.safe_dump({"configs": [{"config_name": "single_turn", "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{head}---\n")
    return folder


@pytest.mark.parametrize("right", [True, False], ids=["gold", "silence"])
@pytest.mark.parametrize("form", ["", "fc_"])
def test_through_lm_eval(tmp_path: Path, right: bool, form: str):
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    seen: list[Any] = []

    class Replays(LM):
        tokenizer_name = "replays"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            seen.append(chat_history)
            return json.dumps(chat_history)

        def chat_template(self, chat_template: Any = False) -> str:
            return "replays"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            calls = [bool(r.doc["gold"]) or r.doc["id"].startswith("live_relevance") for r in requests]
            reply = JSON_REPLY if form else REPLY
            return [reply if called == right else "I see." for called in calls]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    data = save(tmp_path / "d", {category: rows_of(category) for category in CATEGORIES})
    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata={"dataset": str(data)})
    found = lm_eval.simple_evaluate(
        model=Replays(),
        tasks=[f"button_bfcl_{form}".rstrip("_")],
        task_manager=manager,
        apply_chat_template=True,
        bootstrap_iters=10,
    )
    assert len(CATEGORIES) == 11
    for name in CATEGORIES:
        values = found["results"][f"button_bfcl_{form}{name}"]
        assert values["acc,none"] == float(right)
        assert ("function,none" in values) == ("relevance" not in name)
        assert values["acc_ci_low,none"] <= values["acc,none"] <= values["acc_ci_high,none"]
    assert found["groups"][f"button_bfcl_{form}".rstrip("_")]["acc,none"] == float(right)
    assert all(len(turns) == 2 for turns in seen)
    if form:
        assert (
            seen[0][0]["content"].startswith("You may call functions") and '"type": "object"' in seen[0][0]["content"]
        )
        assert seen[1][0]["content"].startswith("Be brief.\n\nYou may call functions")
        return
    assert seen[0][0] == {"role": "system", "content": "Reply with calls."} and len(seen[0]) == 2
    assert seen[1][0]["content"] == "Reply with calls.\n\nBe brief." and len(seen[1]) == 2
