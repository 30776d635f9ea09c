"""Replies as the servers in use shape them, read into five states; the client against a real server that sends them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, completion, failure
from starlette.responses import JSONResponse, Response

from hubwright.hub_sync.errors import UsageError
from hubwright.inference.client import ChatClient, Endpoint
from hubwright.inference.replies import read_error
from hubwright.inference.requests import Reply
from hubwright.inference.store import RecordingStore

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def body(content: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return completion(content, **message) | {
        "choices": [{"finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}]
    }


@pytest.mark.parametrize(
    ("said", "outcome", "text", "reasoning"),
    [
        # llama.cpp and DeepSeek; vLLM and OpenRouter; Mistral; a template that opened the thought.
        (body("4", reasoning_content="2 + 2"), "ok", "4", "2 + 2"),
        (body("4", reasoning="2 + 2"), "ok", "4", "2 + 2"),
        (
            body([
                {"type": "thinking", "thinking": [{"type": "text", "text": "2 + 2"}]},
                {"type": "text", "text": "4"},
            ]),
            "ok",
            "4",
            "2 + 2",
        ),
        (body("2 + 2\n</think>\n\n4"), "ok", "4", "2 + 2"),
        (body([{"type": "text", "text": "4"}, {"type": "output_text", "text": "2"}]), "ok", "42", ""),
        (body([{"type": "image_url", "image_url": {"url": "x"}}]), "empty", "", ""),
        (body(None, tool_calls=[CALL]), "ok", "", ""),
        (body("", function_call=CALL["function"]), "ok", "", ""),
        (body("<think>call add</think>", tool_calls=[CALL]), "ok", "", "call add"),
        (body(None), "empty", "", ""),
        (body(" \n"), "empty", " \n", ""),
        (body(None, reasoning_content="2 + 2"), "empty", "", "2 + 2"),
        (body("<think>2 + 2</think>\n"), "empty", "", "2 + 2"),
        (body("<think>2 + 2"), "empty", "", "2 + 2"),
        (body("<think>2 + 2", "length"), "truncated", "", "2 + 2"),
        (body(None, "length", reasoning_content="2 + 2"), "truncated", "", "2 + 2"),
        (body("[THINK]2 + 2", "model_length"), "truncated", "", "2 + 2"),
        (body([{"type": "refusal", "refusal": "I cannot"}]), "refused", "", ""),
        (body("par", "content_filter"), "refused", "", ""),
        (body("par", "error"), "failed", "", ""),
        (body("par", "abort"), "failed", "", ""),
        (body("par", "network_error"), "failed", "", ""),
        (body("par", "timeout"), "failed", "", ""),
        (body("par", "sensitive"), "refused", "", ""),
        (body(None, "SAFETY"), "refused", "", ""),
        (body(None, "content_filter: PROHIBITED_CONTENT"), "refused", "", ""),
        (body("", "refusal"), "refused", "", ""),
        (body("<think>2 + 2", "MAX_TOKENS"), "truncated", "", "2 + 2"),
        (body("4", "STOP"), "ok", "4", ""),
        (body("4", "end_turn"), "ok", "4", ""),
        (body("4", "eos_token"), "ok", "4", ""),
        (body("4", None), "ok", "4", ""),
        ({"choices": []}, "failed", "", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_truncated", [True, False])
def test_settle_shapes_of_servers_are_one_of_five_states(
    said: dict[str, Any], outcome: str, text: str, reasoning: str, allow_truncated: bool
) -> None:
    from hubwright.inference.replies import read_reply, settle

    found = settle(read_reply(said, allow_truncated=allow_truncated))
    assert (found.outcome, found.text, found.reasoning) == (outcome, text, reasoning)
    assert bool(found.error) == (outcome != "ok") and "\n" not in found.error


def test_settle_cut_answer_is_one_where_that_is_allowed() -> None:
    from hubwright.inference.replies import read_reply, settle

    found = body("<think>2 + 2</think>4 is", "length")
    assert settle(read_reply(found, allow_truncated=True)).outcome == "ok"
    assert settle(read_reply(found)) == settle(read_reply(found))
    assert settle(read_reply(found)).outcome == "truncated" and settle(read_reply(found)).text == "4 is"


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        # OpenRouter: at the top or in the choice, codes are numbers; vLLM and SGLang: the whole body; OpenAI: words.
        (
            {"error": {"code": 502, "message": "Provider returned error", "metadata": {}}},
            502,
            "Provider returned error",
        ),
        ({"choices": [{"error": {"code": 429, "message": "slow"}, "finish_reason": "error"}]}, 429, "slow"),
        ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, 400, "too long"),
        ({"error": {"message": "m", "type": "server_error", "param": None, "code": None}}, 500, "m"),
        ({"error": {"message": "m", "type": "x", "code": "rate_limit_exceeded"}}, 429, "m"),
        ({"error": {"code": 500, "message": "m", "type": "server_error"}}, 500, "m"),  # llama.cpp
        ({"error": {"code": "77", "message": "m"}}, 0, "m"),
        ({"error": "model is loading"}, 0, "model is loading"),
    ],
)
def test_error_within_keeps_code_and_words(said: dict[str, Any], status: int, words: str) -> None:
    from hubwright.inference.replies import error_within

    found = error_within(said)
    assert found is not None and (found.status, found.message) == (status, words)


def test_error_within_null_is_none() -> None:
    from hubwright.inference.replies import error_within

    assert error_within(body("4") | {"error": None}) is None and error_within([]) is None


def ask(server: ChatServer, count: int = 1, store: RecordingStore | None = None, **settings: Any) -> list[Reply]:
    params = settings.pop("params", {"temperature": 0.0, "max_tokens": 5})

    async def work() -> list[Reply]:
        endpoint = Endpoint(**{"model": "local", "base_url": server.url, "max_retries": 2, **settings})
        async with ChatClient(endpoint, store=store) as client:
            return [
                await client.complete([{"role": "user", "content": str(number)}], **params) for number in range(count)
            ]

    return asyncio.run(work())


def once(bad: Any) -> Any:
    """The first try of every request gets `bad`."""
    seen: set[str] = set()

    def script(asked: dict[str, Any], number: int) -> str | Response:
        said = asked["messages"][0]["content"]
        if said in seen:
            return "fine"
        seen.add(said)
        return JSONResponse(bad)

    return script


@pytest.mark.parametrize(
    "bad",
    [
        {"error": {"code": 429, "message": "slow", "metadata": {"headers": {"Retry-After": "0.01"}}}},
        {"error": {"code": 502, "message": "gone"}},
        body("par", "error"),
        {"choices": []},
    ],
)
def test_complete_error_within_200_is_tried_again_as_its_status_would_be(bad: dict[str, Any]) -> None:
    with ChatServer(once(bad)) as server:
        (reply,) = ask(server)
    assert reply.ok and reply.text == "fine" and len(server.bodies) == 2


@pytest.mark.parametrize(
    ("code", "tries", "said"),
    [(400, 1, "HTTP 400 within HTTP 200: no"), (500, 3, "HTTP 500 within HTTP 200: no"), ("odd", 3, "error odd")],
)
def test_complete_error_within_200_ends_as_its_status_would(code: Any, tries: int, said: str) -> None:
    with ChatServer(lambda asked, number: JSONResponse({"error": {"code": code, "message": "no"}})) as server:
        (reply,) = ask(server)
    assert reply.outcome == "failed" and said in reply.error and len(server.bodies) == tries
    assert reply.final == (code == 400)


def test_complete_error_within_200_about_the_key_stops_all() -> None:
    with (
        ChatServer(lambda asked, number: JSONResponse({"error": {"code": 401, "message": "no"}})) as server,
        pytest.raises(UsageError, match="refused the key"),
    ):
        ask(server)


def test_complete_retries_are_as_many_as_set() -> None:
    """Kills the mutant that tries once more."""
    with ChatServer(lambda asked, number: failure(500)) as server:
        (reply,) = ask(server, max_retries=2)
    assert reply.outcome == "failed" and len(server.bodies) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_complete_refusal_after_a_success_is_that_requests_own(status: int) -> None:
    """Kills the mutant that ends the run over a 401 that comes after a success."""
    with ChatServer(lambda asked, number: failure(status) if number == 1 else "fine") as server:
        replies = ask(server, 3)
    assert [reply.outcome for reply in replies] == ["ok", "failed", "ok"] and replies[1].status == status
    assert replies[1].final


@pytest.mark.parametrize("first", [{"choices": []}, {"error": {"code": 500, "message": "m"}}, body("par", "error")])
def test_complete_key_refused_after_a_failure_within_200_stops_all(first: dict[str, Any]) -> None:
    """Such a reply is no success: it says nothing of the key."""
    with (
        ChatServer(lambda asked, number: failure(401) if number else JSONResponse(first)) as server,
        pytest.raises(UsageError, match="refused the key"),
    ):
        ask(server, 2)


def test_complete_thought_is_in_the_record_and_not_in_the_text(tmp_path: Path) -> None:
    whole = "<think>draft</think>answer"
    with (
        ChatServer(lambda asked, number: [whole, "<think>only"][number % 2]) as server,
        RecordingStore(tmp_path) as store,
    ):
        replies = ask(server, 2, store)
        assert [r.outcome for r in replies] == ["ok", "empty"] and replies[0].text == "answer"
        assert replies[0].reasoning == "draft"
        records = {r["reply"]["text"]: r for r in store.records()}
        assert set(records) == {whole, "<think>only"}
        assert records["<think>only"]["reply"]["outcome"] == "empty" and not records["<think>only"]["usable"]
        again = ask(server, 1, store)
    assert again[0] == replies[0] and again[0].recorded and len(server.bodies) == 2


def test_complete_reasoning_field_is_recorded_and_replayed(tmp_path: Path) -> None:
    with ChatServer(lambda asked, number: JSONResponse(body("4", reasoning="2 + 2"))) as server:
        with RecordingStore(tmp_path) as store:
            (first,) = ask(server, 1, store)
        with RecordingStore(tmp_path) as store:
            (again,) = ask(server, 1, store)
    assert first == again and again.reasoning == "2 + 2" and len(server.bodies) == 1


def test_complete_max_completion_tokens_and_no_temperature_are_sent_where_set(tmp_path: Path) -> None:
    """OpenAI's reasoning models refuse `max_tokens`, and every temperature but their own."""

    def script(asked: dict[str, Any], number: int) -> str | Response:
        for name, use in (
            ("max_tokens", "Use 'max_completion_tokens' instead."),
            ("temperature", "Only 1 is supported."),
        ):
            if name in asked:
                error = {"message": f"Unsupported parameter: '{name}' is not supported. {use}", "param": name}
                return JSONResponse({"error": error | {"type": "invalid_request_error", "code": "unsupported"}}, 400)
        return "fine"

    with ChatServer(script) as server:
        with pytest.raises(UsageError, match="set token_limit: max_completion_tokens") as caught:
            ask(server)
        assert "\n" not in str(caught.value)
        with pytest.raises(UsageError, match="set send_temperature: false"):
            ask(server, token_limit="max_completion_tokens")
        settings = {"token_limit": "max_completion_tokens", "send_temperature": False}
        with RecordingStore(tmp_path) as store:
            (reply,) = ask(server, 1, store, **settings)
            (record,) = store.records()
        assert reply.ok and record["request"].keys() == {"messages", "max_completion_tokens"}
    assert server.bodies[-1].keys() == {"model", "messages", "max_completion_tokens"}


def test_complete_half_a_surrogate_pair_is_replaced_in_the_text_and_kept_in_the_record(tmp_path: Path) -> None:
    raw = json.dumps(body("a\ud83d b\ud83d\ude00")).encode("ascii")
    with ChatServer(lambda asked, number: Response(raw, media_type="application/json")) as server:
        with RecordingStore(tmp_path) as store:
            (reply,) = ask(server, 1, store)
        with RecordingStore(tmp_path) as store:
            (again,) = ask(server, 1, store)
            (record,) = store.records()
    assert reply.text == again.text == "a\ufffd b\U0001f600" and record["reply"]["text"].startswith("a\ud83d")


def test_stage_shards_of_another_manner_are_not_gone_on_from(tmp_path: Path) -> None:
    """Read with other tags, the same recorded replies are other answers."""
    from stage_work import numbered, stage

    with ChatServer(lambda asked, number: "<plan>a</plan>b") as server:
        first = stage(server.url, tmp_path / "one", numbered(2), recording=tmp_path / "recording")
        with pytest.raises(UsageError, match="another reasoning_tags"):
            stage(server.url, tmp_path / "one", numbered(2), endpoint={"reasoning_tags": ("<plan>",)})
        found = stage(
            server.url,
            tmp_path / "two",
            numbered(2),
            recording=tmp_path / "recording",
            endpoint={"reasoning_tags": ("<plan>",)},
        )
    assert [row["text"] for row in first.rows] == ["<plan>a</plan>b"] * 2
    assert [row["text"] for row in found.rows] == ["b"] * 2 and len(server.bodies) == 2


def test_read_error_of_gateways_keeps_the_code_inside() -> None:
    """Azure's content filter says it in `innererror` alone; Gemini's OpenAI gateway wraps its error in a list."""
    azure = {"error": {"code": None, "type": None, "message": "filtered", "param": "prompt",
                       "innererror": {"code": "ResponsibleAIPolicyViolation"}}}  # fmt: skip
    assert read_error(400, json.dumps(azure).encode()).code == "content_filter"
    listed = [{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}]
    found = read_error(429, json.dumps(listed).encode())
    assert (found.status, found.code, found.message) == (429, "429", "slow down")
