"""Stored answers judged into a verdict file, for `hubwright judge` and for tasks of lm-eval.

A judge is named by one string:

    openai:MODEL@BASE_URL            any OpenAI-compatible endpoint
    embedded:ORG/NAME[@REV][#FILE]   a GGUF repository of the hub, resolved to a commit and served on the loopback
    replay:PATH or REF               verdicts that were stored before, on the same answers

The verdict file is written whole, at the end; a killed run resumes from the record of the judge's replies beside it
(`OUT.recording`). In a finished file verdicts on the same answer by the same judge and prompt stay; failed ones are
asked for again.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from ....hub_sync.errors import DataError, StorageError, UsageError
from ....hub_sync.files import exclusive_lock, write_atomic
from ....inference.endpoint import Endpoint
from ....inference.serving import check_spec, embedded_ref, remote_endpoint, serve
from .cases import Case, ItemVerdict, JudgeInfo, Row, answer_hash, decided_rows, verdict_rows
from .stage import AskConfig, check_cases, judge_cases, prompt_hash
from .verdicts import Official, StoredVerdicts, read_stored

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


def read_judge_config(value: str | Mapping[str, Any]) -> JudgeConfig:
    """A judge as a string or as a mapping of JudgeConfig's fields. Raises UsageError in one line."""
    try:
        return JudgeConfig.model_validate({"judge": value} if isinstance(value, str) else dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "judge"
        raise UsageError(f"judge option {where}: {first['msg'].removeprefix('Value error, ')}") from error


def check_ready(config: JudgeConfig, official: Sequence[Official] = ()) -> None:
    """Raise at once what would stop the judge later: an unreadable replay, a missing key, no such model."""
    kind, _, target = config.judge.partition(":")
    if kind == "replay":
        read_stored(target, official)
    elif kind == "openai":
        remote_endpoint(config.judge, config).key()
    else:
        embedded_ref(config.judge)[0].resolve()


def judge_answers(
    cases: Sequence[Case],
    config: JudgeConfig,
    *,
    out: Path | None = None,
    recording: Path | None = None,
    replay: bool = False,
    official: Sequence[Official] = (),
    probe: bool = True,
) -> list[Row]:
    """The verdict rows of `cases`, in order.

    Args:
        out: verdict file, JSON lines, written whole at the end.
        recording: folder of the recorded replies; None: OUT.recording beside `out`, or a temporary folder.
        replay: ask no judge; a request that is not in `recording` is an error.
        official: readers of judgement files that a `replay:` judge may name besides verdict files.
        probe: stop with a DataError if none of the first cases gets a verdict.

    Raises UsageError for a judge that cannot be asked, or an `out` of another judge or prompt; ConflictError if
    another process writes to `out`; DataError for no answers, two to one sample, or a replay that lacks them;
    StorageError.
    """
    check_cases(cases)
    with ExitStack() as resources:
        if out is not None:
            with _writable(out):
                out.parent.mkdir(parents=True, exist_ok=True)
                lock = exclusive_lock(out.with_name(f".{out.name}.lock"), f"verdict file {out.name}")
                resources.enter_context(lock)
        if config.judge.startswith("replay:"):
            rows = _replayed(cases, read_stored(config.judge.partition(":")[2], official))
        else:
            if recording is None:
                temporary = resources.enter_context(tempfile.TemporaryDirectory(prefix="hubwright-judge-"))
                recording = out.with_name(f"{out.name}.recording") if out is not None else Path(temporary)
            endpoint = serve(config.judge, config, resources, replay=replay)
            finished = _finished(out, cases, config, endpoint) if out is not None else {}
            done = judge_cases(
                cases, config, endpoint, recording=recording, replay=replay, finished=finished, probe=probe
            )
            rows = list(done.rows)
        if out is not None:
            with _writable(out):
                write_atomic(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"verdict file {out.name} cannot be written: {error.strerror or error}") from error


def _finished(out: Path, cases: Sequence[Case], config: AskConfig, endpoint: Endpoint) -> dict[str, list[Row]]:
    """What `out` already holds for these answers. Raises UsageError for verdicts of another judge or prompt."""
    if not out.exists() or not out.stat().st_size:
        return {}
    stored = read_stored(out).by_id()
    finished = {}
    for case in cases:
        rows = stored.get(case.id)
        if (
            case.decided is not None
            or rows is None
            or rows[0]["state"] not in FINAL
            or rows[0]["answer_sha256"] != answer_hash(case.answer)
        ):
            continue
        for column, what, now in (
            ("judge", "judge", endpoint.model),
            ("judge_revision", "revision of the judge", endpoint.revision),
            ("prompt_hash", "prompt", prompt_hash(case, config.question())),
        ):
            if (before := rows[0][column]) != now:
                raise UsageError(
                    f"{out.name} holds verdicts of another {what} ({before!r}, now {now!r}); write to another file, "
                    "or delete this one to judge again"
                )
        finished[case.id] = rows
    return finished


def _replayed(cases: Sequence[Case], stored: StoredVerdicts) -> list[Row]:
    """Stored verdicts on these answers; a sample without one, or judged for another answer, has failed.

    Raises DataError if no answer has a verdict.
    """
    by_id = stored.by_id()
    judge = next((row["judge"] for row in stored.rows if row["judge"]), "") or "replay"
    judged = [_replayed_one(case, by_id.get(case.id), judge, len(cases)) for case in cases]
    if all(rows[0]["state"] == "failed" for rows in judged):
        raise DataError(f"the stored verdicts fit none of the {len(judged)} answers: {judged[0][0]['reason']}")
    return [row for rows in judged for row in rows]


def _replayed_one(case: Case, stored: list[Row] | None, judge: str, answers: int) -> list[Row]:
    if case.answer_state == "ok" and case.decided is not None:
        return decided_rows(case, JudgeInfo(judge, language=""), answers)
    if stored is None:
        reason = "no stored verdict for this sample"
    elif stored[0]["answer_sha256"] != answer_hash(case.answer):
        reason = "the stored verdict is for another answer"
    elif len(stored) != len(case.items):
        reason = f"the stored verdict has {len(stored)} items, the row has {len(case.items)}"
    else:
        return [
            row | dict(case.labels) | {"text": text, "weight": weight, "answers": answers}
            for row, text, weight in zip(stored, case.items, case.weights, strict=True)
        ]
    state = "failed" if case.answer_state == "ok" else "not_judged"
    verdicts = [ItemVerdict(None, reason)] * len(case.items)
    by = JudgeInfo(judge, language="")
    return verdict_rows(case, verdicts, by, state=state, attempts=0, prompt_hash="", answers=answers)
