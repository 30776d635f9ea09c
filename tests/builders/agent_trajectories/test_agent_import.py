"""Trajectories of other people's files: FireAct's, ETO's and AgentGym's forms, and what cannot be used of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from trainer_parts import context

from hubwright.builders.agent_trajectories.importer import ImportConfig, build, react_turns, trajectory
from hubwright.hub_sync.errors import DataError, RowRejected

FIREACT = "anchen1011/FireAct/data/finetune/gpt_format/hotpotqa.jsonl"
CONFIG = ImportConfig(sources=({"source": "x"},), env="shop", license="mit")  # type: ignore[arg-type]


def eto(number: int = 0, **more: Any) -> dict[str, Any]:
    said = [
        ("human", "You are web shopping."), ("gpt", "OK"), ("human", f"Find article {number}. ☕"),
        ("gpt", "Thought: search.\nAction: search[tea]"), ("human", "Observation: [Buy Now]"),
        ("gpt", "Thought: buy.\nAction: click[Buy Now]"),
    ]  # fmt: skip
    return {"id": f"webshop_{number}", "conversations": [{"from": who, "value": text} for who, text in said]} | more


def turns(*texts: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]}


def run(folder: Path, records: list[Any], name: str = "a.json", **settings: Any) -> tuple[Any, Any]:
    text = json.dumps(records) if ".jsonl" not in name else "\n".join(json.dumps(one) for one in records)
    data = text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    step = context(folder, {}, f"run-{name}")
    settings = {"sources": [{"source": str(folder / name)}], "env": "shop", "license": "mit"} | settings
    return build(ImportConfig(**settings), step), step


def test_eto_row_has_instruction_steps_and_reward(tmp_path: Path) -> None:
    data, step = run(tmp_path, [eto(reward=0.5), eto(1)])
    row, other = data["trajectories"]["train"]
    check_columns("agent_trajectories_import", data, step.report)
    assert row["instructions"] == "You are web shopping." and row["task"] == "Find article 0. ☕"
    assert row["actions"] == ["search[tea]", "click[Buy Now]"] and row["rewards"] == [0.0, 0.5]
    assert (row["score"], row["success"], row["replayed"]) == (0.5, False, False)
    assert other["score"] is other["success"] is None and other["rewards"] == [None, None]
    assert [turn["weight"] for turn in row["messages"]] == [None, 0, None, None, None, None]
    first, second = data["steps"]["train"].to_list()[:2]
    assert first["expert_action"] == "Thought: search.\nAction: search[tea]" and first["action"] == "search[tea]"
    assert [turn["content"] for turn in second["prompt"]][-1] == "Observation: [Buy Now]" == second["state"]
    assert [turn["weight"] for turn in data["sft"]["train"][1]["messages"]] == [None, 0, None, 0, None, 1]
    assert step.report.counts["steps"] == 4


@pytest.mark.parametrize("name", ["b.json", "b.jsonl", "b.jsonl.gz", "b.json.gz"])
def test_packing_and_form_of_the_file_change_nothing(tmp_path: Path, name: str) -> None:
    records = [eto(n) for n in range(5)]
    one, _ = run(tmp_path, records, "plain.json")
    other, _ = run(tmp_path, records, name)
    assert one["steps"]["train"].to_list() == other["steps"]["train"].to_list()


def test_flags_of_turns_decide_what_is_learnt(tmp_path: Path) -> None:
    record = eto()
    for turn, flag in zip(record["conversations"], [None, False, None, False, None, True], strict=True):
        turn["loss"] = flag
    data, _ = run(tmp_path, [record])
    assert data["steps"]["train"]["i"] == [1] and data["trajectories"]["train"][0]["actions"][0] == "search[tea]"


def test_numbered_react_text_becomes_turns() -> None:
    text = "Thought 1: who?\nAction 1: search[x]\nObservation 1: y\nis z\nThought 2: so.\nAction 2: finish[z]\n"
    row = trajectory({"instruction": "Answer.", "input": "Question: who?", "output": text}, CONFIG)
    assert [turn["content"] for turn in row["messages"]] == [
        "Answer.\n\nQuestion: who?", "Thought: who?\nAction: search[x]", "Observation: y\nis z",
        "Thought: so.\nAction: finish[z]",
    ]  # fmt: skip
    assert row["actions"] == ["search[x]", "finish[z]"] and row["instructions"] == ""


@pytest.mark.parametrize(
    "text",
    [
        "", "Just an answer.", "Thought 1: a\nObservation 1: b", "Action 1: a\nAction 2: b", "Thought 1: a",
        "Action 1: a\nObservation 1: b\nAction 3: c", "Observation 1: b\nAction 1: a", "Well: Thought 1: a\nAction 1: b",
    ],
)  # fmt: skip
def test_broken_react_text_is_refused(text: str) -> None:
    with pytest.raises(RowRejected, match="broken_react"):
        react_turns(text)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("text", "not_an_object"),
        ({"id": 1}, "no_turns"),
        ({"conversations": []}, "no_turns"),
        ({"conversations": 5}, "turns are not a list"),
        ({"conversations": [{"from": "gpt"}]}, "null in place of content"),
        (eto(reward="high"), "reward_not_from_0_to_1"),
        (eto(reward=100), "reward_not_from_0_to_1"),
        (eto(reward=float("nan")), "reward_not_from_0_to_1"),
        (eto(reward=[1]), "not_of_its_form"),
        (eto(game_file=3), "not_of_its_form"),
        (turns("Buy tea."), "turns_do_not_alternate"),
        (turns("Buy tea.", "OK"), "turns_do_not_alternate"),
        (turns("Buy tea.", "I would rather not."), "turn_without_action"),
        (turns("Buy tea.", "Thought: hm\nAction:   "), "turn_without_action"),
        (turns("Buy \ud83d.", "Action: a"), "half a surrogate pair"),
        ({"messages": [{"role": "assistant", "content": "Action: a"}]}, "turns_do_not_alternate"),
        (
            {"messages": turns("a", "Action: b")["messages"] * 2 + [{"role": "tool", "content": "c"}]},
            "do_not_alternate",
        ),
        ({"instruction": 5, "output": "Action 1: a"}, "not_of_its_form"),
        ({"instruction": "a", "output": None}, "not_of_its_form"),
    ],
)
def test_unusable_record_is_refused_by_reason(record: Any, reason: str) -> None:
    with pytest.raises(RowRejected, match=reason):
        trajectory(record, CONFIG)


def test_refused_and_repeated_records_are_counted(tmp_path: Path) -> None:
    data, step = run(tmp_path, [eto(), eto(), eto(1, reward=0), {}], success_only=True, max_rejected_share=0.8)
    assert len(data["trajectories"]["train"]) == 1
    counts = step.report.counts
    assert counts["records_read"] == 4 == counts["records_rejected"] + counts["train_rows"]
    assert {name for name in counts if ": " in name} == {
        "rejected: duplicate", "rejected: not_successful", "rejected: no_turns"
    }  # fmt: skip
    with pytest.raises(DataError, match=r"3 of 4 records are rejected .*more than max_rejected_share 0.25"):
        run(tmp_path, [eto(), {}, {}, {}], "c.json")


def test_task_is_in_one_split_alone(tmp_path: Path) -> None:
    records = [eto(n % 20, reward=n / 60) for n in range(60)]
    for n, record in enumerate(records):
        record["conversations"][-1]["value"] += str(n)
    data, _ = run(tmp_path, records, test_fraction=0.3, dev_fraction=0.2)
    parts = {split: set(rows["task"]) for split, rows in data["trajectories"].items()}
    assert list(parts) == ["train", "dev", "test"] and sum(map(len, parts.values())) == 20
    assert sum(map(len, data["trajectories"].values())) == 60


def test_fireact_rows_are_all_used(tmp_path: Path, shared_data: Path) -> None:
    if not (shared_data / FIREACT).is_file():
        pytest.skip("FireAct is not here")
    sources = ({"source": str(shared_data / FIREACT)},)
    step = context(tmp_path, {})
    data = build(ImportConfig(sources=sources, env="hotpotqa", license="mit"), step)  # type: ignore[arg-type]
    rows = data["trajectories"]["train"]
    assert (len(rows), step.report.counts["records_rejected"], step.report.counts["steps"]) == (500, 0, 1385)
    assert all(rows["success"]) and {actions[-1][:7] for actions in rows["actions"]} == {"finish["}
