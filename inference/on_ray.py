"""A stage's shards on an existing Ray cluster: extra [ray].

Each worker is an actor that lives as long as the stage. It gets two shards at a time, and their results come back to
the process that runs the stage, which writes the shards. The shards of a worker that died are given to another; its
answers so far are in the recording's folder, which has to be on storage that all nodes see. `hubwright`, the module of
the work function and the endpoint's key have to be on the nodes as well.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from ..hub_sync.errors import DataError, HubwrightError, UsageError
from .budget import Budget, Usage
from .requests import one_line
from .store import RecordingStore
from .workers import DEATHS, Job, Pool, Results, Sink, Task, Tasks, load_work, run_worker


@contextmanager
def idle_actors(work: str, workers: int) -> Iterator[list[Any]]:
    """Workers that start and import while the caller does something else; those left in the list are ended.

    Raises UsageError if no cluster can be joined: none is started here.
    """
    ray = join()
    actor = ray.remote(_Worker)
    idle = [actor.remote(work) for _ in range(workers)]
    try:
        yield idle
    finally:
        for one in idle:
            ray.kill(one)


def run_on_ray(job: Job, queue: Tasks, sink: Sink, workers: int, idle: list[Any]) -> None:
    """Do the tasks in `workers` actors, the `idle` ones first; each has an equal part of the concurrency and of the
    caps.
    """
    ray = join()
    actor = ray.remote(_Worker)
    part = replace(
        job,
        recording=job.recording.absolute(),
        endpoint=replace(job.endpoint, concurrency=max(1, job.endpoint.concurrency // workers)),
        budget=_part(job.budget, job.spent, workers),
    )
    used = [Usage() for _ in range(workers)]
    deaths: Counter[int] = Counter()
    actors: dict[int, Any] = {}  # by slot
    running: dict[Any, tuple[int, Any, Task]] = {}

    def feed(slot: int) -> None:
        # Two at a time, so that the next shard's rows fill the places that the last rows of this one leave.
        while sum(one is actors.get(slot) for _, one, _ in running.values()) < 2 and (task := queue.take()):
            if slot not in actors:
                actors[slot] = idle.pop() if idle else actor.remote(job.work)
            own = replace(part, spent=used[slot].totals())
            running[actors[slot].do.remote(own, task)] = (slot, actors[slot], task)

    def count(slot: int, rows: int, usage: Usage) -> None:
        used[slot].add(usage)
        sink.pulse(rows, usage, part.endpoint.concurrency)

    try:
        for slot in range(workers):
            feed(slot)
        while running:
            for done in ray.wait(list(running), num_returns=1)[0]:
                slot, one, task = running.pop(done)
                try:
                    results, usage, error = ray.get(done)
                except ray.exceptions.RayActorError as death:
                    if actors.get(slot) is one:
                        del actors[slot]
                    deaths[task.shard] += 1
                    if deaths[task.shard] == DEATHS:
                        raise DataError(
                            f"{DEATHS} Ray workers ended over shard {task.shard} ({one_line(death, 120)}); what was "
                            "answered is recorded: run again with fewer workers"
                        ) from death
                    queue.give_back(task)
                    continue
                count(slot, len(results), usage)
                if error is not None:
                    raise error
                sink.done(task.shard, results)
            for slot in range(workers):
                feed(slot)
        for slot, usage in zip(actors, ray.get([one.end.remote() for one in actors.values()]), strict=True):
            count(slot, 0, usage)
    finally:
        for one in actors.values():
            ray.kill(one)


class _Worker:
    """One chat client and one segment of the record for many shards. An exception ends it."""

    def __init__(self, work: str) -> None:
        with suppress(HubwrightError):  # raised again by the first task, which can tell it
            load_work(work)
        from . import transport  # noqa: F401  aiohttp, which takes as long as all else

        self._used = Usage()
        self._tasks: asyncio.Queue[Task | None] = asyncio.Queue()
        self._waiting: dict[int, asyncio.Future[Results]] = {}
        self._running: asyncio.Task[None] | None = None

    async def do(self, job: Job, task: Task) -> tuple[Results, Usage, HubwrightError | None]:
        """(the results of a shard, the use since the last call, what ended the work). The first job stays."""
        if self._running is None:
            self._running = asyncio.create_task(self._run(job))
        future = self._waiting[task.shard] = asyncio.get_running_loop().create_future()
        self._tasks.put_nowait(task)
        try:
            return await future, self._take(), None
        except HubwrightError as error:
            return [], self._take(), error

    async def end(self) -> Usage:
        """Finish the record; the use since the last call."""
        self._tasks.put_nowait(None)
        if self._running is not None:
            await self._running
        return self._take()

    def _take(self) -> Usage:
        used, self._used = self._used, Usage()
        return used

    async def _run(self, job: Job) -> None:
        sink = Sink(
            lambda shard, results: self._waiting.pop(shard).set_result(results),
            lambda rows, usage, limit: self._used.add(usage),
        )
        try:
            with RecordingStore(job.recording, readonly=job.replay) as store:
                await run_worker(job, store, Pool(job.spent), self._tasks.get, sink)
        except Exception as error:
            for future in self._waiting.values():
                future.set_exception(error)


def join() -> Any:
    """The ray module, connected to RAY_ADDRESS or to the cluster that runs on this machine."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("the ray engine needs: pip install 'hubwright[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"no Ray cluster to join ({one_line(error, 120)}); set RAY_ADDRESS or start one: ray start --head"
            ) from error
    return ray


def _part(budget: Budget | None, spent: Usage, workers: int) -> Budget | None:
    """The caps of one of several tasks at once, less what was spent before."""
    if budget is None:
        return None

    def share(cap: int | None, spent: int) -> int | None:
        return None if cap is None else max(1, math.ceil((cap - spent) / workers))

    caps = {
        "max_requests": share(budget.max_requests, spent.requests),
        "max_tokens": share(budget.max_tokens, spent.tokens),
        "max_cost": budget.max_cost and max(1e-9, (budget.max_cost - spent.cost(budget)) / workers),
    }
    return budget.model_copy(update=caps)
