"""BUTTON's pipeline before a scripted teacher over HTTP: rows, refusals, the vote, resume and replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, failure
from faithful_parts import FIND, HOURS, Teacher, call, reply, role_of, run, said_last
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib.conversation_rows import CHECKS, SWITCH, calls_of, features, results_of
from hubwright.builders.button import ButtonConfig, build, dedup, parse, prompts
from hubwright.builders.button.template import definition_of, from_button, to_button
from hubwright.environments.definition import fault
from hubwright.environments.schema import violation
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

TOOLS = {name: definition_of(one) for name, one in (("find_museum", FIND), ("opening_hours", HOURS))}


def task(text: str, *values: Any) -> str:
    return json.dumps({"values": values, "task": text})


def phases(context: StepContext) -> dict[str, tuple[int, int, str]]:
    return {row[0]: tuple(row[1:4]) for row in context.report.tables[0]["rows"]}


def test_the_whole_pipeline(tmp_path: Path) -> None:
    teacher = Teacher()
    with ChatServer(teacher) as server:
        rows, context = run(server.url, tmp_path, expansions=1)
    assert [(row["composition"], row["parallel"]) for row in rows] == [
        ("sequential", True), ("sequential", False), ("parallel_then_sequential", True),
        ("parallel_then_sequential", False),
    ]  # fmt: skip
    for row in rows:
        assert list(row) == list(features())
        functions = {tool["function"]["name"]: tool["function"] for tool in row["tools"]}
        assert not any(fault(function) for function in functions.values())
        results = results_of(row["messages"])
        for one in calls_of(row["messages"]):
            name, arguments = one["function"]["name"], one["function"]["arguments"]
            assert violation(arguments, functions[name]["parameters"]) is None
            assert violation(results[one["id"]], functions[name]["responses"]) is None
        assert [m["role"] for m in row["messages"]][:3] == ["system", "user", "assistant"]
        assert row["messages"][0]["content"] == SWITCH[row["parallel"]]
        assert row["messages"][1]["content"] == "Hello! When is the museum open that shows The Scream?"
        assert row["messages"][2]["content"] == "Seen.\nFirst the museum."
        assert row["messages"][-1] == {"role": "assistant", "content": "At 9."}
        assert row["n_calls"] == len(results) == (3 if row["parallel"] else 2)
        assert row["made_by"] == "local" and row["variant"] == "plain" and row["plan"] == ""
        wrong = {name for name in CHECKS if row[f"check_{name}"]}
        # Of the two calls side by side the teacher makes one up, and its result is not used.
        made_up = {"provenance", "needless", "answer"} if row["parallel"] else set()
        assert wrong == made_up | ({"duplicate"} if row["composition"] == "parallel_then_sequential" else set())
        # What the assistant knew beforehand is not in the conversation.
        assert row["sub_tasks"][-1] not in json.dumps(row["messages"])
        again = from_button(to_button(row))
        assert again["messages"] == row["messages"] and again["parallel"] is row["parallel"]
    several = [max(len(m.get("tool_calls", ())) for m in row["messages"]) for row in rows]
    assert several == [2, 1, 2, 1]
    found = phases(context)
    assert found["composition"] == found["functions"] == found["trajectory"] == (4, 4, "")
    assert found["expansion"][0] == 40
    # A request's seed is its own: no two ask the very same.
    seeds = [(json.dumps(body["messages"]), body["seed"]) for body in server.bodies]
    assert len(set(seeds)) == len(seeds)
    assert context.report.metrics["tokens_per_accepted_row"] == 10 * len(server.bodies) / 4
    assert context.report.metrics["usage/requests"] == len(server.bodies)


@pytest.mark.parametrize(
    ("said", "phase", "reason"),
    [
        ({"atomic": task("word " * 60, "word")}, "atomic_tasks", "more than 45 words: 4"),
        ({"atomic": "Find the museum."}, "atomic_tasks", "no JSON object: 4"),
        ({"atomic": '{"task": "Find it."}'}, "atomic_tasks", "no list under values: 4"),
        ({"atomic": task("Find it.", None)}, "atomic_tasks", "not only texts under values: 4"),
        ({"atomic": task("Find Oslovia.", "Oslo")}, "atomic_tasks", "none of the values is in the task: 4"),
        ({"atomic": task("Find what you like in Oslo.", "Oslo")}, "atomic_tasks", "the task says you: 4"),
        ({"atomic": json.dumps(prompts.EXAMPLES["atomic"][0][1])}, "atomic_tasks", "example is repeated: 4"),
        ({"compose": "next: none"}, "composition", "no JSON object: 4"),
        ({"compose": '{"next": "x"}'}, "composition", "no text under whole: 2"),
        ({"compose": '{"beside": "X", "next": "x", "whole": "x"}'}, "composition", "a task is said twice: 4"),
        ({"compose": '{"beside": "a", "next": "b", "whole": "The screams?"}'}, "composition", "a value is lost: 4"),
        (
            {"compose": json.dumps({"beside": "b", **prompts.EXAMPLES["sequential"][0][1]})},
            "composition",
            "example is repeated: 4",
        ),
        ({"consistency": "Surely."}, "consistency", "the sub-tasks do not make up the task: 4"),
        ({"consistency": "<answer>yes</answer> or rather <answer>no</answer>"}, "consistency", "make up the task: 4"),
        ({"functions": '{"functions": 1}'}, "functions", "no list under functions: 4"),
        ({"functions": '{"functions": []}'}, "functions", "no sub-task has a function: 4"),
        ({"functions": json.dumps({"functions": [FIND, FIND]})}, "functions", "function defined twice: 4"),
        ({"functions": '{"functions": [{"name": "f"}]}'}, "functions", "definition unusable: 4"),
        ({"user": "Sure, I can help you with that!"}, "trajectory", "the user speaks as the assistant: 4"),
        ({"user": "Call opening_hours, please."}, "trajectory", "the user names a function: 4"),
        ({"assistant": "I would say nine."}, "trajectory", "neither call nor final answer: 4"),
        ({"assistant": "<final>9</final>"}, "trajectory", "no thought: 4"),
        ({"assistant": reply("t", final="9")}, "trajectory", "an answer without any call: 4"),
        ({"assistant": reply("t", [call("f")])}, "trajectory", "unknown function: 4"),
        ({"assistant": reply("t", [call("find_museum", artwork=1)])}, "trajectory", "arguments do not fit: 4"),
        ({"assistant": reply("t", [call("find_museum", artwork="x")])}, "trajectory", "no final answer in time: 4"),
        ({"tool": "{}"}, "trajectory", "a result is not a JSON object: 4"),
        ({"tool": '{"museum": 1}'}, "trajectory", "result does not fit: 4"),
        ({"tool": '{"museum": 1e999}'}, "trajectory", "number_out_of_range: 4"),
        ({"tool": lambda body: failure(400, "no")}, "trajectory", "HTTP 400: 4"),
        ({"user": lambda body: failure(400, "no", "content_filter")}, "trajectory", "refused: 4"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(tmp_path: Path, said: Any, phase: str, reason: str) -> None:
    none_left = pytest.raises(DataError, match=f"phase {phase}: none of 4 rows is left")
    with ChatServer(Teacher(**said)) as server, none_left as caught:
        run(server.url, tmp_path, attempts=1, candidates=1)
    if not reason.endswith(": 2"):  # the message tells the most frequent reason; the others are in the stage's rows
        assert reason in str(caught.value)
    lines = [json.loads(line) for path in (tmp_path / phase / "shards").iterdir() for line in path.open()][:-1]
    counted = [line["row"]["rejected"] for line in lines]
    assert sum(reason.rpartition(": ")[0] in text for text in counted) == int(reason[-1])


def test_build_teacher_that_thinks_first_gives_the_rows_of_one_that_does_not(tmp_path: Path) -> None:
    """Drafts in a thought are no task, verdict, call or answer; the prompts' own tag <thought> stays part of the row."""
    teacher = Teacher()
    draft = '<think>\nScenario: a draft {"task": "x"} <answer>no</answer> <call>[]</call> <final>Draft.</final>\n</think>\n'
    with ChatServer(teacher) as server:
        plain, _ = run(server.url, tmp_path / "plain")
    with ChatServer(lambda body, number: draft + teacher(body, number)) as server:
        thinking, _ = run(server.url, tmp_path / "thinking")
    assert thinking == plain and thinking[0]["messages"][2]["content"] == "Seen.\nFirst the museum."


def test_a_function_that_is_there_already_is_the_one_that_is_meant(tmp_path: Path) -> None:
    def functions(body: dict[str, Any]) -> str:
        return json.dumps({"functions": [FIND, HOURS] if "opening" in said_last(body).splitlines()[-1] else [FIND]})

    with ChatServer(Teacher(functions=functions)) as server:
        rows, _ = run(server.url, tmp_path)
    assert [[tool["function"]["name"] for tool in row["tools"]] for row in rows] == [
        ["find_museum", "opening_hours"]
    ] * 4


def test_another_seed_for_another_attempt(tmp_path: Path) -> None:
    asked: list[int] = []

    def third(body: dict[str, Any]) -> str:
        asked.append(body["seed"])
        return Teacher().atomic(body) if len(asked) == 3 else task("word " * 60, "word")

    with ChatServer(Teacher(atomic=third)) as server:
        rows, _ = run(server.url, tmp_path, rows=1)
    assert len(rows) == 1 and len(set(asked)) == 3


def votes(replies: list[str]) -> Any:
    """An assistant whose candidates of the first turn are these; with one candidate the pipeline goes on as usual."""
    first: list[int] = []

    def say(body: dict[str, Any]) -> str:
        if len(body["messages"]) > 2:
            return Teacher().assistant(body)
        first.append(1)
        return replies[(len(first) - 1) % len(replies)]

    return say


@pytest.mark.parametrize(
    ("replies", "settings", "taken", "asked"),
    [
        # The order of calls is no difference; of the majority the first is taken.
        (["kiss", "both", "reversed", "nothing", "final"], {"candidates": 5, "min_agreement": 0.4}, "both", 5),
        (["kiss", "both", "kiss"], {}, "kiss", 3),
        (["both", "reversed", "kiss"], {}, "both", 2),  # the third cannot change it
        (["kiss", "both"], {"candidates": 2}, "kiss", 1),  # nor the second, since the first of two is taken
        (["nothing", "both"], {"candidates": 2}, "both", 2),
        (["kiss", "both"], {"candidates": 1}, "kiss", 1),
        (["kiss", "kiss", "kiss"], {"min_agreement": 1}, "kiss", 3),
        (["kiss", "both", "kiss"], {"min_agreement": 1}, "", 2),
        (["kiss", "both", "final"], {}, "", 3),
        (["nothing"], {}, "", 2),  # the third alone would be no majority
    ],
)
def test_the_vote(tmp_path: Path, replies: list[str], settings: dict[str, Any], taken: str, asked: int) -> None:
    scream, kiss = (call("find_museum", artwork=name) for name in ("The Scream", "The Kiss"))
    calls = {"kiss": [kiss], "both": [scream, kiss], "reversed": [kiss, scream]}
    said = {"nothing": "nothing", "final": reply("final", final="x")}
    said |= {name: reply(name, found) for name, found in calls.items()}
    teacher = Teacher(assistant=votes([said[name] for name in replies]))
    with ChatServer(teacher) as server:
        if taken:
            rows, _ = run(server.url, tmp_path, rows=1, attempts=1, **settings)
            first = rows[0]["messages"][2]
            assert first["content"] == f"Seen.\n{taken}" and len(first["tool_calls"]) == len(calls[taken])
        else:
            reason = "neither call nor final" if replies == ["nothing"] else "candidates disagree"
            with pytest.raises(DataError, match=f"{reason}[^:]*: 1"):
                run(server.url, tmp_path, rows=1, attempts=1, **settings)
        first_turn = [body for body in server.bodies if role_of(body) == "assistant" and len(body["messages"]) == 2]
        assert len(first_turn) == asked


def test_one_call_a_turn_where_parallel_is_off(tmp_path: Path) -> None:
    both = reply("t", [call("find_museum", artwork=name) for name in ("The Scream", "The Kiss")])
    with ChatServer(Teacher(assistant=votes([both]))) as server:
        rows, context = run(server.url, tmp_path)
    assert [row["parallel"] for row in rows] == [True, True]
    assert phases(context)["trajectory"] == (4, 2, "several calls where one is allowed: 2")


def test_a_call_that_is_made_again_returns_the_same(tmp_path: Path) -> None:
    asked: list[int] = []

    def assistant(body: dict[str, Any]) -> str:
        again = [call("find_museum", artwork="The Scream")] * 2
        return reply("t", again) if len(body["messages"]) < 6 else reply("t", final="M")

    def tool(body: dict[str, Any]) -> str:
        asked.append(1)
        return json.dumps({"museum": f"number {len(asked)}"})

    with ChatServer(Teacher(assistant=assistant, tool=tool)) as server:
        rows, _ = run(server.url, tmp_path, rows=1)
    assert rows[0]["n_calls"] == 4
    assert list(results_of(rows[0]["messages"]).values()) == [{"museum": "number 1"}] * 4


def test_a_run_that_was_cut_off_ends_like_one_that_was_not(tmp_path: Path) -> None:
    with ChatServer(Teacher()) as server:
        whole, _ = run(server.url, tmp_path / "whole")
        total = len(server.bodies)
        again, _ = run(server.url, tmp_path / "whole")
        assert again == whole and len(server.bodies) == total
    teacher, broken = Teacher(), [True]
    with ChatServer(lambda body, n: failure(500) if broken and n > 24 and n % 3 else teacher(body, n)) as server:
        with pytest.raises(DataError, match="rows failed"):
            run(server.url, tmp_path / "cut")
        broken.clear()
        resumed, _ = run(server.url, tmp_path / "cut")
    assert resumed == whole
    shards = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("shards/*.jsonl")]
    assert len(shards) == 5
    for path in shards:
        assert (tmp_path / "cut" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_replay_without_a_teacher(tmp_path: Path) -> None:
    said = Teacher(atomic=lambda body: "word" if body["seed"] % 3 else Teacher().atomic(body))
    with ChatServer(said) as server:
        rows, context = run(server.url, tmp_path / "first", recording=tmp_path / "recording", rows=8)
    again, replayed = run(server.url, tmp_path / "second", recording=tmp_path / "recording", rows=8, replay=True)
    assert again == rows
    assert replayed.report.tables == context.report.tables
    assert replayed.report.metrics["tokens_per_accepted_row"] == context.report.metrics["tokens_per_accepted_row"]
    assert replayed.report.metrics["usage/requests"] == 0


def test_the_ablations(tmp_path: Path) -> None:
    teacher = Teacher()
    with ChatServer(teacher) as server:
        rows, context = run(server.url, tmp_path / "up", bottom_up=False)
        assert set(teacher.roles) == {"direct_task", "user", "assistant", "tool"}
        assert [row["composition"] for row in rows] == ["direct"] * 4
        assert rows[0]["sub_tasks"] == [] and len(rows[0]["tools"]) == 2
        assert "without its bottom-up half" in context.report.summary
        teacher.roles.clear()
        rows, _ = run(server.url, tmp_path / "down", top_down=False)
    assert teacher.roles.count("direct_trajectory") == 4 and "assistant" not in teacher.roles
    assert [m["role"] for m in rows[0]["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    teacher = Teacher(direct_trajectory='{"question": "x", "turns": [{"final": "y"}]}')
    refused = pytest.raises(DataError, match="an answer without any call: 4")
    with ChatServer(teacher) as server, refused:
        run(server.url, tmp_path / "bad", top_down=False)


def source(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Input]:
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"dataset": Input(ArtifactRef.parse("org/chats", "dataset"), folder)}


def test_scenarios_out_of_conversations(tmp_path: Path) -> None:
    chats = [{"conversations": [{"from": "system", "value": "no"}, {"from": "human", "value": f"Hi {n}" * 99}]} for n in range(3)]  # fmt: skip
    teacher = Teacher()
    with ChatServer(teacher) as server:
        rows, context = run(
            server.url,
            tmp_path,
            inputs=source(tmp_path / "in", chats),
            rows=1,
            conversations=2,
            conversation_chars=100,
        )
        asked = [body["messages"][0]["content"] for body in server.bodies if "A conversation" in body["messages"][0]["content"]]  # fmt: skip
    assert rows[0]["scenario"] == "visiting a museum"
    assert len(asked) == 2
    for number, text in enumerate(sorted(asked)):
        assert f"human: Hi {number}" in text and "no\n" not in text and len(text) < 500
    found = phases(context)
    assert found["scenarios"] == (2, 2, "")
    assert found["scenarios that differ"] == (2, 1, "nearly the same as another: 1")
    with pytest.raises(DataError, match="has no messages or conversations"):
        run(server.url, tmp_path, inputs=source(tmp_path / "other", [{"text": "x"}]))
    with pytest.raises(DataError, match="split 'dev' cannot be read"):
        run(server.url, tmp_path, inputs=source(tmp_path / "third", chats), split="dev")


def test_near_scenarios() -> None:
    texts = ["booking a flight", "Booking  a flight", "booking flights", "feeding a cat", ""]
    vectors = dedup.tfidf(texts)
    assert dedup.first_of_each(vectors, 0.99) == [0, 2, 3, 4]
    assert dedup.first_of_each(vectors, 0.5) == [0, 3, 4]


def test_near_scenarios_by_a_model(tmp_path: Path) -> None:
    from tiny_model import save_tiny_model

    vectors = dedup.embeddings(["a cat", "a cat", "many dogs run"], save_tiny_model(tmp_path))
    assert vectors.shape == (3, 32)
    assert dedup.first_of_each(vectors, 0.9999) == [0, 2]


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    context = StepContext("faithful", tmp_path, tmp_path)
    with pytest.raises(UsageError, match="`embedder` go together"):
        build(ButtonConfig(teacher="openai:m@http://127.0.0.1:1/v1", dedup="embeddings"), context)
    with pytest.raises(UsageError, match="give the teacher as an input"):
        build(ButtonConfig(), context)
    with pytest.raises(ValueError, match="write openai:MODEL"):
        ButtonConfig(teacher="gpt")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('1. **"Booking a flight"**\nmore', "Booking a flight"),
        ("\n\n- Scenario: feeding a cat.", "feeding a cat."),
        ("Task: Find it.", "Find it."),
        ("3 May is when it starts", "3 May is when it starts"),
    ],
)
def test_lines(text: str, found: str) -> None:
    assert parse.line(text, 10) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hm. <answer> YES </answer>", True),
        ("Yes, they do.", True),
        ("No.", False),
        ("Yes. But then <answer>no</answer>", False),
        ("They do, yes", False),
        ("Yesterday", False),
        ("", False),
    ],
)
def test_no_verdict_is_no(text: str, found: bool) -> None:
    assert parse.says_yes(text) is found


def test_actions() -> None:
    calls = [call("find_museum", artwork="x <final> y")]
    text = f"Observation: a.\nThought: b.\n<call>{json.dumps(calls)}</call>\nResults: <final>no</final>"
    found = parse.action(text, TOOLS, True)
    assert found.thought == "Observation: a.\nThought: b." and list(found.calls) == calls and not found.final
    assert found.text == text.partition("\nResults")[0]
    assert parse.action("t<call>" + json.dumps(calls[0]), TOOLS, False).calls == tuple(calls)
    assert parse.action("<thought>t</thought><final> yes ", TOOLS, True).final == "yes"
    for body in ("[NaN]", "[", "[" * 5000, "f(x)"):
        with pytest.raises(ValueError, match="calls are not valid JSON"):
            parse.action(f"t<call>{body}</call>", TOOLS, True)


@given(st.text())
def test_any_reply_is_read_or_refused(text: str) -> None:
    for read in (
        lambda: parse.line(text, 9),
        lambda: parse.json_object(text),
        lambda: parse.action(text, TOOLS, True),
        lambda: parse.action(f"t<call>{text}", TOOLS, True),
        lambda: parse.action(f'{text}<call>[{{"name": "find_museum", "arguments": {text}}}]', TOOLS, True),
        lambda: parse.definitions(parse.json_object('{"functions": ' + text + "}").get("functions")),
        lambda: parse.says_yes(text),
    ):
        try:
            read()
        except ValueError as error:
            assert str(error)
