"""Draws of executed call graphs in several processes, with the rows of one process.

Whether a draw gives a row decides which draw comes next, so the draws are one chain. Its likeliest continuations are
made ahead in worker processes; what the chain does not reach is dropped. A draw depends on its seed alone. A worker is
forked from a server that has imported this module, and lives for the whole build.
"""

from __future__ import annotations

import contextlib
import heapq
import multiprocessing
import multiprocessing.connection
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ...hub_sync.errors import DataError, HubwrightError, RowRejected
from .._lib.conversation_checks import run_checks
from .._lib.conversation_rows import Row
from .compatibility import Compatibility
from .plan import Plan, ToolCrashed, draw, run
from .toolset import Toolset
from .variants import conversation, prepare

if TYPE_CHECKING:
    from .build import CallGraphsConfig

TRIES = 400  # draws for one row before its place is given to another composition
DEATHS = 3  # workers that may end before the build is given up
MEMORY = 500  # draws made ahead that are held
RESTART = 50_000  # draws of a sandbox, whose processor time is limited
LOOKED = 100  # continuations that are looked at
SURE = 1.4  # divided by the workers: the chance above which one is made; with two, only what is likely


def next_place(
    rng: random.Random, cells: list[tuple[str, str, float]], parallel_share: float
) -> tuple[str, str, bool]:
    """The composition and variant of a row, and whether it may call in parallel."""
    composition, variant, _ = rng.choices(cells, [weight for _, _, weight in cells])[0]
    return composition, variant, rng.random() < parallel_share


def next_seed(rng: random.Random) -> int:
    """The seed of a draw."""
    return rng.randrange(2**40)


class Draw(NamedTuple):
    """What is drawn, and from which seed."""

    composition: str
    variant: str
    parallel: bool
    seed: int


class Chain(NamedTuple):
    """A place in the chain of draws: the generator's state, what is to be drawn, and the tries and rows left."""

    state: Any
    cells: list[tuple[str, str, float]]
    parallel_share: float
    place: tuple[str, str, bool]
    tries: int
    rows: int

    def step(self) -> tuple[Draw, Chain | None, Chain | None]:
        """The draw made here, and the chain if it gives a row and if it does not; None where it ends."""
        rng = random.Random()  # noqa: S311 - not for secrets
        rng.setstate(self.state)
        which = Draw(*self.place, next_seed(rng))
        state = rng.getstate()
        refused = self._replace(state=state, tries=self.tries - 1) if self.tries > 1 else None
        if self.rows <= 1:
            return which, None, refused
        place = next_place(rng, self.cells, self.parallel_share)
        return which, self._replace(state=rng.getstate(), place=place, tries=TRIES, rows=self.rows - 1), refused


class Drawer:
    """Makes the draws of a split after the other in a sandbox of its own."""

    def __init__(self, config: CallGraphsConfig, toolset: Toolset) -> None:
        self.config, self.box, self.drawn = config, toolset.open(), 0

    def use(self, split: str, toolset: Toolset) -> None:
        """Draw for this split, from these tools, from now on."""
        if self.drawn:
            self.box.begin_again()
        self.split, self.toolset, self.drawn = split, toolset, 0
        self.compatibility = Compatibility(toolset.tools, toolset.fields) if toolset.fields else None
        self.responses = {name: tool.definition["responses"] for name, tool in toolset.tools.items()}

    def plan(self, which: Draw) -> Plan:
        """A plan, prepared for the variant. Raises RowRejected or ToolCrashed."""
        self.drawn += 1
        if self.drawn % RESTART == 0:
            self.box.begin_again()
        pools = self.toolset.begin(self.box, which.seed)
        plan = draw(which.composition, self.toolset.tools, pools, which.seed, self.box, self.compatibility)
        prepare(plan, which.variant, self.toolset.tools)
        return plan

    def row(self, which: Draw, plan: Plan) -> Row:
        """The row of a plan, checked by itself. Raises RowRejected or ToolCrashed."""
        functions = frozenset(node.tool for node in plan.nodes)
        run(plan, self.box, which.parallel)
        row = conversation(
            plan, which.variant, self.toolset, which.parallel, self.config.distractors, self.config.thoughts,
            lambda offered: self.config.split_of(functions, offered) == self.split,
        )  # fmt: skip
        if self.toolset.origin:
            row["made_by"] += f" over {self.toolset.origin}"
        return run_checks(row, self.responses)

    def outcome(self, which: Draw, plan: Plan | None) -> Plan | Row | RowRejected | ToolCrashed:
        """The plan of a draw, or with its plan the row; or why there is none."""
        try:
            return self.plan(which) if plan is None else self.row(which, plan)
        except RowRejected as error:
            return RowRejected(error.reason)
        except ToolCrashed as error:
            self.box.begin_again()
            return error

    def close(self) -> None:
        """End the sandbox."""
        self.box.close()


class Draws:
    """Draws in this process (`workers` 1) or made ahead in `workers` others; `use` comes before the first.

    Args:
        toolset: all tools that may be used later.
    """

    def __init__(self, config: CallGraphsConfig, toolset: Toolset) -> None:
        self._config, self._every = config, toolset
        self._known: dict[Draw, Any] = {}  # draw -> None (on its way), plan or error, (plan, row or error)
        self._tried: Counter[tuple[str, str]] = Counter()
        self._planned: Counter[tuple[str, str]] = Counter()
        self._deaths = 0
        self._busy: dict[Any, tuple[Draw, Plan | None] | None] = {}  # pipe to a worker -> what it does
        self._processes: dict[Any, Any] = {}
        self._own = Drawer(config, toolset) if config.workers == 1 else None

    def use(self, split: str, toolset: Toolset, fits: Callable[[Plan], bool]) -> None:
        """Draw for this split, from these tools, from now on; what was made ahead is dropped.

        Args:
            fits: whether a plan may become a row, as far as is known without its calls.
        """
        self._job, self._fits = (split, toolset), fits
        if self._own:
            self._own.use(split, toolset)
            return
        while any(self._busy.values()):
            self._take()
        self._known.clear()
        for pipe in self._processes:
            self._tell(pipe, self._job)
        while len(self._processes) < self._config.workers:
            self._start()

    def plan(self, which: Draw, chain: Chain) -> Plan:
        """The plan of a draw. Raises RowRejected or ToolCrashed.

        Args:
            chain: the draws from this draw on.
        """
        if self._own:
            return _value(self._own.outcome(which, None))
        while (outcome := self._known.get(which)) is None:
            self._exchange(chain)
        return _value(outcome[0] if isinstance(outcome, tuple) else outcome)

    def row(self, which: Draw, plan: Plan, chain: Chain) -> Row:
        """The row of a plan. Raises RowRejected or ToolCrashed."""
        if self._own:
            return _value(self._own.outcome(which, plan))
        while not isinstance(outcome := self._known.get(which), tuple):
            self._exchange(chain)
        return _value(outcome[1])

    def _exchange(self, chain: Chain) -> None:
        """Give idle workers the likeliest draws, and take what the others have made."""
        heap = [(-1.0, 0, chain)]
        for number in range(1, LOOKED):
            idle = [pipe for pipe, task in self._busy.items() if task is None]
            if not heap or not idle:
                break
            chance, _, place = heapq.heappop(heap)
            which, accepted, refused = place.step()
            success = self._chance(which, idle)
            for part, following in ((success, accepted), (1 - success, refused)):
                if following is not None and -chance * part > SURE / self._config.workers:
                    heapq.heappush(heap, (chance * part, 2 * number + (following is refused), following))
        self._take()
        while len(self._known) > MEMORY:
            del self._known[next(iter(self._known))]

    def _take(self) -> None:
        """Wait for workers, and take what they have made."""
        ready: list[Any] = multiprocessing.connection.wait(list(self._busy))
        for pipe in ready:
            try:
                kind, content = pipe.recv()
            except (EOFError, ConnectionError):
                self._bury(pipe)
                continue
            if kind == "error":
                raise content
            task = self._busy[pipe]
            assert task is not None
            which, plan = task
            self._busy[pipe] = None
            self._known[which] = content if plan is None else (plan, content)
            if plan is None:
                self._tried[which[:2]] += 1
                self._planned[which[:2]] += isinstance(content, Plan)

    def _chance(self, which: Draw, idle: list[Any]) -> float:
        """How likely a draw gives a row; what is missing to know it is handed to a worker."""
        if which not in self._known:
            self._give(idle, which, None)
        outcome = self._known[which]
        if outcome is None:
            return (self._planned[which[:2]] + 1) / (self._tried[which[:2]] + 2)
        if isinstance(outcome, Plan):
            if not self._fits(outcome):
                return 0.0
            if not any(task and task[0] == which for task in self._busy.values()):
                self._give(idle, which, outcome)
        return 0.95 * (not isinstance(outcome[1] if isinstance(outcome, tuple) else outcome, Exception))

    def _give(self, idle: list[Any], which: Draw, plan: Plan | None) -> None:
        # Preferably the worker that has begun this seed's state before: for the plan, or after another outcome.
        home = list(self._busy)[which.seed % len(self._busy)]
        pipe = home if home in idle else idle[0]
        self._known[which] = plan
        self._busy[pipe] = which, plan
        self._tell(pipe, (which, plan))

    def _tell(self, pipe: Any, message: Any) -> None:
        with contextlib.suppress(OSError):  # a worker that ended is found when it is heard
            pipe.send(message)

    def _start(self) -> None:
        # Not a fork of this process, which has threads; not one start of Python and its imports per worker.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._config, self._every), daemon=True)
        process.start()
        theirs.close()
        self._busy[ours], self._processes[ours] = None, process
        self._tell(ours, self._job)

    def _bury(self, pipe: Any) -> None:
        """Start another worker instead of one that ended, and drop what it had begun."""
        process, task = self._processes.pop(pipe), self._busy.pop(pipe)
        pipe.close()
        process.join()
        if task is not None:
            self._known.pop(task[0], None)
        self._deaths += 1
        if self._deaths == DEATHS:
            raise DataError(
                f"call_graphs: {DEATHS} workers ended (the last with exit code {process.exitcode}; -9 is often too "
                f"little memory): run again with fewer workers than {self._config.workers}"
            )
        self._start()

    def close(self) -> None:
        """End all workers."""
        if self._own:
            self._own.close()
        for pipe, process in self._processes.items():
            pipe.close()  # a worker ends when nobody is at the other end
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
        self._known, self._busy, self._processes, self._own = {}, {}, {}, None


def _value(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _serve(pipe: Any, config: CallGraphsConfig, toolset: Toolset) -> None:
    """A worker: outcomes of draws until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that feeds it decides
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            with contextlib.closing(Drawer(config, toolset)) as drawer:
                while True:
                    which, content = pipe.recv()
                    if isinstance(which, Draw):
                        pipe.send(("outcome", drawer.outcome(which, content)))
                    else:
                        drawer.use(which, content)
        except (EOFError, ConnectionError):
            raise
        except HubwrightError as error:
            pipe.send(("error", error))
        except Exception:
            pipe.send(("error", RuntimeError(f"in a worker of call_graphs:\n{traceback.format_exc()}")))
