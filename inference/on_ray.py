"""A stage's shards as tasks on an existing Ray cluster: extra [ray].

One shard is one task; its results come back to the process that runs the stage, which writes the shard. Ray starts a
task again whose worker died; its answers so far are in the traffic folder, which has to be on storage that all nodes
see. `hubwright`, the module of the work function and the endpoint's key have to be on the nodes as well.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..hub_sync.errors import HubwrightError, UsageError
from .budget import Budget, Usage
from .requests import one_line
from .store import TrafficStore
from .workers import Job, Results, Sink, Task, Tasks, run_here

RETRIES = 3  # of a task whose worker died

_stores: dict[tuple[Path, bool], TrafficStore] = {}  # of this Ray worker process: its segment stays open


def run_on_ray(job: Job, queue: Tasks, sink: Sink, workers: int) -> None:
    """Do the tasks, `workers` at once; each has an equal part of the concurrency and of the caps.

    Raises UsageError if no cluster can be joined: none is started here.
    """
    ray = _join()
    run = ray.remote(max_retries=RETRIES)(_do)
    part = replace(
        job,
        traffic=job.traffic.absolute(),
        endpoint=replace(job.endpoint, concurrency=max(1, job.endpoint.concurrency // workers)),
        budget=_part(job.budget, job.spent, workers),
    )
    used = [Usage() for _ in range(workers)]
    free = list(range(workers))
    running: dict[Any, tuple[int, Task]] = {}
    try:
        while queue or running:
            while queue and free:
                slot, task = free.pop(), queue.take()
                running[run.remote(replace(part, spent=used[slot].totals()), task)] = (slot, task)
            for done in ray.wait(list(running), num_returns=1)[0]:
                slot, task = running.pop(done)
                results, usage, error = ray.get(done)
                used[slot].add(usage)
                free.append(slot)
                if error is not None:
                    sink.pulse(0, usage, part.endpoint.concurrency)
                    raise error
                sink.done(task.shard, results)
                sink.pulse(len(results), usage, part.endpoint.concurrency)
    finally:
        for task_id in running:
            ray.cancel(task_id, force=True)


def _join() -> Any:
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


def _do(job: Job, task: Task) -> tuple[Results, Usage, HubwrightError | None]:
    key = (job.traffic, job.replay)
    if key not in _stores:
        _stores[key] = TrafficStore(job.traffic, readonly=job.replay)
    store = _stores[key]
    store.refresh()  # another worker may have died over this shard
    outcomes: Results = []
    used = Usage()
    sink = Sink(lambda shard, results: outcomes.extend(results), lambda rows, usage, limit: used.add(usage))
    try:
        run_here(job, Tasks([task]), sink, store)
    except HubwrightError as error:
        return [], used, error
    finally:
        store.flush()
    return outcomes, used, None
