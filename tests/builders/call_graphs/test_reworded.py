"""Executed call graphs in a teacher's words: what is taken and what is not, before a scripted teacher over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from column_parts import check_columns

from hubwright.builders._lib.conversation_checks import faults
from hubwright.builders._lib.conversation_rows import calls_of, features
from hubwright.builders.call_graphs.build import CallGraphsConfig
from hubwright.builders.call_graphs.build import build as build_executed
from hubwright.builders.call_graphs.reworded import RewordedConfig, build, fault_of
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.refs import ArtifactRef

OLD = "Please look up booking BK1234, then book flight HW77 for Ana Silva. If the fare is below 400, convert 75.5."
ASKS = ("look up booking BK1234", "book flight HW77 for Ana Silva", "convert 75.5 from EUR")


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("Hello, look into booking BK1234, reserve flight HW77 for Ana Silva; below 400, convert 75.5.", ""),
        ("Sure, " + OLD, "said as the assistant"),
        ("Would you like to " + OLD[7:], "said as the assistant"),
        (OLD.replace("Please look up", "What is the number of"), "another question: what"),
        (OLD + " Please provide the date.", "said as the assistant"),
        (OLD.replace("Please", "Thanks. I'll"), "said as the assistant"),
        (OLD.replace("look up booking BK1234", "see if booking BK1234 exists"), "a condition is new"),
        (
            "I want you to book flight HW77 for Ana Silva, then look up booking BK1234; if the fare is below 400, convert 75.5.",
            "the order is another: book flight HW77",
        ),
        ("", "no single paragraph"),
        ("Sure!\n\nBooking BK1234 is fine.", "no single paragraph"),
        (OLD.upper(), "the same words"),
        (OLD.lower() + " ok", "a value is gone: BK1234"),
        (OLD.replace("HW77", "the flight"), "a value is gone: HW77"),
        (OLD.replace("Ana Silva", "her"), "a value is gone: Ana Silva"),
        (OLD.replace("75.5", "75"), "a value is gone: 75.5"),
        (OLD + " And 99 more.", "a value is new: 99"),
        (f" {OLD}\n", "the same words"),
        (OLD + " " + "really " * 40, "much longer"),
        (OLD.replace("convert", "tell me"), "something is not asked for any more: convert 75.5 from EUR"),
    ],
)
def test_what_can_stand_for_a_request(new: str, said: str) -> None:
    found = fault_of(new, OLD, ASKS)
    assert found.startswith(said) if said else found == ""


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (
            "Transfer 9.5 in EUR from the account of Ana Silva to Ben Novak, and then move event EV1 to the due day.",
            "",
        ),
        (
            "I want a transfer of 9.5 in EUR to Ben Novak from the account of Ana Silva, and event EV1 moved to the due day.",
            "",
        ),
        (
            "Transfer 9.5 in EUR to Ana Silva from Ben Novak, then move event EV1 to the due day.",
            "the direction is another",
        ),
        (
            "Transfer 9.5 in EUR from Ana Silva to Ben Novak, then move event EV1 to its due day.",
            "a reference is new: its",
        ),
        (
            "Transfer 9.5 in EUR from Ana Silva to Ben Novak for me, then move event EV1 to the due day.",
            "a reference is new",
        ),
        (
            "Transfer 9.5 in EUR from Ana Silva to Ben Novak and back, then move event EV1 to the due day.",
            "a reference is new",
        ),
    ],
)
def test_who_gives_and_who_gets_stay(new: str, said: str) -> None:
    old = "Please transfer 9.5 in EUR from the account of Ana Silva to Ben Novak, then move event EV1 to the due day."
    asks = ("transfer 9.5 in EUR from the account of Ana Silva to Ben Novak", "move event EV1 to the due day")
    found = fault_of(new, old, asks)
    assert found.startswith(said) if said else found == ""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("executed")
    rows = build_executed(CallGraphsConfig(train_rows=24, seed=3), StepContext("executed", folder, folder))["train"]
    (folder / "out" / "data").mkdir(parents=True)
    rows.to_parquet(str(folder / "out" / "data" / "train-00000-of-00001.parquet"))
    return folder / "out", rows.to_list()


def run(url: str, executed: Path, folder: Path, replay: bool = False, **settings: Any) -> tuple[Any, StepContext]:
    given = {"dataset": Input(ArtifactRef("dataset", "local/executed", "0" * 40), executed)}
    context = StepContext(
        "verified", folder / "work", folder / "out", given, recording=folder / "recording", replay=replay
    )
    context.workdir.mkdir(parents=True, exist_ok=True)
    made = build(RewordedConfig(teacher=f"openai:local@{url}", **settings), context)
    check_columns("call_graphs_reworded", made, context.report)
    return made["verified"]["train"], context


def other_words(body: dict[str, Any], number: int) -> str:
    old = body["messages"][-1]["content"].rpartition("Request: ")[2]
    return f"Hello there, a request for today: {old[0].lower() + old[1:]} I appreciate it."


def test_rows_keep_their_calls_and_pass_all_checks(executed: Any, tmp_path: Path) -> None:
    with ChatServer(other_words) as server:
        rows, context = run(server.url, executed[0], tmp_path)
        again, _ = run(server.url, executed[0], tmp_path)
    assert len(rows) == 24 and rows.features == features() and rows.to_list() == again.to_list()
    for new, old in zip(rows, executed[1], strict=True):
        assert calls_of(new["messages"]) == calls_of(old["messages"]) and new["tools"] == old["tools"]
        assert new["plan"] == old["plan"] and new["made_by"] == "local" and new["id"] != old["id"]
        assert new["messages"][1]["content"].startswith("Hello there") and not faults(new)
        assert [m for m in new["messages"] if m["role"] == "tool"] == [
            m for m in old["messages"] if m["role"] == "tool"
        ]
    assert context.report.counts == {"records_read": 24, "records_rejected": 0, "rows_accepted": 24}


def test_what_is_refused_is_counted_with_its_reason(executed: Any, tmp_path: Path) -> None:
    def careless(body: dict[str, Any], number: int) -> str:
        old = body["messages"][-1]["content"].rpartition("Request: ")[2]
        return other_words(body, number) if "ook" in old else "I have done it."

    with ChatServer(careless) as server:
        rows, context = run(server.url, executed[0], tmp_path, attempts=2)
    counts = context.report.counts
    assert counts["rows_accepted"] == len(rows) < 24 and counts["records_rejected"] == 24 - len(rows)
    reasons = {reason for _, reason, _ in context.report.tables[0]["rows"]}
    assert reasons <= {"a value is gone", "something is not asked for any more"}


def test_a_replay_asks_nobody(executed: Any, tmp_path: Path) -> None:
    with ChatServer(other_words) as server:
        url = server.url
        first, _ = run(url, executed[0], tmp_path)
    (tmp_path / "again").mkdir()
    (tmp_path / "recording").rename(tmp_path / "again" / "recording")
    again, _ = run(url, executed[0], tmp_path / "again", replay=True)
    assert again.to_list() == first.to_list()


def test_a_teacher_that_never_complies_and_data_of_another_make_are_one_line(executed: Any, tmp_path: Path) -> None:
    from datasets import Dataset

    with ChatServer(lambda body, number: "No.") as server:
        with pytest.raises(DataError, match=r"none of 24 rows is accepted .*use a stronger teacher"):
            run(server.url, executed[0], tmp_path)
        (tmp_path / "other" / "data").mkdir(parents=True)
        Dataset.from_dict({"messages": [json.dumps([])]}).to_parquet(
            str(tmp_path / "other" / "data" / "train.parquet")
        )
        with pytest.raises(DataError, match="has no column 'plan'; give a data set of `uses: call_graphs`"):
            run(server.url, tmp_path / "other", tmp_path / "y")


def test_an_option_must_not_be_lost() -> None:
    old, values = "Could you find out what express delivery from Porto to Lima costs?", ["express", "Porto", "Lima"]
    assert fault_of("Tell me what express delivery costs from Porto to Lima.", old, (), values) == ""
    assert fault_of("Tell me what delivery costs from Porto to Lima.", old, (), values) == "a value is gone: express"
