"""A real HTTP server on the loopback that speaks the chat completions protocol, with scripted replies."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Body = dict[str, Any]
Script = Callable[
    [Body, int], str | Response
]  # (request body, number of the request from 0) -> text or whole response


_NUMBERS = itertools.count(1)


def completion(text: str | None, **message: Any) -> Body:
    """The body of a chat completion."""
    finish = message.pop("finish_reason", "stop")
    return {
        "id": f"chatcmpl-{next(_NUMBERS)}",  # as real servers do: no two answers have one
        "object": "chat.completion",
        "created": 0,
        "model": "local",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def continuation(text: str, finish_reason: str = "length", tokens: int = 9) -> Response:
    """A completion of the route `completions`."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
    return JSONResponse(
        {"id": f"cmpl-{next(_NUMBERS)}", "object": "text_completion", "choices": [choice], "usage": usage}
    )


def failure(status: int, message: str = "scripted", code: str | None = None, **headers: str) -> Response:
    """An error in the form of the protocol."""
    return JSONResponse({"error": {"message": message, "code": code}}, status, headers)


def verdict_items(body: Body) -> dict[str, dict[str, str]]:
    """The skeleton of the judge's reply, which is the last line of our prompt."""
    return json.loads(body["messages"][-1]["content"].rsplit("\n", 1)[-1])


def all_yes(body: Body, number: int) -> str:
    """A judge that finds every item met."""
    return json.dumps({key: {"理由": "符合", "结论": "是"} for key in verdict_items(body)}, ensure_ascii=False)


def likely_tokens(tokens: dict[str, float], said: str | None = None) -> Response:
    """One generated token with its alternatives: token -> probability."""
    text = max(tokens, key=lambda token: tokens[token]) if said is None else said
    body = completion(text, finish_reason="length")
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in tokens.items()]
    body["choices"][0]["logprobs"] = {"content": [{"token": text, "logprob": top[0]["logprob"], "top_logprobs": top}]}
    return JSONResponse(body)


class ChatServer:
    """`with ChatServer(script) as server: server.url`; `bodies` keeps every request, `peak` the most at once."""

    def __init__(self, script: Script, delay: float = 0.0) -> None:
        self.script, self.delay = script, delay
        self.bodies: list[Body] = []
        self.peak = self._running = 0
        paths = ("/v1/chat/completions", "/v1/completions")
        app = Starlette(routes=[Route(path, self._answer, methods=["POST"]) for path in paths])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body)
        self._running += 1
        self.peak = max(self.peak, self._running)
        try:
            await asyncio.sleep(self.delay)
            said = self.script(body, number)
        finally:
            self._running -= 1
        return said if isinstance(said, Response) else JSONResponse(completion(said))

    def __enter__(self) -> ChatServer:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
