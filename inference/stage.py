"""Many rows through an async function that asks a model: cut into shards, safe to kill, the same bytes every time.

    result = run_stage("package.module:judge", rows, config, endpoint=endpoint, folder=work, recording=work / "asked")

    async def judge(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row: ...

The function's result must follow from (row, config) and the model's answers alone. If answers are sampled, put
something of the row into `seed` or `draw`: two rows that ask the same otherwise share an answer
(`RecordingStore.conflicts`). What changes the answers belongs into `config`, prompts or their version included: a
resume is refused by it.

    folder/stage.json         what the folder belongs to: work, config, model and its revision
    folder/shards/            one file per finished shard (shards.py)
    folder/failed.jsonl       the rows that failed, each with its "error"; absent if none did
    recording/                  every answer (store.py), which may serve several stages
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..hub_sync.errors import DataError, StorageError, UsageError
from ..hub_sync.files import exclusive_lock, write_atomic
from .budget import PROBE_ROWS, Budget, Usage, check_estimate, estimate
from .client import Endpoint
from .requests import one_line
from .shards import Failure, Outcome, Row, claim, read_shard, shard_path, stored, sweep, write_shard
from .store import RecordingStore
from .view import StageView
from .workers import Job, Results, RowError, Sink, Task, Tasks, load_work, run_here, run_processes

__all__ = ["Row", "RowError", "StageResult", "run_stage"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """The result of a stage. Iterating gives a row of the work function, or a `Failure`, per input row in input order,
    from the shards on the disk.

    Attributes:
        failed: input rows that failed, each with "error".
        usage: of this run.
        estimate: of the remaining rows after the probe (rows, requests, tokens, cost, seconds; None without one).
        shards: files with their numbers of rows.
    """

    failed: list[Row]
    usage: Usage
    estimate: dict[str, float] | None
    shards: list[tuple[Path, int]]

    def __iter__(self) -> Iterator[Outcome]:
        for path, size in self.shards:
            outcomes = read_shard(path, size)
            if outcomes is None:
                raise StorageError(f"{path} was damaged or removed since it was written; run this again")
            yield from outcomes

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the work function in input order, all in memory."""
        return [outcome for outcome in self if not isinstance(outcome, Failure)]


def run_stage(
    work: str,
    rows: Sequence[Row],
    config: Mapping[str, Any],
    *,
    endpoint: Endpoint,
    folder: Path,
    recording: Path,
    replay: bool = False,
    budget: Budget | None = None,
    shard_rows: int = 256,
    engine: Literal["local", "ray"] = "local",
    workers: int = 1,
    max_failed: float = 0.05,
    unusable: Callable[[Row], str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> StageResult:
    """Results for `rows` in their order; what a former run in `folder` finished is not done again.

    Args:
        work: "module:function", an `async def f(row, config, chat) -> row`. It raises RowError for a row that cannot
            be done.
        rows: JSON objects; a sequence on the disk (`RowFile`) keeps memory flat.
        config: a JSON object, passed to every call.
        endpoint: its `concurrency` is that of all workers together.
        folder: kept between runs, one process at a time.
        recording: folder of the recorded answers, on storage that all workers see.
        replay: answer from `recording` alone.
        budget: caps, checked after a probe of the first 20 rows and before every request.
        shard_rows: rows per file (our choice); it changes no row.
        engine: processes on this machine, or tasks on an existing Ray cluster (on_ray.py).
        workers: processes, or Ray tasks at once. With 1, `local` runs in this process.
        max_failed: share of the rows that may fail, rounded up (our choice). They are asked again by the next run,
            unless their RowError is `final`.
        unusable: why a row of the work function counts as failed in the probe, or "". If all rows of the probe failed
            and `max_failed` is below 1, nothing else is asked.
        progress: called with (rows done, rows in all).

    Raises UsageError for an endpoint that refuses, a reached cap or a folder of another config; ConflictError for a
    folder in use; DataError for too many failed rows (after all else is stored), a probe without a usable reply,
    a missing record or rows that are not JSON; StorageError for a full disk.
    """
    if workers < 1 or shard_rows < 1 or not 0 <= max_failed <= 1:
        raise UsageError("workers and shard_rows are at least 1, and max_failed is a share from 0 to 1")
    load_work(work)
    job = Job(work, dict(config), endpoint, recording, replay, budget)
    with stored(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with stored(folder):
            stack.enter_context(exclusive_lock(folder / ".lock", f"stage folder {folder}"))
        stage = _Stage(job, rows, folder, shard_rows, progress)
        with StageView(work.partition(":")[2], len(rows)) as stage.view:
            if engine == "ray" and stage.todo:
                from .on_ray import idle_actors

                stage.actors = stack.enter_context(idle_actors(work, min(workers, len(stage.todo))))
            if not replay:
                stage.probe(max_failed < 1, unusable or (lambda row: ""))
            stage.run(stage.tasks(), engine, workers)
        result = stage.finish()
        if workers > 1 and not replay:
            _warn_of_conflicts(recording)
    allowed = math.ceil(round(max_failed * len(rows), 9))  # 0.07 * 100 is a little above 7
    if len(result.failed) > allowed:
        raise DataError(
            f"{len(result.failed)} of {len(rows)} rows failed, {allowed} may (max_failed {max_failed:g}); the first: "
            f"{result.failed[0]['error']}. All are in {folder / 'failed.jsonl'}; run this again to ask them again"
        )
    return result


class _Stage:
    """The state of one run: which row has which outcome."""

    view: StageView

    def __init__(
        self, job: Job, rows: Sequence[Row], folder: Path, shard_rows: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self.job, self.rows, self.folder, self.shard_rows, self.progress = job, rows, folder, shard_rows, progress
        identity = {
            "work": job.work,
            "config": job.config,
            "model": job.endpoint.model,
            "revision": job.endpoint.revision,
            **job.endpoint.manner(),
        }
        claim(folder, identity)
        self.usage = Usage()
        self.actors: list[Any] = []  # of the Ray engine, without work yet
        self.probed: list[Outcome] | None = None
        self.estimate: dict[str, float] | None = None
        self.shards: list[tuple[Path, int]] = []
        self.todo: dict[int, list[Outcome | None]] = {}  # of unfinished shards
        self.failures: dict[int, Failure] = {}  # by number of the row
        self.done = 0
        for index, start in enumerate(range(0, len(rows), shard_rows)):
            own = rows[start : start + shard_rows]
            path = shard_path(folder, index, identity, own)
            self.shards.append((path, len(own)))
            before: Sequence[Outcome | None] = read_shard(path, len(own)) or [None] * len(own)
            outcomes = [None if isinstance(o, Failure) and not o.final else o for o in before]
            self.done += sum(outcome is not None for outcome in outcomes)
            self._note(start, enumerate(outcomes))
            if None in outcomes:
                self.todo[index] = outcomes
        sweep(folder)

    def _note(self, start: int, results: Iterable[tuple[int, Outcome | None]]) -> None:
        self.failures |= {start + place: one for place, one in results if isinstance(one, Failure)}

    def tasks(self, limit: int | None = None) -> Iterator[Task]:
        for index in list(self.todo):
            start = index * self.shard_rows
            places = [place for place, outcome in enumerate(self.todo[index]) if outcome is None][:limit]
            if limit is not None:
                limit -= len(places)
            if places:
                own = self.rows[start : start + self.shard_rows]
                yield Task(index, [(place, own[place]) for place in places])

    def probe(self, strict: bool, unusable: Callable[[Row], str]) -> None:
        """Do the first rows alone and estimate the rest. Raises UsageError if a cap will not suffice; DataError if it
        is `strict` and no row has a usable reply.
        """
        todo = len(self.rows) - self.done
        if todo <= PROBE_ROWS:
            return
        start = time.monotonic()
        self.probed = []
        self.run(self.tasks(PROBE_ROWS), "local", 1)
        reasons = [one.error if isinstance(one, Failure) else unusable(one) for one in self.probed]
        self.probed = None
        if strict and all(reasons):
            raise DataError(
                f"none of the first {PROBE_ROWS} rows has a usable reply (the first: {one_line(reasons[0])}); the "
                f"other {todo - PROBE_ROWS:,} were not asked: check model, prompt and max_tokens, and run this again"
            )
        if not self.usage.requests:
            return  # a resumed run, answered from the record
        budget = self.job.budget or Budget()
        seconds = time.monotonic() - start
        self.estimate = estimate(self.usage, PROBE_ROWS, todo, seconds, budget, self.job.endpoint.concurrency)
        price = f", cost {self.estimate['cost']:,.2f}" if self.estimate["cost"] else ""
        logger.info(
            "%s: %s rows will need about %s requests, %s tokens, %s s%s",
            self.job.work,
            *(f"{self.estimate[name]:,.0f}" for name in ("rows", "requests", "tokens", "seconds")),
            price,
        )
        check_estimate(self.estimate, budget)

    def run(self, tasks: Iterator[Task], engine: str, workers: int) -> None:
        queue = Tasks(tasks)
        if not queue:
            return
        sink = Sink(self._shard_done, self._pulse)
        job = replace(self.job, spent=self.usage.totals())
        if engine == "ray":
            from .on_ray import run_on_ray

            run_on_ray(job, queue, sink, workers, self.actors)
        elif workers == 1:
            run_here(job, queue, sink)
        else:
            run_processes(job, queue, sink, workers)

    def _shard_done(self, shard: int, results: Results) -> None:
        outcomes = self.todo[shard]
        for position, outcome in results:
            outcomes[position] = outcome
        if self.probed is not None:
            self.probed += [outcome for _, outcome in sorted(results, key=lambda result: result[0])]
        self._note(shard * self.shard_rows, results)
        whole = [outcome for outcome in outcomes if outcome is not None]
        if len(whole) == len(outcomes):
            write_shard(self.shards[shard][0], whole)
            del self.todo[shard]

    def _pulse(self, rows: int, used: Usage, limit: int) -> None:
        self.done += rows
        self.usage.add(used)
        self.view.show(self.done, self.usage, limit)
        if self.progress and rows:
            self.progress(self.done, len(self.rows))

    def finish(self) -> StageResult:
        """The result; writes the list of failures and removes shards of former inputs."""
        assert not self.todo
        failed = [{**self.rows[number], "error": one.error} for number, one in sorted(self.failures.items())]
        path = self.folder / "failed.jsonl"
        with stored(path):
            if failed:
                write_atomic(path, b"".join(json.dumps(row).encode("ascii") + b"\n" for row in failed))
            else:
                path.unlink(missing_ok=True)
        sweep(self.folder, {path for path, _ in self.shards})
        return StageResult(failed, self.usage, self.estimate, self.shards)


def _warn_of_conflicts(recording: Path) -> None:
    conflicts = len(RecordingStore(recording).conflicts) if recording.is_dir() else 0
    if conflicts:
        logger.warning(
            "%d requests were asked by several workers at once and got different answers; a replay knows one of each: "
            "put something of the row into `seed` or `draw`",
            conflicts,
        )
