"""The step `answers` over conversations with calls: what is asked, and what is read back from the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import Body, ChatServer, completion
from column_parts import check_columns
from starlette.responses import JSONResponse

from hubwright.evals.answers.step import AnswersConfig, answer
from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.json_columns import make_dataset

ARGUMENTS: list[Any] = [{"a": 1}, {"a": "x"}, {"a": {"b": [1, "2", None]}, "c": None}, {}, {"a": 1e-12, "d": "5"}]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]


def rows() -> list[dict[str, Any]]:
    return [
        {
            "id": str(number),
            "messages": [
                {"role": "user", "content": f"{number}?"},
                {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": value}}]},
                {"role": "tool", "name": "f", "content": "[]"},
                {"role": "user", "content": "Again."},
            ],
            "tools": TOOLS if number != 3 else [],
        }
        for number, value in enumerate(ARGUMENTS)
    ]  # fmt: skip


def echo(body: Body, number: int) -> JSONResponse:
    """Calls the function again, as a server writes calls; one server in five gives arguments as an object."""
    which = int(body["messages"][0]["content"][0])
    given = ARGUMENTS[which]
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": given if which == 4 else json.dumps(given)},
    }
    return JSONResponse(completion(None, tool_calls=[call], finish_reason="tool_calls"))


RECIPE = """
name: asked
namespace: {namespace}
steps:
  answers:
    uses: answers
    inputs:
      dataset: {namespace}/calls
    with: {{model: 'openai:m@{url}', split: train}}
    publish:
      dataset: answers
      accept_unlicensed: the rows were made here
"""


def test_answers_calls_of_every_type_are_asked_and_read_back_equal(
    hubwright_in_process: Any, api: Any, namespace: str, tmp_path: Path
) -> None:
    import datasets
    from huggingface_hub import snapshot_download

    api.create_repo(f"{namespace}/calls", repo_type="dataset")
    make_dataset(rows()).to_parquet(tmp_path / "rows.parquet")
    api.upload_file(
        path_or_fileobj=tmp_path / "rows.parquet",
        path_in_repo="data/train-00000-of-00001.parquet",
        repo_id=f"{namespace}/calls",
        repo_type="dataset",
    )
    with ChatServer(echo) as server:
        (tmp_path / "asked.yaml").write_text(RECIPE.format(namespace=namespace, url=server.url))
        done = hubwright_in_process("run", "asked.yaml")
        assert done.returncode == 0, done.stderr
        bodies = sorted(server.bodies, key=lambda body: body["messages"][0]["content"])
    for number, (body, value) in enumerate(zip(bodies, ARGUMENTS, strict=True)):
        # OpenAI's reference: arguments are JSON text, and a result names the call it belongs to.
        (call,) = body["messages"][1]["tool_calls"]
        assert call["type"] == "function" and call["function"]["name"] == "f"
        assert json.loads(call["function"]["arguments"]) == value
        assert body["messages"][2] == {"role": "tool", "content": "[]", "tool_call_id": call["id"]}
        assert body.get("tools") == (TOOLS if number != 3 else None)
    folder = snapshot_download(f"{namespace}/answers", repo_type="dataset")
    check_columns("answers", Path(folder))
    found = datasets.load_dataset(folder, split="answers", cache_dir=str(tmp_path / "cache"))
    for before, after in zip(rows(), found, strict=True):
        assert after["messages"] == before["messages"] and after["tools"] == before["tools"]
        (call,) = after["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == ARGUMENTS[int(after["id"])]
        assert after["outcome"] == "ok" and after["answer"] == ""


def ask(tmp_path: Path, made: Any) -> tuple[list[Body], Any]:
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    folder = tmp_path / "calls"
    (folder / "data").mkdir(parents=True)
    made.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    context = StepContext("answers", tmp_path / "work", tmp_path / "out")
    context.inputs["dataset"] = Input(ArtifactRef.parse(f"me/calls@{'a' * 40}", "dataset"), folder)
    with ChatServer(lambda body, number: "Yes.") as server:
        try:
            answer(AnswersConfig(model=f"openai:m@{server.url}", split="train"), context)
        except DataError as error:
            return server.bodies, str(error)
        return server.bodies, None


def test_answers_padding_of_structs_is_not_sent(tmp_path: Path) -> None:
    import datasets

    schema = {"type": "object", "properties": {"city": {"type": "string"}, "town": {"type": "string"}}}
    padded = [{**rows()[0], "tools": json.dumps([{"name": "f", "parameters": schema}])} for _ in range(2)]
    for row, key, name in zip(padded, ("city", "town"), "ab", strict=True):
        row["id"] = name
        row["messages"] = json.loads(json.dumps(row["messages"]))
        row["messages"][1]["tool_calls"][0]["function"]["arguments"] = {key: "Rome"}
    bodies, error = ask(tmp_path, datasets.Dataset.from_list(padded))
    assert error is None
    sent = {body["messages"][1]["tool_calls"][0]["function"]["arguments"] for body in bodies}
    assert sent == {'{"city": "Rome"}', '{"town": "Rome"}'}
    assert bodies[0]["tools"] == [{"type": "function", "function": {"name": "f", "parameters": schema}}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "the last turn is the assistant"),
        ({"messages": [{"role": "", "content": "q"}]}, "a turn has no role"),
        ({"tools": "["}, "tools are not JSON"),
        ({"messages": None}, "null in place of turns"),
    ],
)  # fmt: skip
def test_answers_row_that_cannot_be_asked_is_one_line_before_any_request(
    change: Any, said: str, tmp_path: Path
) -> None:
    bodies, error = ask(tmp_path, make_dataset([rows()[0], rows()[1] | change]))
    assert not bodies and error is not None and said in error and "row 1" in error and "\n" not in error


def test_judge_reads_calls_of_an_answer_without_words() -> None:
    """An answer of calls alone was booked as empty, and never shown to a judge."""
    from hubwright.evals._lib.judging.cases import with_calls
    from hubwright.evals.fbbench.samples import answer_state

    call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    shown = with_calls("", [call])
    assert shown == '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>' and answer_state(shown) == "ok"
    assert with_calls("Wait.", [call, call]).startswith("Wait.\n<tool_call>\n")
    assert with_calls("Wait.", []) == "Wait." and with_calls(None, None) is None and with_calls("", []) == ""
    assert "not JSON" in with_calls("", [call | {"function": {"name": "f", "arguments": "not JSON"}}])
