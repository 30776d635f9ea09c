"""Many rows through an async function that asks a model: cut into shards, safe to kill, the same bytes every time.

    result = run_stage("package.module:judge", rows, config, endpoint=endpoint, folder=work, traffic=work / "traffic")

    async def judge(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row: ...

The function's result must follow from (row, config) and the model's answers alone. If answers are sampled, put
something of the row into `seed` or `draw`: two rows that ask the same otherwise share an answer
(`TrafficStore.conflicts`). What changes the answers belongs into `config`, prompts or their version included: a resume
is refused by it.

    folder/stage.json         what the folder belongs to: work, config, model and its revision
    folder/shards/            one file per finished shard (shards.py)
    folder/failed.jsonl       the rows that failed, each with its "error"; absent if none did
    traffic/                  every answer (store.py), which may serve several stages
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..hub_sync.errors import DataError, UsageError
from ..hub_sync.files import exclusive_lock, write_atomic
from .budget import PROBE_ROWS, Budget, Usage, check_estimate, estimate
from .client import Endpoint
from .shards import Failure, Outcome, Row, claim, read_shard, shard_path, stored, sweep, write_shard
from .store import TrafficStore
from .view import StageView
from .workers import Job, Results, RowError, Sink, Task, load_work, run_here, run_processes

__all__ = ["Row", "RowError", "StageResult", "run_stage"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """The result of a stage: `rows` of the work function in input order; `failed` input rows, each with "error";
    `usage` of this run; `estimate` of the remaining rows after the probe (rows, requests, tokens, cost, seconds; None
    without one).
    """

    rows: list[Row]
    failed: list[Row]
    usage: Usage
    estimate: dict[str, float] | None


def run_stage(
    work: str,
    rows: Sequence[Row],
    config: Mapping[str, Any],
    *,
    endpoint: Endpoint,
    folder: Path,
    traffic: Path,
    replay: bool = False,
    budget: Budget | None = None,
    shard_rows: int = 256,
    engine: Literal["local", "ray"] = "local",
    workers: int = 1,
    max_failed: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
) -> StageResult:
    """Results for `rows` in their order; what a former run in `folder` finished is not done again.

    Args:
        work: "module:function", an `async def f(row, config, chat) -> row`. It raises RowError for a row that cannot
            be done.
        rows: JSON objects.
        config: a JSON object, passed to every call.
        endpoint: its `concurrency` is that of all workers together.
        folder: kept between runs, one process at a time.
        traffic: folder of the recorded answers, on storage that all workers see.
        replay: answer from `traffic` alone.
        budget: caps, checked after a probe of the first 20 rows and before every request.
        shard_rows: rows per file (our choice); it changes no row.
        engine: processes on this machine, or tasks on an existing Ray cluster (on_ray.py).
        workers: processes, or Ray tasks at once. With 1, `local` runs in this process.
        max_failed: share of the rows that may fail, rounded up (our choice). They are asked again by the next run,
            unless their RowError is `final`.
        progress: called with (rows done, rows in all).

    Raises UsageError for an endpoint that refuses, a reached cap or a folder of another config; ConflictError for a
    folder in use; DataError for too many failed rows (after all else is stored), a missing record or rows that are not
    JSON; StorageError for a full disk.
    """
    if workers < 1 or shard_rows < 1 or not 0 <= max_failed <= 1:
        raise UsageError("workers and shard_rows are at least 1, and max_failed is a share from 0 to 1")
    load_work(work)
    job = Job(work, dict(config), endpoint, traffic, replay, budget)
    with stored(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with stored(folder):
            stack.enter_context(exclusive_lock(folder / ".lock", f"stage folder {folder}"))
        stage = _Stage(job, rows, folder, shard_rows, progress)
        with StageView(work.partition(":")[2], len(rows)) as stage.view:
            if not replay:
                stage.probe()
            stage.run(stage.tasks(), engine, workers)
        result = stage.finish()
        if workers > 1 and not replay:
            _warn_of_conflicts(traffic)
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
        self,
        job: Job,
        rows: Sequence[Row],
        folder: Path,
        shard_rows: int,
        progress: Callable[[int, int], None] | None,
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
        self.estimate: dict[str, float] | None = None
        self.paths: list[Path] = []
        self.outcomes: list[list[Outcome | None]] = []
        for index, start in enumerate(range(0, len(rows), shard_rows)):
            own = rows[start : start + shard_rows]
            path = shard_path(folder, index, identity, own)
            outcomes: Sequence[Outcome | None] = read_shard(path, len(own)) or [None] * len(own)
            self.paths.append(path)
            self.outcomes.append([None if isinstance(o, Failure) and not o.final else o for o in outcomes])
        self.done = sum(outcome is not None for shard in self.outcomes for outcome in shard)
        sweep(folder)

    def tasks(self, limit: int | None = None) -> list[Task]:
        tasks = []
        for index, outcomes in enumerate(self.outcomes):
            start = index * self.shard_rows
            todo = [(n, self.rows[start + n]) for n, outcome in enumerate(outcomes) if outcome is None]
            if limit is not None:
                todo = todo[:limit]
                limit -= len(todo)
            if todo:
                tasks.append(Task(index, todo))
        return tasks

    def probe(self) -> None:
        """Do the first rows alone and estimate the rest. Raises UsageError if a cap will not suffice."""
        todo = len(self.rows) - self.done
        if todo <= PROBE_ROWS:
            return
        start = time.monotonic()
        self.run(self.tasks(PROBE_ROWS), "local", 1)
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

    def run(self, tasks: list[Task], engine: str, workers: int) -> None:
        if not tasks:
            return
        sink = Sink(self._shard_done, self._pulse)
        job = replace(self.job, spent=self.usage.totals())
        if engine == "ray":
            from .on_ray import run_on_ray

            run_on_ray(job, tasks, sink, workers)
        elif workers == 1:
            run_here(job, tasks, sink)
        else:
            run_processes(job, tasks, sink, workers)

    def _shard_done(self, shard: int, results: Results) -> None:
        outcomes = self.outcomes[shard]
        for position, outcome in results:
            outcomes[position] = outcome
        whole = [outcome for outcome in outcomes if outcome is not None]
        if len(whole) == len(outcomes):
            write_shard(self.paths[shard], whole)

    def _pulse(self, rows: int, used: Usage, limit: int) -> None:
        self.done += rows
        self.usage.add(used)
        self.view.show(self.done, self.usage, limit)
        if self.progress and rows:
            self.progress(self.done, len(self.rows))

    def finish(self) -> StageResult:
        """The result; writes the list of failures and removes shards of former inputs."""
        good: list[Row] = []
        failed: list[Row] = []
        for row, outcome in zip(self.rows, (o for shard in self.outcomes for o in shard), strict=True):
            assert outcome is not None
            if isinstance(outcome, Failure):
                failed.append({**row, "error": outcome.error})
            else:
                good.append(outcome)
        path = self.folder / "failed.jsonl"
        with stored(path):
            if failed:
                write_atomic(path, b"".join(json.dumps(row).encode("ascii") + b"\n" for row in failed))
            else:
                path.unlink(missing_ok=True)
        sweep(self.folder, set(self.paths))
        return StageResult(good, failed, self.usage, self.estimate)


def _warn_of_conflicts(traffic: Path) -> None:
    conflicts = len(TrafficStore(traffic).conflicts) if traffic.is_dir() else 0
    if conflicts:
        logger.warning(
            "%d requests were asked by several workers at once and got different answers; a replay knows one of each: "
            "put something of the row into `seed` or `draw`",
            conflicts,
        )
