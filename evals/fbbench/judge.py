"""FB-Bench's answers before a judge: samples become cases of `evals._lib.judging`, verdict rows become judged samples.

A judge is named by one string:

    openai:MODEL@BASE_URL            any OpenAI-compatible endpoint
    embedded:ORG/NAME[@REV][#FILE]   a GGUF repository of the hub, resolved to a commit and served on the loopback
    replay:PATH or REF               verdicts that were stored before (ours or the official files), same answers

The verdict file is written whole, at the end, in the order of the answers; until then the record of the judge's
replies beside it (`OUT.traffic`) is what a killed run goes on from. A finished file is not judged again: what it holds
for the same answer, judge and prompt stays, and its failures alone are asked about once more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from ...hub_sync.errors import DataError, StorageError, UsageError
from ...hub_sync.files import exclusive_lock, write_atomic
from ...inference.served import Served, check_spec, embedded_ref, remote_endpoint, serve
from .._lib.data import locate
from .._lib.judging.cases import Case, Row, lines
from .._lib.judging.stage import AskConfig, check_cases, judge_cases, prompt_hash
from .samples import AnswerState, Sample, answer_hash, answer_state
from .verdicts import Judged, VerdictFile, collect, read_verdicts

FINAL = ("complete", "refused", "not_judged")  # states that a later run keeps; "failed" is tried again


class JudgeConfig(AskConfig):
    """Which judge, and how it is asked."""

    judge: str = Field(
        description="openai:MODEL@BASE_URL, embedded:ORG/NAME[@REV][#FILE.gguf], or replay:PATH|org/name@revision."
    )

    @field_validator("judge")
    @classmethod
    def _known_judge(cls, value: str) -> str:
        kind, colon, rest = value.partition(":")
        return value if kind == "replay" and colon and rest else check_spec(value)

    @property
    def replays(self) -> bool:
        """True where stored verdicts are used instead of a model."""
        return self.judge.startswith("replay:")


def read_judge_config(value: str | Mapping[str, Any]) -> JudgeConfig:
    """A judge as a string or as a mapping of JudgeConfig's fields. Raises UsageError in one line."""
    try:
        return JudgeConfig.model_validate({"judge": value} if isinstance(value, str) else dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "judge"
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "literal_error":
            said = f"{first['input']!r} is unknown: use one of {', '.join(_allowed(first))}"
        raise UsageError(f"judge option {where}: {said}") from error


def _allowed(error: Any) -> list[str]:
    return [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]


def check_ready(config: JudgeConfig) -> None:
    """Raise now what would stop the judge later: an unreadable replay, a key that is not set, no such model."""
    kind, _, target = config.judge.partition(":")
    if kind == "replay":
        read_verdicts(locate(target)[0])
    elif kind == "openai":
        remote_endpoint(config.judge, config).key()
    else:
        embedded_ref(config.judge)[0].resolve()


@dataclass(frozen=True)
class Answer:
    """A sample and what the tested model answered; None where there is no text at all.

    Attributes:
        state: set where the answer's own record tells it (a refusal); None: told from the text.
    """

    sample: Sample
    text: str | None
    state: AnswerState | None = None

    def case(self) -> Case:
        """The same for a judge. FB-Bench's columns of a verdict row are the labels."""
        return self.sample.case(self.text, self.state or answer_state(self.text))


def judge_answers(
    answers: Sequence[Answer],
    config: JudgeConfig,
    *,
    out: Path | None = None,
    traffic: Path | None = None,
    replay: bool = False,
) -> list[Judged]:
    """Judge `answers` and return one entry for each, in order.

    Args:
        out: verdict file, JSON lines, written whole at the end.
        traffic: folder of the recorded replies, what a killed run goes on from; None: OUT.traffic beside `out`, or
            nothing that lasts.
        replay: ask no judge; what is not in `traffic` is an error.

    Raises:
        UsageError: the judge cannot be reached at all, refuses the key or is unknown; `out` holds verdicts of
            another judge or prompt.
        ConflictError: another process writes to `out`.
        DataError: two answers to one sample; no answers; a replay that fits none of the answers, or lacks a record.
        StorageError: `out` or `traffic` cannot be written; what is in them already stays.
    """
    cases = [answer.case() for answer in answers]
    check_cases(cases)
    with ExitStack() as resources:
        if out is not None:
            try:
                out.parent.mkdir(parents=True, exist_ok=True)
                lock = exclusive_lock(out.with_name(f".{out.name}.lock"), f"verdict file {out.name}")
                resources.enter_context(lock)
            except OSError as error:
                raise _unwritable(out, error) from error
        if config.replays:
            rows = _replayed(answers, read_verdicts(locate(config.judge.partition(":")[2])[0]))
        else:
            if traffic is None:
                temporary = resources.enter_context(tempfile.TemporaryDirectory(prefix="hubwright-judge-"))
                traffic = out.with_name(f"{out.name}.traffic") if out is not None else Path(temporary)
            served = serve(config.judge, config, resources, replay=replay)
            kept = _finished(out, cases, config, served) if out is not None else {}
            rows = judge_cases(cases, config, served, traffic=traffic, replay=replay, kept=kept).rows
        if out is not None:
            try:
                write_atomic(out, lines(rows))
            except OSError as error:
                raise _unwritable(out, error) from error
    judged = collect(rows)
    return [replace(one, sample=answer.sample) for one, answer in zip(judged, answers, strict=True)]


def _unwritable(out: Path, error: OSError) -> StorageError:
    return StorageError(f"verdict file {out.name} cannot be written: {error.strerror or error}")


def _finished(out: Path, cases: Sequence[Case], config: AskConfig, served: Served) -> dict[str, list[Row]]:
    """What `out` already holds for these answers. Raises UsageError for verdicts of another judge or prompt."""
    if not out.exists() or not out.stat().st_size:
        return {}
    stored = {one.sample.id: one for one in read_verdicts(out).judged}
    kept = {}
    for case in cases:
        old = stored.get(case.id)
        if old is None or old.state not in FINAL or old.answer_sha256 != answer_hash(case.answer):
            continue
        for what, before, now in (
            ("judge", old.judge, served.name),
            ("revision of the judge", old.judge_revision, served.revision),
            ("prompt", old.prompt_hash, prompt_hash(case, config.question())),
        ):
            if before != now:
                raise UsageError(
                    f"{out.name} holds verdicts of another {what} ({before!r}, now {now!r}); write to another file, "
                    "or delete this one to judge again"
                )
        kept[case.id] = old.rows(len(cases))
    return kept


def _replayed(answers: Sequence[Answer], stored: VerdictFile) -> list[Row]:
    """Stored verdicts on these answers. A sample that is not stored, or was judged for another answer, has failed.

    Raises DataError where none of the answers has a verdict.
    """
    by_id = {one.sample.id: one for one in stored.judged}
    name = next((one.judge for one in stored.judged if one.judge), "") or "replay"
    found = [_replayed_one(answer, by_id.get(answer.sample.id), name) for answer in answers]
    if all(one.state == "failed" for one in found):
        raise DataError(f"the stored verdicts fit none of the {len(found)} answers: {found[0].reasons[0]}")
    return [row for one in found for row in one.rows(len(answers))]


def _replayed_one(answer: Answer, stored: Judged | None, name: str) -> Judged:
    case, size = answer.case(), len(answer.sample.items)
    why = ""
    if stored is None:
        why = "no stored verdict for this sample"
    elif stored.answer_sha256 != answer_hash(answer.text):
        why = "the stored verdict is for another answer"
    elif len(stored.verdicts) != size:
        why = f"the stored verdict has {len(stored.verdicts)} items, the row has {size}"
    if stored is not None and not why:
        return replace(stored, sample=answer.sample)
    return Judged(
        sample=answer.sample,
        verdicts=(None,) * size,
        state="failed" if case.answer_state == "ok" else "not_judged",
        answer=case.answer_state,
        answer_sha256=answer_hash(answer.text),
        reasons=(why,) * size,
        judge=name,
    )
