"""Shards of work that a model in this process does, or models in several processes or on a Ray cluster.

    rows = shards_of(partial(Rater, config, inputs), range(5_000_000), identity, folder, size=512, workers=4)

A worker is made once in each process, where it loads its model, and is called with the requests of one shard. Results
follow from the requests alone, so neither workers nor a kill change them; finished shards are on the disk (shards.py).
"""

from __future__ import annotations

import multiprocessing
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal

from ..hub_sync.errors import DataError, HubwrightError
from ..hub_sync.pace import Pace
from .requests import one_line
from .shards import Row, read_shard, shard_path, write_shard

Work = Callable[[Sequence[Any]], Sequence[Row]]
Engine = Literal["local", "ray"]


def shards_of(
    make: Callable[[], Work], requests: Sequence[Any], identity: Mapping[str, Any], folder: Path, size: int, *,
    workers: int = 1, engine: Engine = "local", pace: Pace | None = None,
) -> Iterator[Row]:  # fmt: skip
    """The results for all requests in their order, from the shards on the disk.

    Args:
        make: makes the worker; with several workers it is pickled.
        requests: JSON values.
        identity: what decides the result beside the requests; JSON.
        folder: of the shards; with Ray on storage that all nodes see, as is what the worker reads.
        size: requests in a shard.
        pace: counts requests as their shards are done.

    Raises what a worker raises; DataError if a worker's process ends.
    """
    names: list[str] = []  # a path takes ten times the memory
    missing: list[int] = []
    for index, start in enumerate(range(0, len(requests), size)):
        some = _slice(requests, start, size)
        path = shard_path(folder, index, identity, some)
        names.append(path.name)
        if read_shard(path, len(some)) is None:
            missing.append(index)
        elif pace is not None:
            pace.add(len(some))
    shards = folder / "shards"

    def finish(index: int, results: Sequence[Row]) -> None:
        write_shard(shards / names[index], results)
        if pace is not None:
            pace.add(len(results))

    tasks = ((index, _slice(requests, index * size, size)) for index in missing)
    if missing and engine == "ray":
        _on_ray(make, tasks, finish, workers)
    elif missing and workers > 1:
        _in_processes(make, tasks, finish, min(workers, len(missing)))
    elif missing:
        work = make()
        for index, some in tasks:
            finish(index, work(some))
    for index, name in enumerate(names):
        rows = read_shard(shards / name, min(size, len(requests) - index * size))
        if rows is None:
            raise DataError(f"{shards / name} was damaged or removed since it was written; run this again")
        yield from rows  # type: ignore[misc]


def _slice(requests: Sequence[Any], start: int, size: int) -> list[Any]:
    return list(requests[start : start + size])


_work: Work | None = None


def _begin(make: Callable[[], Work]) -> None:
    global _work
    _work = make()


_make: Callable[[], Work] | None = None


def _later(make: Callable[[], Work]) -> None:
    """The worker is made by its first shard, so that what it raises comes back as it is."""
    global _make
    _make = make


def _do_made(some: list[Any]) -> tuple[list[Row] | None, HubwrightError | str | None]:
    try:
        if _work is None:
            assert _make is not None
            _begin(_make)
    except HubwrightError as error:
        return None, error
    except Exception:
        return None, traceback.format_exc()
    return _do(some)


def _do(some: list[Any]) -> tuple[list[Row] | None, HubwrightError | str | None]:
    """(results, None), or (None, what ended it): exceptions of libraries may not be pickled."""
    assert _work is not None
    try:
        return list(_work(some)), None
    except HubwrightError as error:
        return None, error
    except Exception:
        return None, traceback.format_exc()


def _in_processes(
    make: Callable[[], Work], tasks: Iterator[tuple[int, list[Any]]], finish: Callable[[int, Sequence[Row]], None],
    workers: int,
) -> None:  # fmt: skip
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _later, (make,)) as pool:
        running: dict[Future[Any], int] = {}

        def feed() -> None:
            while len(running) < 2 * workers and (task := next(tasks, None)) is not None:
                running[pool.submit(_do_made, task[1])] = task[0]

        feed()
        try:
            while running:
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    finish(running.pop(done), _result(*done.result()))
                feed()
        except BrokenProcessPool as error:
            raise DataError(
                "a worker's process ended, perhaps for want of memory; what was finished "
                "is on the disk: run again with fewer workers"
            ) from error
        finally:
            for one in running:
                one.cancel()


def _result(results: list[Row] | None, error: HubwrightError | str | None) -> list[Row]:
    if isinstance(error, HubwrightError):
        raise error
    if results is None:
        raise RuntimeError(f"a worker failed:\n{error}")
    return results


class _Actor:
    def __init__(self, make: Callable[[], Work]) -> None:
        self._make, self._lock = make, threading.Lock()

    def do(self, some: list[Any]) -> tuple[list[Row] | None, HubwrightError | str | None]:
        with self._lock:
            try:
                if _work is None:
                    _begin(self._make)
            except HubwrightError as error:
                return None, error
            return _do(some)


def _on_ray(
    make: Callable[[], Work], tasks: Iterator[tuple[int, list[Any]]], finish: Callable[[int, Sequence[Row]], None],
    workers: int,
) -> None:  # fmt: skip
    from .on_ray import join

    ray = join()
    actors = [ray.remote(_Actor).remote(make) for _ in range(workers)]
    running: dict[Any, tuple[int, Any]] = {}
    try:
        for actor in actors:
            if (task := next(tasks, None)) is not None:
                running[actor.do.remote(task[1])] = task[0], actor
        while running:
            for done in ray.wait(list(running), num_returns=1)[0]:
                index, actor = running.pop(done)
                try:
                    results = ray.get(done)
                except ray.exceptions.RayActorError as death:
                    raise DataError(
                        f"a Ray worker ended over shard {index} ({one_line(death, 120)}); what was finished is on the "
                        "disk: run this again"
                    ) from death
                finish(index, _result(*results))
                if (task := next(tasks, None)) is not None:
                    running[actor.do.remote(task[1])] = task[0], actor
    finally:
        for actor in actors:
            ray.kill(actor)
