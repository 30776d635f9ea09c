"""Workers of a stage: one event loop in this process, or several processes fed by this one.

A worker holds one chat client and works on rows of successive shards side by side, so that the last slow rows of a
shard leave no place in flight empty. It returns results and writes no shard; every answer is recorded at once, so a
worker that dies loses only the requests in flight.
"""

import asyncio
import contextlib
import importlib
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

from ..hub_sync.errors import DataError, HubwrightError, UsageError
from .budget import Budget, Usage
from .client import GRACE, ChatClient, Endpoint, run_blocking
from .requests import one_line
from .shards import Failure, Outcome, Row, canonical
from .store import RecordingStore

ROWS_AHEAD = 8  # rows begun per place in flight: enough to fill the places while others wait for a Retry-After
DEATHS = 3  # workers that may end over one shard before it is given up
PULSE = 0.25  # seconds between a worker's reports

Work = Callable[[Row, Mapping[str, Any], ChatClient], Awaitable[Row]]


class RowError(Exception):
    """Raised by the work function for one row that cannot be done; the message is one line.

    Args:
        final: the failure is the row's own (see `Reply.final`), so that a later run does not ask again.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(one_line(message))
        self.final = final


@dataclass(frozen=True)
class Job:
    """What every worker of a stage has to know."""

    work: str
    config: dict[str, Any]
    endpoint: Endpoint
    recording: Path
    replay: bool = False
    budget: Budget | None = None
    spent: Usage = field(default_factory=Usage)  # before, within the caps


@dataclass
class Task:
    """Rows of one shard to be done: (position in the shard, row) each. `again`: another worker began it."""

    shard: int
    rows: list[tuple[int, Row]]
    again: bool = False


class Tasks:
    """Tasks to be handed out, drawn from an iterable when they are needed; true while there are any."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._source, self._next = iter(tasks), deque[Task]()

    def __bool__(self) -> bool:
        if not self._next:
            self._next.extend(itertools.islice(self._source, 1))
        return bool(self._next)

    def take(self) -> Task | None:
        return self._next.popleft() if self else None

    def give_back(self, task: Task) -> None:
        self._next.appendleft(replace(task, again=True))


Results = list[tuple[int, Outcome]]


@dataclass
class Sink:
    """Where the workers' news goes, all in the process that runs the stage."""

    done: Callable[[int, Results], None]
    pulse: Callable[[int, Usage, int], None] = field(default=lambda rows, usage, limit: None)


def load_work(work: str) -> Work:
    """The function behind "module:function". Raises UsageError."""
    module, colon, name = work.partition(":")
    try:
        function = getattr(importlib.import_module(module), name) if colon else None
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"work {work!r} cannot be imported: {one_line(error)}") from error
    if not asyncio.iscoroutinefunction(function):
        raise UsageError(f"work {work!r} is no async function; write it as module:function")
    return cast(Work, function)


async def do_tasks(
    job: Job,
    chat: ChatClient,
    take: Callable[[], Awaitable[Task | None]],
    done: Callable[[int, Results], None],
    row_done: Callable[[], None],
) -> None:
    """Do tasks until `take` gives None. Raises the first exception that is not a RowError, stopping all."""
    work = load_work(job.work)
    config = json.loads(canonical(job.config))
    gate = asyncio.Semaphore(ROWS_AHEAD * chat.endpoint.concurrency)
    left: Counter[int] = Counter()

    async def one(task: Task, results: Results, position: int, row: Row) -> None:
        try:
            outcome: Outcome = _as_json(await work(row, config, chat), job.work)
        except RowError as error:
            outcome = Failure(str(error), error.final)
        finally:
            gate.release()
        results.append((position, outcome))
        row_done()
        left[task.shard] -= 1
        if not left[task.shard]:
            done(task.shard, results)

    try:
        async with asyncio.TaskGroup() as group:
            while (task := await take()) is not None:
                if task.again and chat.store is not None:
                    chat.store.refresh()
                results: Results = []
                left[task.shard] = len(task.rows)
                for position, row in task.rows:
                    await gate.acquire()
                    group.create_task(one(task, results, position, json.loads(json.dumps(row))))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _as_json(row: Any, work: str) -> Row:
    """The row as it will be read from the shard, so that a resumed run gives the same."""
    try:
        copy = json.loads(json.dumps(row))
    except (TypeError, ValueError) as error:
        raise DataError(f"{work} returned a row that is not JSON: {one_line(error)}") from error
    if not isinstance(copy, dict):
        raise DataError(f"{work} returned {type(row).__name__}; a row is a dict")
    return copy


class Pool:
    """The use of all workers together, for the caps: a slot each in shared memory, or this one's own sum."""

    WIDTH = 4  # requests, prompt tokens, generated tokens, in flight

    def __init__(self, spent: Usage, shared: Any = None, slot: int = 0) -> None:
        self._shared, self._start = shared, slot * self.WIDTH
        self._spent = replace(spent)

    @classmethod
    def attach(cls, shared: Any, slot: int) -> Self:
        """The slot of one of several workers; what an earlier worker in it used stays counted."""
        requests, prompt, completion = (int(n) for n in shared[slot * cls.WIDTH : slot * cls.WIDTH + 3])
        spent = Usage(requests=requests, prompt_tokens=prompt, completion_tokens=completion)
        return cls(spent, shared, slot)

    def take_over(self, chat: ChatClient) -> Usage:
        """The client's use since the last call, added to the sum."""
        used, chat.usage = chat.usage, Usage()
        self._spent.add(used.totals())
        return used

    def __call__(self, usage: Usage, in_flight: int) -> tuple[Usage, int]:
        own = self._spent.totals()
        own.add(usage.totals())
        if self._shared is None:
            return own, in_flight
        # What is about to be sent is written first and summed then: no two workers can both take the last request.
        mine = (own.requests, own.prompt_tokens, own.completion_tokens, in_flight + 1)
        self._shared[self._start : self._start + self.WIDTH] = mine
        columns = [int(sum(self._shared[n :: self.WIDTH])) for n in range(self.WIDTH)]
        return Usage(requests=columns[0], prompt_tokens=columns[1], completion_tokens=columns[2]), columns[3] - 1


async def run_worker(
    job: Job, store: RecordingStore, pool: Pool, take: Callable[[], Awaitable[Task | None]], sink: Sink
) -> None:
    """Do tasks until `take` gives None, and report every `PULSE` seconds and at the end."""
    rows = 0

    def row_done() -> None:
        nonlocal rows
        rows += 1

    def report() -> None:
        nonlocal rows
        fresh, rows = rows, 0
        sink.pulse(fresh, pool.take_over(chat), chat.limit.limit)

    async def reports() -> None:
        while True:
            await asyncio.sleep(PULSE)
            report()

    chat = ChatClient(job.endpoint, store=store, replay=job.replay, budget=job.budget, pool=pool)
    reporting = asyncio.create_task(reports())
    try:
        async with chat:
            await do_tasks(job, chat, take, sink.done, row_done)
    finally:
        reporting.cancel()
        report()


def run_here(job: Job, tasks: Tasks, sink: Sink) -> None:
    """Do the tasks in this process."""

    async def take() -> Task | None:
        return tasks.take()

    with RecordingStore(job.recording, readonly=job.replay) as store:
        run_blocking(run_worker(job, store, Pool(job.spent), take, sink))


@dataclass
class _Process:
    """A worker process as its feeder sees it; `counted`: rows it reported that are in no finished shard yet."""

    process: Any
    slot: int
    tasks: dict[int, Task] = field(default_factory=dict)
    counted: int = 0


def run_processes(job: Job, queue: Tasks, sink: Sink, workers: int) -> None:
    """Do the tasks in `workers` processes; the tasks of one that dies are given to the others."""
    context = multiprocessing.get_context("spawn")
    shared = context.Array("d", Pool.WIDTH * workers, lock=False)
    shared[:3] = (job.spent.requests, job.spent.prompt_tokens, job.spent.completion_tokens)
    deaths: Counter[int] = Counter()
    running: dict[Any, _Process] = {}  # by the pipe to it

    def start(slot: int) -> None:
        share = job.endpoint.concurrency // workers + (slot < job.endpoint.concurrency % workers)
        own = replace(job, endpoint=replace(job.endpoint, concurrency=max(1, share)))
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker, args=(own, theirs, shared, slot), daemon=True)
        process.start()
        theirs.close()
        running[ours] = _Process(process, slot)
        feed(ours)

    def feed(pipe: Any) -> None:
        # Two at a time, so that the next shard's rows fill the places that the last rows of this one leave.
        has = running[pipe].tasks
        while len(has) < 2 and (task := queue.take()):
            has[task.shard] = task
            pipe.send(task)

    def hear(pipe: Any) -> None:
        kind, *content = pipe.recv()
        worker = running[pipe]
        if kind == "error":
            raise content[0]
        if kind == "done":
            shard, results = content
            sink.done(shard, results)
            del worker.tasks[shard]
            worker.counted -= len(results)
            feed(pipe)
        else:
            worker.counted += content[0]
            sink.pulse(*content)

    def bury(pipe: Any) -> None:
        worker = running.pop(pipe)
        pipe.close()
        worker.process.join()
        shared[worker.slot * Pool.WIDTH + Pool.WIDTH - 1] = 0  # it has nothing in flight any more
        sink.pulse(-worker.counted, Usage(), 0)
        for task in worker.tasks.values():
            deaths[task.shard] += 1
            if deaths[task.shard] == DEATHS:
                raise DataError(
                    f"{DEATHS} workers ended over shard {task.shard} (the last with exit code "
                    f"{worker.process.exitcode}; -9 is often too little memory); what was answered is recorded: run "
                    "again with fewer workers"
                )
            queue.give_back(task)
        if queue:
            start(worker.slot)

    try:
        for slot in range(workers):
            if queue:
                start(slot)
        ending = False
        while running:
            if not ending and not queue and not any(worker.tasks for worker in running.values()):
                ending = True
                for pipe in running:
                    pipe.send(None)
            for pipe in multiprocessing.connection.wait(list(running)):
                try:
                    hear(pipe)
                except (EOFError, ConnectionError):
                    bury(pipe)
    finally:
        for pipe in running:
            with contextlib.suppress(OSError):
                pipe.send("stop")
            pipe.close()
        for worker in running.values():
            worker.process.join(GRACE + 5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _worker(job: Job, pipe: Any, shared: Any, slot: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that feeds it decides
    try:
        run_blocking(_serve(job, pipe, Pool.attach(shared, slot)))
    except HubwrightError as error:
        pipe.send(("error", error))
    except asyncio.CancelledError:
        pass  # told to stop
    except BaseException:
        pipe.send(("error", RuntimeError(f"in a worker of {job.work}:\n{traceback.format_exc()}")))
    finally:
        pipe.close()
        os._exit(0)  # the reading thread may stand in `recv`


async def _serve(job: Job, pipe: Any, pool: Pool) -> None:
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None
    tasks: asyncio.Queue[Task | None] = asyncio.Queue()
    sink = Sink(lambda *shard: pipe.send(("done", *shard)), lambda *state: pipe.send(("pulse", *state)))

    def read() -> None:
        while True:
            try:
                task = pipe.recv()
            except (EOFError, OSError):
                os._exit(1)  # whoever feeds us is gone
            if task == "stop":
                loop.call_soon_threadsafe(main.cancel)
                return
            loop.call_soon_threadsafe(tasks.put_nowait, task)
            if task is None:
                return

    with RecordingStore(job.recording, readonly=job.replay) as store:
        threading.Thread(target=read, daemon=True).start()
        await run_worker(job, store, pool, tasks.get, sink)
