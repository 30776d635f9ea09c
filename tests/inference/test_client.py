"""The chat client against a real server: retries, refusals, unusable bodies, limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chat_server import ChatServer, Script, completion, continuation, failure
from starlette.responses import JSONResponse, Response

from hubwright.hub_sync.errors import UsageError
from hubwright.inference.client import ChatClient, Endpoint
from hubwright.inference.requests import Reply


def ask(server: ChatServer, count: int = 1, **settings: Any) -> list[Reply]:
    async def work() -> list[Reply]:
        endpoint = Endpoint(model="local", base_url=server.url, **settings)
        async with ChatClient(endpoint) as client:
            turns = [[{"role": "user", "content": str(number)}] for number in range(count)]
            return await asyncio.gather(*(client.complete(turn, temperature=0.0, max_tokens=5) for turn in turns))

    return asyncio.run(work())


def test_replies_come_back_in_the_order_of_the_requests() -> None:
    with ChatServer(lambda body, number: f"you said {body['messages'][0]['content']}", delay=0.01) as server:
        replies = ask(server, 20, concurrency=4)
    assert [reply.text for reply in replies] == [f"you said {number}" for number in range(20)]
    assert replies[0].prompt_tokens == 7 and replies[0].completion_tokens == 3 and replies[0].finish_reason == "stop"
    assert server.peak <= 4
    assert server.bodies[0] | {"messages": 0} == {"model": "local", "messages": 0, "temperature": 0.0, "max_tokens": 5}


def test_continue_text_asks_the_route_completions_and_cuts_out_no_thought() -> None:
    async def work(url: str) -> list[Reply]:
        async with ChatClient(Endpoint(model="local", base_url=url)) as client:
            return [await client.continue_text("<s>", max_tokens=9, seed=seed) for seed in (0, 1)]

    texts = ["<think>no</think> so", ""]
    with ChatServer(lambda body, number: continuation(texts[body["seed"]], "length" if number else "stop")) as server:
        one, other = asyncio.run(work(server.url))
    assert (one.text, one.outcome, one.completion_tokens) == (texts[0], "ok", 9) and not one.reasoning
    assert other.outcome == "truncated" and server.bodies[0]["prompt"] == "<s>" and "messages" not in server.bodies[0]


def test_overload_is_waited_out() -> None:
    def script(body: dict[str, Any], number: int) -> str | Response:
        return failure(429, **{"Retry-After": "0.05"}) if number % 3 == 0 else "fine"

    with ChatServer(script) as server:
        replies = ask(server, 12)
    assert {reply.outcome for reply in replies} == {"ok"}
    assert len(server.bodies) > 12


def scripted(bad: Response | None) -> Script:
    def script(body: dict[str, Any], number: int) -> str | Response:
        return bad if bad is not None and body["messages"][0]["content"] == "1" else "fine"

    return script


@pytest.mark.parametrize(
    ("bad", "outcome", "said"),
    [
        (failure(400, "too long"), "failed", "HTTP 400"),
        (failure(500, "broken"), "failed", "HTTP 500"),
        (failure(400, "blocked", "content_filter"), "refused", "blocked"),
        (Response("<html>", media_type="text/html"), "failed", "not JSON"),
        (Response('{"choices": [{"mess', media_type="application/json"), "failed", "not JSON"),
        (Response("null", media_type="application/json"), "failed", "no choice"),
        (Response("[1]", media_type="application/json"), "failed", "no choice"),
        (JSONResponse({"choices": []}), "failed", "no choice"),
        (JSONResponse({"choices": [{"message": "text"}]}), "failed", "no choice"),
        (JSONResponse(completion(None)), "empty", "empty"),
        (JSONResponse(completion("")), "empty", "empty"),
        (JSONResponse(completion(None, refusal="I cannot")), "refused", "I cannot"),
        (JSONResponse(completion("x", finish_reason="content_filter")), "refused", "content_filter"),
    ],
)
def test_one_failure_is_a_value_and_stops_no_other(bad: Response, outcome: str, said: str) -> None:
    with ChatServer(scripted(bad)) as server:
        replies = ask(server, 4, max_retries=1)
    assert [reply.outcome for reply in replies] == ["ok", outcome, "ok", "ok"]
    assert said in replies[1].error and "\n" not in replies[1].error
    assert replies[1].text == ""


@pytest.mark.parametrize(("status", "said"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "no model")])
def test_what_dooms_every_request_is_one_line(status: int, said: str) -> None:
    with ChatServer(lambda body, number: failure(status)) as server, pytest.raises(UsageError, match=said) as caught:
        ask(server)
    assert "\n" not in str(caught.value)


def test_no_server_is_one_line() -> None:
    with ChatServer(scripted(None)) as server:
        pass
    with pytest.raises(UsageError, match="cannot be reached"):
        ask(server, 2, max_retries=0)


def test_a_server_that_never_answers_is_given_up() -> None:
    with ChatServer(scripted(None), delay=1.5) as server:
        replies = ask(server, 2, timeout=0.3, max_retries=1)
    assert {reply.outcome for reply in replies} == {"failed"}
    assert {reply.error for reply in replies} == {"timed out"}


def test_a_key_is_asked_for_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert Endpoint("m", "http://127.0.0.1:1/v1").key() == "none"
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        Endpoint("m").key()
    with pytest.raises(UsageError) as caught:
        Endpoint("m", "https://user:secret@llm.example/v1", api_key_env="NO_SUCH").key()
    assert "secret" not in str(caught.value)
