"""The same samples and labels from a server: work of `inference.stage.run_stage`, one row after another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...inference.replies import is_cut
from ...inference.stage import RowError
from .._lib.teacher import seed_of
from .judges import first_token_label, judge_prompt

if TYPE_CHECKING:
    from ...inference.client import ChatClient
    from ...inference.requests import Reply

Row = dict[str, Any]
TOP_LOGPROBS = 20  # the most that the protocol allows


async def sample(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """{"text", "tokens", "finished"} of a sample; row {"n"}, config {"prompt", "sampling", "seed"}.

    `sampling` names top_k and min_p too: llama.cpp cuts the distribution unless they are 0.
    """
    reply = await chat.continue_text(config["prompt"], seed=seed_of(config["seed"], row["n"]), **config["sampling"])
    if reply.outcome in ("failed", "refused"):
        raise RowError(reply.error, final=reply.final)
    text = reply.text.strip()
    return {"text": text, "tokens": reply.completion_tokens, "finished": not is_cut(reply.finish_reason)}


async def judge(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """What `LabelJudge.read` returns, by the likeliest first tokens alone; config {"domains", "generate"}.

    A token counts for the one label that it begins; a label whose tokens are not among the likeliest has log
    probability None.
    """
    labels, messages = (
        list(config["domains"]),
        [{"role": "user", "content": judge_prompt(row["text"], config["domains"])}],
    )
    reply = await chat.complete(
        messages, temperature=0.0, max_tokens=1, logprobs=True, top_logprobs=TOP_LOGPROBS, allow_truncated=True,
        settled=True,
    )  # fmt: skip
    if not reply.logprobs:
        raise RowError(reply.error or "the server gave no logprobs: serve the judge with them", final=reply.ok)
    tokens = _likeliest(reply)
    held = dict.fromkeys(labels, 0.0)
    for token, logp in tokens:
        if (label := first_token_label(token, labels)) is not None:
            held[label] += math.exp(min(0.0, logp))
    answer = None
    if config["generate"]:
        answer = (await chat.complete(messages, temperature=0.0, max_tokens=16, settled=True)).text
    return {
        "logp": [math.log(p) if p > 0 else None for p in held.values()],
        "on_label": bool(tokens) and first_token_label(tokens[0][0], labels) is not None,
        "answer": answer,
    }


def _likeliest(reply: Reply) -> list[tuple[str, float]]:
    """(token, log-probability in nats) of the first place, the likeliest first."""
    first = reply.logprobs[0]
    listed = first.get("top_logprobs") or [first]
    pairs = [(str(one.get("token", "")), one.get("logprob")) for one in listed if isinstance(one, Mapping)]
    valid = [(token, float(p)) for token, p in pairs if isinstance(p, int | float) and not math.isnan(p)]
    return sorted(valid, key=lambda pair: -pair[1])
