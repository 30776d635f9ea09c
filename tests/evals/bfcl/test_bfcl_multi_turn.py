"""Turns from the gold state: two by hand, and all 800 rows of the package through lm-eval; the group `button`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bfcl_parts import REPLY
from multi_turn_parts import GOLD, ROW, SOURCES, save, small

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals.bfcl import steps
from hubwright.evals.bfcl.steps import NOTHING, Referee, call_list
from hubwright.hub_sync.errors import DataError


@pytest.fixture(scope="module")
def referee():
    made = Referee(SOURCES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def documents(referee: Referee):
    return referee.documents(ROW)


def test_a_document_holds_the_history_as_gold_played_it(documents):
    assert [d["id"] for d in documents] == [f"multi_turn_miss_func_0:{turn}" for turn in range(3)]
    assert [json.loads(d["gold"]) for d in documents] == GOLD and json.loads(documents[2]["past"]) == GOLD[:2]
    results = (
        "[{'role': 'tool', 'name': \"create('a', priority=2)\", 'content': '{\"id\": 1}'}, "
        "{'role': 'tool', 'name': 'count()', 'content': '1'}]"
    )
    turns = [(turn["role"], turn["content"]) for turn in json.loads(documents[2]["messages"])]
    assert turns == [
        ("system", "Reply with calls."),
        ("user", "Open one."),
        ("assistant", "[create('a', priority=2), count()]"),
        ("user", f"{results}\n\nClose it."),
        ("assistant", NOTHING),
        ("user", "[{'name': 'count'}]\nAnd now?"),
    ]
    for number, document in enumerate(documents):
        assert json.loads(document["messages"]) == json.loads(documents[2]["messages"])[: 2 + 2 * number]


@pytest.mark.parametrize(
    ("turn", "reply", "passed", "function", "readable"),
    [
        (0, call_list(GOLD[0]), 1, 1, 1),
        (0, "[create(title='a', priority=2), count()]", 1, 1, 1),
        (0, "[count(), create('a', priority=2), count()]", 1, 0, 1),
        (0, "[create('a'), count()]", 0, 1, 1),
        (0, "[create('a', priority=2)]", 0, 0, 1),
        (0, "I opened one.", 0, 0, 0),
        (0, "", 0, 0, 0),
        # Values that JSON lacks.
        (0, "[create(title=b'a', priority=2j), count()]", 0, 1, 1),
        # The result that is wanted is among the earlier ones; the package lets that pass.
        (2, "[fail()]", 1, 0, 1),
        (2, "[create('b'), count()]", 0, 0, 1),
        (2, "", 0, 0, 0),
    ],
)
def test_a_turn_in_which_gold_calls(referee, documents, turn, reply, passed, function, readable):
    assert referee.score(documents[turn], reply) == {
        "turn_acc": passed, "call_acc": passed, "function": function, "readable": readable,
    }  # fmt: skip


def test_a_turn_in_which_gold_calls_nothing(referee, documents):
    for reply, right in ((NOTHING, 1), ("", 1), ("[]", 1), ("[count()]", 0)):
        assert referee.score(documents[1], reply) == {"turn_acc": right, "no_call": right}


def test_a_reply_that_breaks_the_worlds_harms_itself_alone(monkeypatch: pytest.MonkeyPatch, documents):
    from hubwright.environments.sandbox import Limits
    from hubwright.evals.bfcl.worlds import Worlds

    monkeypatch.setattr(steps, "Worlds", partial(Worlds, limits=Limits(seconds=1.0)))
    made = Referee(SOURCES)
    try:
        assert made.score(documents[0], "[spin()]")["turn_acc"] == 0
        assert made.score(documents[0], call_list(GOLD[0]))["turn_acc"] == 1
        made._worlds.close()  # as when its processor time is used up
        assert made.score(documents[2], call_list(GOLD[2]))["turn_acc"] == 1
        with pytest.raises(DataError, match="no result within"):
            made.score(documents[2] | {"past": json.dumps([["spin()"]])}, call_list(GOLD[2]))
    finally:
        made.close()


def evaluate(group: str, replies: Any, metadata: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """lm-eval's evaluator with a model that replies to each document as told."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Scripted(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [replies(request.doc) for request in requests]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    return lm_eval.simple_evaluate(
        model=Scripted(), tasks=[group], task_manager=manager, bootstrap_iters=10, **settings
    )


def replay(doc: dict[str, Any]) -> str:
    """Gold's reply to a document of any task of the group."""
    if "calls" in doc:
        return "".join(f"<tool_call>{json.dumps(call)}</tool_call>" for call in json.loads(doc["calls"]))
    if "past" in doc:
        return call_list(json.loads(doc["gold"]))
    return REPLY if doc["gold"] or doc["id"].startswith("live_relevance") else "I see."


@pytest.mark.parametrize("right", [True, False], ids=["gold", "silence"])
def test_the_group_of_all_function_calling_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool):
    from call_list_parts import SPLITS
    from call_list_parts import small as seal_rows

    monkeypatch.setenv("HUBWRIGHT_DATA_BFCL", str(small(tmp_path / "bfcl")))
    seal = save(tmp_path / "seal", {"instances": {split: seal_rows() for split in SPLITS}})
    monkeypatch.setenv("HUBWRIGHT_DATA_SEAL_TOOLS", str(seal))
    found = evaluate("button", replay if right else lambda doc: "", {"bootstrap": 10})
    assert len([task for task, count in found["n-samples"].items() if count["original"]]) == 11 + 4 + 2
    figures = {key.removesuffix(",none"): value for key, value in found["groups"]["button"].items()}
    assert figures["call_exact"] == figures["tool_f1"] == figures["param_f1"] == float(right)
    # To call nothing is right in one turn of three, and where no function of a single question fits.
    assert figures["turn_acc"] == pytest.approx(1.0 if right else 1 / 3)
    assert figures["acc"] == pytest.approx(1.0 if right else 2 / 11)
    multi = found["groups"]["button_bfcl_multi_turn"]
    assert multi["call_acc,none"] == float(right) and found["groups"]["button_bfcl"]["acc,none"] == figures["acc"]
    values = found["results"]["button_bfcl_multi_turn_base"]
    assert values["call_acc_ci_low,none"] <= values["call_acc,none"] <= values["call_acc_ci_high,none"]


def test_answers_alone_and_older_data(tmp_path: Path):
    data = {"dataset": str(small(tmp_path / "d"))}
    found = evaluate("button_bfcl_multi_turn_base", lambda doc: "", data, predict_only=True)
    assert found["results"]["button_bfcl_multi_turn_base"]["bypass,none"] == 0.0
    old = save(
        tmp_path / "old",
        {
            "multi_turn": {"multi_turn_base": [{k: v for k, v in ROW.items() if k != "later_prompt"}]},
            "worlds": {"python": [{"name": n, "source": s} for n, s in SOURCES.items()]},
        },
    )
    with pytest.raises(DataError, match="no column 'later_prompt'; build it with `hubwright run bfcl"):
        evaluate("button_bfcl_multi_turn_base", lambda doc: "", {"dataset": str(old)})


@pytest.mark.parametrize("right", [True, False], ids=["gold", "silence"])
@pytest.mark.slow
def test_gold_passes_every_turn_of_all_rows_and_silence_none_with_calls(real: Path, right: bool):
    found = evaluate("button_bfcl_multi_turn", replay if right else lambda doc: "", {"dataset": str(real)})
    turns = {"base": (734, 731), "miss_func": (934, 731), "miss_param": (934, 731), "long_context": (734, 731)}
    for category, (documents, calling) in turns.items():
        name = f"button_bfcl_multi_turn_{category}"
        assert found["n-samples"][name]["effective"] == documents
        values = found["results"][name]
        for metric in ("call_acc", "function", "readable"):
            assert values[f"{metric},none"] == float(right)
        assert values["no_call,none"] == 1.0
        assert values["turn_acc,none"] == pytest.approx(1.0 if right else 1 - calling / documents)


def values(item: Any) -> list[str]:
    """Texts and numbers in a call's arguments, as text."""
    if isinstance(item, dict | list | tuple):
        return [text for part in (item.values() if isinstance(item, dict) else item) for text in values(part)]
    return [] if item is None or isinstance(item, bool) else [str(item)]


def test_a_tenth_of_the_turns_takes_a_value_from_a_result_of_its_own(real: Path):
    """What a reply that is one step cannot know; the README says how often."""
    from datasets import load_dataset

    from hubwright.environments.calls import python_calls

    sources = {row["name"]: row["source"] for row in load_dataset(str(real), "worlds", split="python")}
    made, count = Referee(sources), 0
    for row in load_dataset(str(real), "multi_turn", split="multi_turn_base"):
        for document in made.documents(row):  # all of them are there before the first is replayed
            made._replay(document)
            results, unknown, shown = "", False, document["messages"].lower()
            for text in json.loads(document["gold"]):
                (call,) = python_calls(text)
                taken = [v.lower() for v in values([call.arguments, call.positional]) if len(v) > 2]
                unknown |= any(value in results and value not in shown for value in taken)
                results += " ".join(made._worlds.turn([call], [text]).results).lower()
            count += unknown
    made.close()
    assert count == 75
