"""Games in worker processes, stepped in batches; what hangs or dies is replaced, and its episode redone.

    with GamePool("taxi", workers=2) as pool:
        frames = pool.reset({0: Episode("taxi", "red to blue", 1), 1: Episode("taxi", "red to green", 1)})
        frames = pool.step({0: "move north", 1: "pick up"}, asked=["expert"])

A worker that gives no answer in time, or ends, is replaced by a new one. Its episodes are begun again there and their
actions replayed. If a frame differs (an engine need not be deterministic), or if a worker ends twice over an
episode, the slot's answer is a `Lost`; the others go on. `play.play` plays whole episodes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any

from ...hub_sync.errors import DataError, HubwrightError, UsageError, did_you_mean
from ...hub_sync.settings import split_speed
from .interface import Episode, Frame
from .registry import check_game
from .worker import ASKED

START = 60.0  # seconds in which a process has to have imported what it needs


@dataclass(frozen=True)
class Lost:
    """An episode that a pool could not bring back. `final`: it failed twice by itself, so it is given up."""

    reason: str
    final: bool


@dataclass
class _Job:
    slot: int
    method: str
    arguments: tuple[Any, ...]

    @property
    def seconds_of(self) -> str:
        return "step" if self.method == "step" else "reset"


@dataclass
class _Slot:
    """The episode that a slot plays; `past`: its reset and steps with the frames they gave, to be replayed."""

    episode: Episode
    past: list[tuple[_Job, Frame]] = field(default_factory=list)
    failures: int = 0


class _Ended(Exception):
    """A worker gave no answer."""


class _Worker:
    """One process and the jobs it has not answered yet, the current one first."""

    def __init__(self, game: str, options: dict[str, Any]) -> None:
        self.pipe, theirs = Pipe()
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # A fixed hash seed: sets are in the same order every time. Its own session: an interrupt is for us.
            env=os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        theirs.close()
        self.jobs: deque[tuple[int, _Job]] = deque()
        self.ready = False  # it has imported what it needs
        self.send((game, options))

    def send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # one that ended is found when it is heard
            self.pipe.send(message)

    def give(self, jobs: Iterable[tuple[int, _Job]]) -> None:
        self.jobs.extend(jobs)
        self.since = time.monotonic() + (0 if self.ready else START)
        self.send([(number, job.slot, job.method, *job.arguments) for number, job in self.jobs])

    def kill(self) -> None:
        """End the process and what it started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()


class GamePool(contextlib.AbstractContextManager["GamePool"]):
    """Games of one kind in processes of their own.

    Args:
        name: as in the registry, "babyai/GoToLocal".
        options: the game's parameters.
        workers: processes; results do not depend on it.
        step_seconds, reset_seconds: how long a step, or a reset and what is asked of a game, may take.

    Raises UsageError, before a process starts, for an unknown game, wrong parameters or a missing package or Java.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any] | None = None,
        workers: int = 1,
        step_seconds: float = 30.0,
        reset_seconds: float = 120.0,
    ) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise UsageError(f"game {name}: workers {workers!r} is not a whole number of at least 1")
        self._seconds = {"step": step_seconds, "reset": reset_seconds}
        for kind, seconds in self._seconds.items():
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
                raise UsageError(f"game {name}: {kind}_seconds {seconds!r} is not a number above 0")
        self.title = name
        checked = check_game(name, options).check_options(options or {})
        self._options: dict[str, Any] = checked.model_dump()
        #: All parameters, for the record and `panel_hash`, without those of speed and place.
        self.options, _ = split_speed(checked, self._options)
        self._workers: list[_Worker | None] = [None] * workers
        self._slots: dict[int, _Slot] = {}
        self._lost: dict[int, Lost] = {}  # to be told when the slot is used next
        self._failures: Counter[str] = Counter()
        self.instructions: str = self._one("instructions")

    def tasks(self, split: str) -> list[str]:
        """The tasks of a split."""
        tasks: list[str] = self._one("tasks", split)
        return tasks

    def reset(self, episodes: Mapping[int, Episode], asked: Sequence[str] = ()) -> dict[int, Frame | Lost]:
        """Begin episodes, by slot; a slot is any number from 0, and plays one episode at a time.

        Args:
            asked: answered along with the frame: see `ask`.
        """
        names = _checked(asked)
        for slot, episode in episodes.items():
            if episode.game != self.title:
                raise UsageError(f"episode {episode} is of another game than {self.title}")
            self._slots[slot] = _Slot(episode)
            self._lost.pop(slot, None)
        return self._do([_Job(slot, "reset", (one.seed, one.task, names)) for slot, one in episodes.items()])

    def step(self, actions: Mapping[int, str], asked: Sequence[str] = ()) -> dict[int, Frame | Lost]:
        """Take an action in each of these slots."""
        names = _checked(asked)
        self._need(actions)
        return self._do([_Job(slot, "step", (action, names)) for slot, action in actions.items()])

    def ask(self, slots: Iterable[int], asked: Sequence[str]) -> dict[int, dict[str, Any] | Lost]:
        """What the games of these slots answer, by name: "admissible", "expert", "distribution", "gold", "state"."""
        names, wanted = _checked(asked), list(slots)
        self._need(wanted)
        return self._do([_Job(slot, "ask", (names,)) for slot in wanted])

    def free(self, slots: Iterable[int]) -> None:
        """Forget the episodes of these slots: they are not brought back if their worker fails."""
        for slot in slots:
            self._slots.pop(slot, None)
            self._lost.pop(slot, None)

    def close(self) -> None:
        """End all processes."""
        for number, worker in enumerate(self._workers):
            if worker is not None:
                self._workers[number] = None
                worker.kill()
        self._slots.clear()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _need(self, slots: Iterable[int]) -> None:
        for slot in slots:
            if slot not in self._slots and slot not in self._lost:
                raise UsageError(f"game {self.title}: slot {slot!r} plays no episode: reset it first")

    def _one(self, method: str, *arguments: Any) -> Any:
        return self._do([_Job(-1, method, arguments)])[-1]

    def _do(self, jobs: Sequence[_Job]) -> dict[int, Any]:
        """The answers to jobs by slot, those of one slot at most one. Raises the first error that is the caller's."""
        answers: dict[int, Any] = {}
        errors: list[HubwrightError] = []
        shares: dict[int, list[tuple[int, _Job]]] = {}
        for number, job in enumerate(jobs):
            if job.slot in self._lost:
                answers[job.slot] = self._lost.pop(job.slot)
            else:
                shares.setdefault(job.slot % len(self._workers), []).append((number, job))
        for place, share in shares.items():
            self._worker(place).give(share)
        while busy := {w.pipe: n for n, w in enumerate(self._workers) if w is not None and w.jobs}:
            limits = [self._left(self._worker(place)) for place in busy.values()]
            ready: list[Any] = wait(list(busy), max(0.0, min(limits)))
            for pipe, place in busy.items():
                worker = self._worker(place)
                try:
                    if pipe in ready:
                        self._hear(place, worker, answers, errors)
                    elif self._left(worker) <= 0:
                        job = worker.jobs[0][1]
                        raise _Ended(f"no answer to {job.method} within {self._seconds[job.seconds_of]:g} s")
                except _Ended as error:
                    self._replace(place, str(error), answers)
        if errors:
            raise errors[0]
        return answers

    def _left(self, worker: _Worker) -> float:
        return worker.since + self._seconds[worker.jobs[0][1].seconds_of] - time.monotonic()

    def _worker(self, place: int) -> _Worker:
        worker = self._workers[place]
        if worker is None:
            worker = self._workers[place] = _Worker(self.title, self._options)
        return worker

    def _hear(self, place: int, worker: _Worker, answers: dict[int, Any], errors: list[HubwrightError]) -> None:
        """Take what a worker has answered so far. Raises _Ended if it is gone."""
        while worker.jobs and worker.pipe.poll():
            try:
                number, kind, value = worker.pipe.recv()
            except (EOFError, OSError) as error:
                raise _Ended(_exit_of(worker.process)) from error
            if kind == "ready":
                worker.ready, worker.since = True, time.monotonic()
                continue
            expected, job = worker.jobs[0]
            if number != expected:
                raise _Ended("it answered another job")
            if kind == "failed":
                raise _Ended(value)
            worker.jobs.popleft()
            worker.since = time.monotonic()
            if kind == "error":
                errors.append(value)
                continue
            answers[job.slot] = value
            slot = self._slots.get(job.slot)
            if slot is None:
                continue
            slot.failures = 0  # what failed before has gone well
            if job.method in ("reset", "step"):
                slot.past.append((job, value))

    def _replace(self, place: int, reason: str, answers: dict[int, Any]) -> None:
        """Start another worker instead of one that failed in its current job, and bring its episodes there."""
        worker = self._worker(place)
        jobs, job = list(worker.jobs), worker.jobs[0][1]
        slot = self._slots.get(job.slot)
        lost: dict[int, Lost] = {}
        if slot is None:
            self._failures[job.method] += 1
            if self._failures[job.method] > 1:
                self.close()
                raise DataError(f"game {self.title}: its process failed twice at {job.method!r}: {reason}")
        else:
            slot.failures += 1
            if slot.failures > 1:
                lost[job.slot] = Lost(reason, final=True)
                del self._slots[job.slot]
        while True:  # each round that fails gives up an episode
            worker.kill()
            worker = self._workers[place] = _Worker(self.title, self._options)
            worker.ready = worker.pipe.poll(START) and worker.pipe.recv()[1] == "ready"
            for number in sorted(n for n in self._slots if n % len(self._workers) == place and n not in lost):
                if problem := self._replay(worker, number):
                    lost[number] = Lost(problem[0], final=False)
                    del self._slots[number]
                    if problem[1]:
                        break
            else:
                break
        now = answers.keys() | {one.slot for _, one in jobs}
        answers.update({number: one for number, one in lost.items() if number in now})
        self._lost.update({number: one for number, one in lost.items() if number not in now})
        worker.give([(number, one) for number, one in jobs if one.slot not in lost])

    def _replay(self, worker: _Worker, number: int) -> tuple[str, bool] | None:
        """Bring a slot's episode to where it was; else what went wrong, and whether the worker is gone."""
        slot = self._slots[number]
        if slot.past and slot.past[-1][1].done:
            return None  # there is nothing left to play
        for job, expected in slot.past:
            worker.send([(0, job.slot, job.method, *job.arguments)])
            try:
                if not worker.pipe.poll(self._seconds[job.seconds_of]):
                    return f"no answer to {job.method} within {self._seconds[job.seconds_of]:g} s in a replay", True
                _, kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                return f"{_exit_of(worker.process)} in a replay", True
            if kind != "value":
                return f"{value} in a replay", kind == "failed"
            if value != expected:  # the observation, or what the expert would do
                return "its replay differs", False
        return None


def _exit_of(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:
        return "its process closed the pipe"
    return f"its process ended ({'signal ' + str(-code) if code < 0 else 'code ' + str(code)})"


def _checked(asked: Sequence[str]) -> tuple[str, ...]:
    for name in asked:
        if name not in ASKED:
            raise UsageError(f"a game cannot be asked for {name!r}{did_you_mean(str(name), ASKED)}")
    return tuple(asked)
