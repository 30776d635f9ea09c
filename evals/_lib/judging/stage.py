"""Judging as a stage: cases in, verdict rows out; a restart asks only what was not answered."""

import asyncio
import contextlib
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ....hub_sync.errors import DataError
from ....hub_sync.files import canonical_json
from ....inference.budget import Usage
from ....inference.client import ChatClient
from ....inference.endpoint import Endpoint
from ....inference.requests import Reply, request_key
from ....inference.row_file import RowFile
from ....inference.serving import ServingConfig
from .cases import Case, ItemVerdict, JudgeInfo, Row, decided_rows, read_case, verdict_rows
from .prompts import (
    TOP_LOGPROBS,
    VerdictError,
    logprob_messages,
    parse_verdicts,
    read_logprobs,
    read_verdicts,
    reply_schema,
    text_messages,
)


class AskConfig(ServingConfig):
    """How a judge is asked."""

    method: Literal["text", "logprob"] = Field(
        "text", description="text: one reply with all verdicts, as published; logprob: a token's probability per item."
    )
    language: Literal["zh", "en"] = Field("zh", description="Language of the instructions: zh (as published) or en.")
    prompt: Literal["published", "brief"] = Field(
        "published", description="published: the published protocol; brief: no reasons, for small judges (ours)."
    )
    order: Literal["forward", "reversed"] = Field(
        "forward", description="Order in which a text prompt lists the items; reversed checks for a position bias."
    )
    json_schema: bool = Field(False, description="text: ask for the form by JSON Schema instead of JSON mode.")
    threshold: float = Field(0.5, gt=0, lt=1, description="logprob: least probability of yes for an item to be met.")
    min_mass: float = Field(
        0.5,
        ge=0,
        le=1,
        description="logprob: an item is unparsable if yes and no hold less than this of the first token's "
        "probability (our choice).",
    )
    max_tokens: int = Field(4096, ge=1, description="text: length of a reply in tokens (published: 4096).")
    attempts: int = Field(3, ge=1, description="Attempts until a reply has a verdict on every item (published: 3).")

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        only = {"logprob": ("threshold", "min_mass"), "text": ("order", "json_schema", "max_tokens")}
        for method, names in only.items():
            changed = [n for n in names if getattr(self, n) != type(self).model_fields[n].default]
            if method != self.method and changed:
                raise ValueError(f"{changed[0]} does nothing with method {self.method}: leave it out")
        return self

    def question(self) -> dict[str, Any]:
        """The settings that decide what is asked and how the reply is read, as JSON."""
        return {name: getattr(self, name) for name in AskConfig.model_fields if name not in ServingConfig.model_fields}


@dataclass(frozen=True)
class Judging:
    """Verdict rows, on the disk, in the order of the cases, and what the judge was used for in this run."""

    rows: Sequence[Row]
    usage: Usage


def requests_of(case: Case, answer: str, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The requests for one case without their model: one for `text`, one per item for `logprob`."""
    how = {"language": config["language"], "prompt": config["prompt"]}
    if config["method"] == "logprob":
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return [{"messages": logprob_messages(case, answer, item, **how), **params} for item in case.items]
    form: dict[str, Any] = {"type": "json_object"}
    if config["json_schema"]:
        form = reply_schema(len(case.items), config["language"], config["prompt"])
    messages = text_messages(case, answer, **how, reverse=config["order"] == "reversed")
    params = {"temperature": 0.0, "max_tokens": config["max_tokens"], "response_format": form}
    return [{"messages": messages, **params}]


def prompt_hash(case: Case, config: Mapping[str, Any]) -> str:
    """SHA-256 (16 hex digits) of the requests without the answer, and of a logprob's threshold and least mass."""
    requests = requests_of(case, "", config)
    params = {name: value for name, value in requests[0].items() if name != "messages"}
    content = [requests[0]["messages"], params]
    if config["method"] == "logprob":
        content = [[one["messages"] for one in requests], params, config["threshold"], config["min_mass"]]
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]


async def judge_row(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """The stage's work: {"verdicts": [[met, reason, p_yes, mass] per item], "state", "attempts"} of one case."""
    case = read_case(row)
    requests = requests_of(case, row["answer"], config)
    ask = _logprob if config["method"] == "logprob" else _text
    verdicts, state, attempts = await ask(case, requests, config, chat)
    rows = [[one.met, one.reason, one.p_yes, one.mass] for one in verdicts]
    return {"verdicts": rows, "state": state, "attempts": attempts}


async def _text(
    case: Case, requests: list[dict[str, Any]], config: Mapping[str, Any], chat: ChatClient
) -> tuple[list[ItemVerdict], str, int]:
    items, reasons = len(case.items), config["prompt"] == "published"

    def parse(reply: Reply) -> list[ItemVerdict]:
        return parse_verdicts(reply.text, items, reasons=reasons)

    reply = await chat.complete(**requests[0], parse=parse, attempts=config["attempts"])
    state, verdicts = "complete", reply.value
    if not reply.ok:
        state = "refused" if reply.outcome == "refused" else "failed"
        verdicts = [ItemVerdict(None, reply.error)] * items
        if reply.outcome == "invalid":  # the last reply may still hold verdicts on some of the items
            with contextlib.suppress(VerdictError):
                verdicts = read_verdicts(reply.text, items, reasons=reasons)
    if config["order"] == "reversed":
        verdicts = verdicts[::-1]
    return verdicts, state, reply.attempts


async def _logprob(
    case: Case, requests: list[dict[str, Any]], config: Mapping[str, Any], chat: ChatClient
) -> tuple[list[ItemVerdict], str, int]:
    # All items of a case are asked for at once, so that they stand side by side in the server's queue and share its
    # prompt cache; one behind the other they would take turns with other cases.
    replies = await asyncio.gather(
        *(chat.complete(**request, attempts=config["attempts"], allow_truncated=True) for request in requests)
    )
    attempts = max(reply.attempts for reply in replies)
    if any(reply.outcome == "refused" for reply in replies):
        why = next(reply.error for reply in replies if reply.outcome == "refused")
        return [ItemVerdict(None, why)] * len(requests), "refused", attempts
    verdicts = [_logprob_verdict(reply, config) for reply in replies]
    return verdicts, "failed" if any(one.met is None for one in verdicts) else "complete", attempts


def _logprob_verdict(reply: Reply, config: Mapping[str, Any]) -> ItemVerdict:
    if not reply.ok and not reply.logprobs:
        return ItemVerdict(None, reply.error)
    reading = read_logprobs(reply.logprobs)
    if reading.mass is None:
        return ItemVerdict(None, "the server gave no logprobs")
    mass = round(reading.mass, 6)
    if reading.p_yes is None:
        return ItemVerdict(None, "neither yes nor no is among the likely tokens", None, mass)
    if reading.mass < config["min_mass"]:
        why = f"yes and no hold {mass:g} of the first token's probability, less than min_mass {config['min_mass']:g}"
        return ItemVerdict(None, why, None, mass)  # no p_yes, which readers would turn into a verdict
    return ItemVerdict(reading.p_yes >= config["threshold"], "", round(reading.p_yes, 6), mass)


def judge_cases(
    cases: Sequence[Case],
    config: AskConfig,
    endpoint: Endpoint,
    *,
    recording: Path,
    replay: bool = False,
    finished: Mapping[str, list[Row]] | None = None,
    probe: bool = True,
) -> Judging:
    """Verdict rows of cases. Raises what `inference.stage.run_stage` raises; one case's failure is a state of its
    rows.

    Args:
        recording: folder of the recorded requests and answers; what is in it is not asked again.
        replay: answer from `recording` alone.
        finished: rows by case id that stay as they are.
        probe: stop if none of the first cases gets a verdict.
    """
    from ....inference.stage import run_stage

    finished = finished or {}
    question, by = config.question(), JudgeInfo(endpoint.model, endpoint.revision, config.method, config.language)
    fields = ("id", "messages", "answer", "items", "weights")

    def pending(case: Case) -> bool:
        return case.answer_state == "ok" and case.decided is None and case.id not in finished

    def verdicts(outcomes: Iterator[Any]) -> Iterator[Row]:
        for case in cases:
            if case.answer_state == "ok" and case.decided is not None:
                yield from decided_rows(case, by, len(cases))
                continue
            if case.id in finished:
                yield from ({**row, "answers": len(cases)} for row in finished[case.id])
                continue
            outcome: Row = {"verdicts": [], "state": "not_judged", "attempts": 0}
            if pending(case):
                outcome = next(outcomes)
            yield from verdict_rows(
                case,
                [ItemVerdict(*one) for one in outcome["verdicts"]],
                by,
                state=outcome["state"],
                attempts=outcome["attempts"],
                prompt_hash=prompt_hash(case, question),
                answers=len(cases),
            )

    # A restart resumes from the record; shards beside it would only pin failures that are to be retried.
    with tempfile.TemporaryDirectory(prefix="hubwright-judge-") as name:
        folder = Path(name)
        rows = RowFile(folder, ({name: getattr(case, name) for name in fields} for case in cases if pending(case)))
        if not len(rows):
            return Judging(RowFile(folder, verdicts(iter(()))), Usage())
        result = run_stage(
            f"{__name__}:judge_row",
            rows,
            question,
            endpoint=endpoint,
            folder=folder,
            recording=recording,
            replay=replay,
            unusable=_unusable if probe else None,
            **config.scale(),
        )
        return Judging(RowFile(folder, verdicts(iter(result))), result.usage)


def _unusable(row: Row) -> str:
    """The reason of a case's first item without a verdict, if the case failed; else ""."""
    reasons = [reason or "no verdict" for met, reason, *_ in row["verdicts"] if met is None]
    return reasons[0] if row["state"] == "failed" and reasons else ""


def recording_keys(cases: Sequence[Case], config: AskConfig, endpoint: Endpoint) -> Iterator[str]:
    """The keys under which the record holds all answers that judging these cases can have asked for."""
    for case in cases:
        if case.answer_state == "ok" and case.decided is None:
            for body in requests_of(case, str(case.answer), config.question()):
                for attempt in range(config.attempts):
                    yield request_key(endpoint.model, endpoint.revision, endpoint.request(body), attempt)


def check_cases(cases: Sequence[Case]) -> None:
    """Raise DataError for no case, two cases of one id, or a conversation that is not plain text."""
    if not cases:
        raise DataError("there are no answers to judge")
    if repeated := [name for name, count in Counter(case.id for case in cases).items() if count > 1]:
        raise DataError(f"sample {repeated[0]} has two answers; judge one run at a time")
    for case in cases:
        if not case.items:
            raise DataError(f"sample {case.id} has no checklist item")
        if not all(isinstance(turn["content"], str) for turn in case.messages):
            raise DataError(f"sample {case.id}: a judge reads text; its conversation has other parts")
