"""The judge as a stage of its own: stored answers in, verdict lines out, safe to kill and to run again.

A judge is named by one string:

    openai:MODEL@BASE_URL    any OpenAI-compatible endpoint, e.g. openai:gpt-4o-2024-08-06@https://api.openai.com/v1
    replay:PATH or REF       verdicts that were stored before (ours or the official files), for the same answers

The verdict file is append-only while the stage runs: a sample's lines are written in one piece as soon as it is
judged. A run that finds the file goes on where it stopped: it drops a torn last line, keeps what was judged for the
same answer, prompt and judge, and asks again about the rest, failures included. When all is done the file is put in
the order of the answers, so the same replies give the same bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ...hub_sync.errors import DataError, StorageError, UsageError
from ...hub_sync.files import canonical_json, exclusive_lock, write_atomic
from ...inference.client import ChatClient, Endpoint, run_blocking
from ..data import locate
from .prompts import ATTEMPTS, LANGUAGES, PARAMS, judge_messages, parse_verdicts
from .samples import Sample, answer_hash, answer_state
from .verdicts import Judged, VerdictFile, read_verdicts

FINAL = ("complete", "refused", "not_judged")  # states that a later run keeps; "failed" is tried again


class JudgeConfig(BaseModel):
    """Which judge, and how it is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str = Field(description="openai:MODEL@BASE_URL, openai:MODEL, or replay:PATH|org/name@revision.")
    language: str = Field("zh", description="Language of the instructions: zh (as published) or en.")
    concurrency: int = Field(16, ge=1, le=1024, description="Requests in flight (our choice).")
    timeout: float = Field(120.0, gt=0, description="Seconds for one request (our choice).")
    max_retries: int = Field(6, ge=0, description="Retries of a request that failed in transport, 429 or 5xx.")
    attempts: int = Field(
        ATTEMPTS, ge=1, description="Whole attempts per sample until a reply is usable (published: 3)."
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the endpoint's key.")

    @field_validator("judge")
    @classmethod
    def _known_judge(cls, value: str) -> str:
        kind, colon, rest = value.partition(":")
        if not colon or not rest or kind not in ("openai", "replay"):
            raise ValueError(f"judge {value!r} is unknown: write openai:MODEL@BASE_URL or replay:PATH")
        return value

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if value not in LANGUAGES:
            raise ValueError(f"language {value!r} is unknown: use one of {', '.join(LANGUAGES)}")
        return value

    @property
    def replays(self) -> bool:
        """True where stored verdicts are used instead of a model."""
        return self.judge.startswith("replay:")

    @property
    def target(self) -> str:
        """What stands behind the colon."""
        return self.judge.partition(":")[2]

    def endpoint(self) -> Endpoint:
        """The endpoint of an openai judge; a base URL stands behind the last "@" that a URL follows."""
        model, at, url = self.target.partition("@http")
        return Endpoint(
            model=model,
            base_url=f"http{url}" if at else None,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            timeout=self.timeout,
            max_retries=self.max_retries,
        )


def read_judge_config(value: str | Mapping[str, Any]) -> JudgeConfig:
    """A judge as a string or as a mapping of JudgeConfig's fields. Raises UsageError in one line."""
    try:
        return JudgeConfig.model_validate({"judge": value} if isinstance(value, str) else dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "judge"
        raise UsageError(f"judge option {where}: {first['msg'].removeprefix('Value error, ')}") from error


def check_ready(config: JudgeConfig) -> None:
    """Raise now what would stop the judge later: a replay that cannot be read, a key that is not set."""
    if config.replays:
        path, _ = locate(config.target)
        read_verdicts(path)
    else:
        config.endpoint().key()


@dataclass(frozen=True)
class Answer:
    """A sample and what the tested model answered; None where there is no text at all."""

    sample: Sample
    text: str | None


class Judge(Protocol):
    """Gives the verdicts of one answer that is neither empty nor failed."""

    name: str

    def prompt_hash(self, answer: Answer) -> str:
        """What identifies the question asked; verdicts for another question are not used again."""

    async def __call__(self, answer: Answer) -> Judged:
        """The verdicts; state "failed" or "refused" where there are none. Never raises for one answer's failure."""


class ChatJudge:
    """A model behind an OpenAI-compatible endpoint, asked as in `prompts`."""

    def __init__(self, config: JudgeConfig, client: ChatClient) -> None:
        self.config = config
        self.client = client
        self.name = client.endpoint.model

    def prompt_hash(self, answer: Answer) -> str:
        """SHA-256 (16 hex digits) of messages and settings without the answer, which has a hash of its own."""
        asked = judge_messages(answer.sample, "", language=self.config.language)
        return hashlib.sha256(canonical_json([asked, dict(PARAMS)])).hexdigest()[:16]

    async def __call__(self, answer: Answer) -> Judged:
        """Up to `attempts` whole tries until a reply has a verdict on every item."""
        assert answer.text is not None
        items = len(answer.sample.items)
        messages: list[dict[str, Any]] = [
            dict(turn) for turn in judge_messages(answer.sample, answer.text, language=self.config.language)
        ]
        reply = await self.client.complete(
            messages, parse=lambda said: parse_verdicts(said.text, items), attempts=self.config.attempts, **PARAMS
        )
        if reply.ok:
            return self._judged(answer, *reply.value, "complete", reply.attempts)
        state = "refused" if reply.outcome == "refused" else "failed"
        return self._judged(answer, (None,) * items, (reply.error,) * items, state, reply.attempts)

    def _judged(
        self,
        answer: Answer,
        verdicts: tuple[bool | None, ...],
        reasons: tuple[str, ...],
        state: Any,
        attempts: int,
    ) -> Judged:
        return Judged(
            sample=answer.sample,
            verdicts=verdicts,
            state=state,
            answer_sha256=answer_hash(answer.text),
            reasons=reasons,
            judge=self.name,
            prompt_hash=self.prompt_hash(answer),
            attempts=attempts,
        )


class ReplayJudge:
    """Stored verdicts. A sample that is not stored, or was judged for another answer, has a failed verdict."""

    def __init__(self, stored: VerdictFile) -> None:
        self._stored = {one.sample.id: one for one in stored.judged}
        self.name = next((one.judge for one in stored.judged if one.judge), "") or "replay"

    def prompt_hash(self, answer: Answer) -> str:
        """That of the stored verdict."""
        stored = self._stored.get(answer.sample.id)
        return stored.prompt_hash if stored else ""

    async def __call__(self, answer: Answer) -> Judged:
        """The stored verdict on this very answer."""
        size = len(answer.sample.items)
        stored = self._stored.get(answer.sample.id)
        why = ""
        if stored is None:
            why = "no stored verdict for this sample"
        elif stored.answer_sha256 != answer_hash(answer.text):
            why = "the stored verdict is for another answer"
        elif len(stored.verdicts) != size:
            why = f"the stored verdict has {len(stored.verdicts)} items, the row has {size}"
        if stored is None or why:
            return Judged(
                sample=answer.sample,
                verdicts=(None,) * size,
                state="failed",
                answer_sha256=answer_hash(answer.text),
                reasons=(why,) * size,
                judge=self.name,
            )
        return Judged(**{**vars(stored), "sample": answer.sample})


def judge_answers(
    answers: Sequence[Answer],
    config: JudgeConfig,
    *,
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """Judge `answers` and return one entry for each, in order; with `out`, store them and go on where a run stopped.

    Empty and failed answers are not shown to the judge: they are state "not_judged" and score 0.

    Raises:
        UsageError: the endpoint is out of reach, refuses the key or lacks the model; or `out` holds the verdicts of
            another judge or prompt.
        ConflictError: another process writes to `out`.
        DataError: two answers to one sample; no answers; a replay that fits none of the answers.
        StorageError: `out` cannot be written; what is in it already stays.
    """
    if not answers:
        raise DataError("there are no answers to judge")
    ids = [answer.sample.id for answer in answers]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"sample {twice} has two answers; judge one run at a time")
    if config.replays:
        path, _ = locate(config.target)
        stored = read_verdicts(path)
        work = _judge_all(answers, ReplayJudge(stored), out, progress)
    else:
        work = _with_client(answers, config, out, progress)
    try:
        return run_blocking(work)
    except OSError as error:
        if out is None:
            raise
        raise StorageError(f"verdict file {out.name} cannot be written: {error.strerror or error}") from error


async def _with_client(
    answers: Sequence[Answer],
    config: JudgeConfig,
    out: Path | None,
    progress: Callable[[int, int], None] | None,
) -> list[Judged]:
    async with ChatClient(config.endpoint()) as client:
        return await _judge_all(answers, ChatJudge(config, client), out, progress)


async def _judge_all(
    answers: Sequence[Answer],
    judge: Judge,
    out: Path | None,
    progress: Callable[[int, int], None] | None,
) -> list[Judged]:
    total = len(answers)
    with ExitStack() as stack:
        done: dict[str, Judged] = {}
        stream = None
        if out is not None:
            stack.enter_context(exclusive_lock(out.with_name(f".{out.name}.lock"), f"verdict file {out.name}"))
            done = _resume(out, answers, judge)
            stream = stack.enter_context(out.open("a", encoding="utf-8"))

        async def one(answer: Answer) -> None:
            state = answer_state(answer.text)
            if state == "ok":
                judged = await judge(answer)
            else:
                judged = Judged(
                    sample=answer.sample,
                    verdicts=(None,) * len(answer.sample.items),
                    state="not_judged",
                    answer=state,
                    answer_sha256=answer_hash(answer.text),
                    judge=judge.name,
                    prompt_hash=judge.prompt_hash(answer),
                )
            done[answer.sample.id] = judged
            if stream is not None:
                stream.write(_lines(judged, total))
                stream.flush()  # a kill loses nothing that is in the kernel
            if progress:
                progress(len(done), total)

        # A TaskGroup stops the other requests as soon as one raises, which only a hopeless endpoint does.
        try:
            async with asyncio.TaskGroup() as group:
                for answer in answers:
                    if answer.sample.id not in done:
                        group.create_task(one(answer))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        judged = [done[answer.sample.id] for answer in answers]
        if isinstance(judge, ReplayJudge) and all(entry.state == "failed" for entry in judged):
            raise DataError(f"the stored verdicts fit none of the {total} answers: {judged[0].reasons[0]}")
        if out is not None:
            write_atomic(out, "".join(_lines(entry, total) for entry in judged))
    return judged


def _lines(judged: Judged, answers: int) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in judged.rows(answers))


def _resume(out: Path, answers: Sequence[Answer], judge: Judge) -> dict[str, Judged]:
    """What `out` already holds for these answers. Cuts a torn last line off, so that appending starts on a new one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists() or not out.stat().st_size:
        return {}
    data = out.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with out.open("r+b") as stream:
            stream.truncate(whole)
    if not whole:
        return {}
    stored = {one.sample.id: one for one in read_verdicts(out).judged}
    kept = {}
    for answer in answers:
        old = stored.get(answer.sample.id)
        if old is None or old.state not in FINAL or old.answer_sha256 != answer_hash(answer.text):
            continue
        if old.judge != judge.name or old.prompt_hash != judge.prompt_hash(answer):
            changed = "judge" if old.judge != judge.name else "prompt"
            now, before = (
                (judge.name, old.judge) if changed == "judge" else (judge.prompt_hash(answer), old.prompt_hash)
            )
            raise UsageError(
                f"{out.name} holds verdicts of another {changed} ({before!r}, now {now!r}); write to another file, or "
                "delete this one to judge again"
            )
        kept[answer.sample.id] = old
    return kept
