"""How a phase asks the teacher: every request with a seed of its own, every refusal with a reason that is counted.

A phase is an `async def f(row, config, client) -> changes`, made into a stage's work by `phase`. A row that is turned
down is a result like any other, so that it is not asked again and a replay turns it down as well. A lost connection is
none: it fails the row, which the next run asks again.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from ...hub_sync.errors import RowRejected
from ...hub_sync.json_columns import unstorable
from ...hub_sync.text import utf8
from ...inference.serving import ModelSpec, ServingConfig
from ...inference.stage import RowError

if TYPE_CHECKING:
    from ...inference.client import ChatClient

Row = dict[str, Any]
T = TypeVar("T")
STOP = ("</call>", "</final>")
OWN_TAG = "<thought>"  # of the prompts: what stands in it is part of the row


class TeacherConfig(ServingConfig):
    """Which teacher is asked, and how. Defaults are our choice."""

    teacher: ModelSpec | None = Field(
        None, description="openai:MODEL@BASE_URL; null: the step's input `teacher`, a GGUF repository."
    )
    split: str = Field("train", description="Split of the input `dataset`.")
    attempts: int = Field(3, ge=1, description="Replies to ask for, with a seed each, until one can be used.")
    temperature: float = Field(0.7, ge=0, description="Sampling temperature.")
    max_tokens: int = Field(1024, ge=1, description="New tokens of a reply.")
    seed: int = Field(0, ge=0, description="Part of every request's seed.")
    max_failed: float = Field(
        0.05, ge=0, le=1, description="Share of a phase's rows whose requests may fail in transport."
    )


class PhaseClient:
    """Asks for one row in one phase, and counts the tokens of all replies, recorded ones too.

    Args:
        config: seed, temperature, max_tokens, attempts, json_mode.
        name: of phase and row; makes the seeds, so that no two requests share a random stream.
    """

    def __init__(self, chat: ChatClient, config: Mapping[str, Any], name: str) -> None:
        self.chat, self.config, self.name = chat, config, name
        self.prompt_tokens = self.completion_tokens = 0

    async def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        parse: Callable[[str], T],
        *,
        label: str = "",
        form: str = "text",
        attempts: int | None = None,
    ) -> T:
        """What `parse` makes of the reply, each attempt with another seed.

        Args:
            label: tells this request from the others of the row.
            form: "json" for a reply that is one JSON object, "act" for one that ends with a call or final answer.
            attempts: another number than the config's.

        Raises RowRejected after the last unusable reply, RowError if the endpoint fails.
        """
        config = self.config
        params: dict[str, Any] = {"temperature": config["temperature"], "max_tokens": config["max_tokens"]}
        if form == "json" and config["json_mode"]:
            params["response_format"] = {"type": "json_object"}
        if form == "act":
            params["stop"] = list(STOP)
            params["tags"] = tuple(tag for tag in self.chat.endpoint.reasoning_tags if tag != OWN_TAG)

        error = ""
        for attempt in range(attempts or config["attempts"]):
            seed = seed_of(config["seed"], self.name, label, attempt)
            reply = await self.chat.complete(
                messages, seed=seed, parse=lambda reply: parse(reply.text), settled=True, **params
            )
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
            if why := unstorable(reply.text):
                raise RowRejected(why)
            if reply.ok:
                value: T = reply.value
                return value
            if reply.outcome == "refused":
                raise RowRejected("refused", reply.error)
            if reply.outcome == "failed":
                if reply.final:
                    raise RowRejected(f"HTTP {reply.status}", reply.error)
                raise RowError(reply.error)
            error = reply.error
        raise RowRejected(error.partition(":")[0], error)


def seed_of(*parts: Any) -> int:
    """31 bits that follow from the parts."""
    text = ":".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(utf8(text)).digest()[:4], "big") >> 1


def phase(
    work: Callable[[Row, Mapping[str, Any], PhaseClient], Awaitable[Row]],
) -> Callable[[Row, Mapping[str, Any], ChatClient], Awaitable[Row]]:
    """A stage's work: the row with what `work` adds, or with `rejected`; and `used`, its tokens."""

    @functools.wraps(work)
    async def run(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
        client = PhaseClient(chat, config, f"{work.__name__}:{row['n']}")
        try:
            changes = await work(row, config, client)
        except RowRejected as reason:
            changes = {"rejected": reason.reason, "detail": str(reason)}
        return {**row, **changes, "used": [client.prompt_tokens, client.completion_tokens]}

    return run


async def together(*work: Awaitable[T]) -> list[T | RowRejected]:
    """All of it side by side, to the end; a RowRejected is a result, anything else raises."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    results: list[T | RowRejected] = []
    for one in outcomes:
        if isinstance(one, BaseException) and not isinstance(one, RowRejected):
            raise one
        results.append(one)
    return results
