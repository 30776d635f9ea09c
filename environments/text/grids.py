"""Gymnasium's toy grids in words, with an exact expert: Taxi, FrozenLake and CliffWalking.

Every observation holds the whole state, so an observation is a state's name, and what is true of a policy can be
computed exactly from `tables`.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ...hub_sync.errors import UsageError
from ...hub_sync.settings import Settings
from .interface import Outcome, TextGame

DISCOUNT = 0.99  # of the expert, so that the shortest way is the best one; our choice
TIE = 1e-9  # action values closer than this are equally good
SWEEPS = 10_000  # of value iteration at most; slippery grids settle after some hundreds


@dataclass(frozen=True)
class Tables:
    """A grid as a Markov decision process, and its optimal policy; S states, A actions.

    Attributes:
        states: text of each state.
        actions: text of each action; ties go to the first.
        transitions: [S, A, S], probability of the next state; a row sums to 1 minus `ends`.
        ends: [S, A], probability that the episode ends with this step.
        rewards: [S, A], mean.
        start: [S], the task's first state.
        values: [S, A], optimal action values, discounted by `DISCOUNT`.
        policy: [S, A], the expert: uniform over the optimal actions.
    """

    states: list[str]
    actions: tuple[str, ...]
    transitions: np.ndarray
    ends: np.ndarray
    rewards: np.ndarray
    start: np.ndarray
    values: np.ndarray
    policy: np.ndarray


def action_values(transitions: np.ndarray, rewards: np.ndarray, discount: float = DISCOUNT) -> np.ndarray:
    """Optimal action values by value iteration.

    Args:
        transitions: [S, A, S]; what is missing to 1 ends the episode.
        rewards: [S, A].
    """
    values = np.zeros_like(rewards)
    for _ in range(SWEEPS):
        new = rewards + discount * transitions @ values.max(1)
        if np.abs(new - values).max() < TIE / 1000:
            return new
        values = new
    return values


class Grid(TextGame):
    """What the three grids share: the engine is Gymnasium's, the words are ours."""

    package = "gymnasium"
    modules: ClassVar[dict[str, str]] = {"gymnasium": "pip install 'hubwright[games]'"}
    actions: ClassVar[tuple[str, ...]] = ()  # by the engine's number
    invalid_reward: ClassVar[float] = -1.0  # what a step costs
    own_process: ClassVar[bool] = False  # each task has transitions of its own
    engine: ClassVar[str] = ""  # Gymnasium's name, where one engine serves all tasks; its option `is_NAME` is ours
    _policy: np.ndarray | None = None

    def __init__(self, variant: str = "", options: Any = None) -> None:
        super().__init__(variant, options)
        if variant:
            raise UsageError(f"game {self.title}: there is no {variant!r} of it; write {self.name}")

    def make(self, task: str) -> Any:
        """The engine of a task, unwrapped."""
        return self._shared_engine

    @cached_property
    def _shared_engine(self) -> Any:
        import gymnasium

        return gymnasium.make(self.engine, **{f"is_{name}": value for name, value in self.options}).unwrapped

    def starts(self, task: str) -> list[int]:
        """The task's first states, each as likely."""
        raise NotImplementedError

    def describe(self, engine: Any, state: int) -> str:
        """A state in words."""
        raise NotImplementedError

    def goal_reached(self, state: int, reward: float, done: bool) -> bool:
        """The step that ended the episode reached its goal."""
        return done

    def tables(self, task: str | None = None) -> Tables:
        """The exact process of a task, of the running one if None."""
        task = self.task if task is None else task
        tables = self._process(task)
        start = np.zeros(len(tables.states))
        start[self.starts(task)] = 1 / len(self.starts(task))
        return replace(tables, start=start)

    def _process(self, task: str) -> Tables:
        kind: Any = type(self)
        return _tables(kind, self.options.model_dump_json(), task if self.own_process else "")

    def begin(self, seed: int, task: str) -> str:
        self.task, self._engine, self._reached, self._policy = task, self.make(task), False, None
        self._engine.reset(seed=seed)
        self._engine.s = int(self._engine.np_random.choice(self.starts(task)))
        return self.state()

    def act(self, action: str) -> Outcome:
        if action not in self.actions:
            return self.invalid(action)
        state, reward, done, _, _ = self._engine.step(self.actions.index(action))
        self._reached = self.goal_reached(int(state), float(reward), bool(done))
        return Outcome(self.state(), float(reward), bool(done))

    def invalid(self, action: str) -> Outcome:
        text = f"{super().invalid(action).observation} {self.state()}"
        return Outcome(text, self.invalid_reward, valid=False)

    def state(self) -> str:
        return self.describe(self._engine, int(self._engine.s))

    def admissible(self) -> list[str]:
        return sorted(self.actions)

    def expert(self) -> str:
        return next(iter(self.expert_distribution()))

    def expert_distribution(self) -> dict[str, float]:
        if self._policy is None:
            self._policy = self._process(self.task).policy
        row = self._policy[int(self._engine.s)]
        return {action: float(part) for action, part in zip(self.actions, row, strict=True) if part}

    def score(self) -> float:
        return float(self._reached)


@lru_cache(64)
def _tables(game: type[Grid], options: str, task: str) -> Tables:
    """The tables of a process; `start` is the task's and left empty."""
    one = game("", game.Options.model_validate_json(options).model_dump())
    engine = one.make(task)
    count, width = len(engine.P), len(one.actions)
    transitions, ends = np.zeros((count, width, count)), np.zeros((count, width))
    rewards = np.zeros((count, width))
    for state, by_action in engine.P.items():
        for action, outcomes in by_action.items():
            for chance, after, reward, done in outcomes:
                rewards[state, action] += chance * reward
                if done:
                    ends[state, action] += chance
                else:
                    transitions[state, action, int(after)] += chance
    values = action_values(transitions, rewards)
    best = values >= values.max(1, keepdims=True) - TIE
    states = [one.describe(engine, state) for state in range(count)]
    return Tables(
        states, one.actions, transitions, ends, rewards, np.zeros(count), values, best / best.sum(1, keepdims=True)
    )


def _split(rows: list[str], split: str) -> list[str]:
    """Every sixth of the rows is for dev, the next one for test, the others for train."""
    part = {2: "dev", 5: "test"}
    return [row for number, row in enumerate(rows) if part.get(number % 6, "train") == split]


class TaxiOptions(Settings):
    rainy: bool = Field(False, description="The taxi slips sideways in a fifth of its moves.")


class Taxi(Grid):
    """Taxi-v4. A task is where the passenger waits and where they want to go; the seed places the taxi."""

    name, engine = "taxi", "Taxi-v4"
    Options = TaxiOptions
    actions = ("move south", "move north", "move east", "move west", "pick up", "drop off")
    places: ClassVar[tuple[str, ...]] = ("red", "green", "yellow", "blue")
    instructions = (
        "You drive a taxi on a 5 by 5 grid; row 1 is north, column 1 is west. Fetch the passenger, then bring them to "
        f"their destination. Answer with one action: {', '.join(actions)}."
    )

    def tasks(self, split: str) -> list[str]:
        # Held out: two destinations of one place each, so that every place and every destination is trained on.
        held = {"dev": ["green to yellow", "yellow to green"], "test": ["blue to red", "red to blue"]}
        pairs = [f"{a} to {b}" for a in self.places for b in self.places if a != b]
        return sorted(held.get(split) or set(pairs) - {pair for part in held.values() for pair in part})

    def starts(self, task: str) -> list[int]:
        source, target = (self.places.index(place) for place in task.split(" to "))
        return [self._shared_engine.encode(n // 5, n % 5, source, target) for n in range(25)]

    def describe(self, engine: Any, state: int) -> str:
        row, column, passenger, target = engine.decode(state)
        places = zip(self.places, engine.locs, strict=True)
        corners = [f"{name} is row {r + 1} column {c + 1}" for name, (r, c) in places]
        ways = ["north"] * (row > 0) + ["south"] * (row < 4)
        ways += ["east"] * (engine.desc[1 + row, 2 * column + 2] == b":")
        ways += ["west"] * (engine.desc[1 + row, 2 * column] == b":")
        if passenger == 4:
            goal, corner = "The passenger is in the taxi", corners[target]
        else:
            verb = "has arrived" if passenger == target else "waits"
            goal, corner = f"The passenger {verb} at {self.places[passenger]}", corners[passenger]
        return (
            f"Taxi at row {row + 1} column {column + 1}, free ways {' '.join(ways)}. {goal}, going to "
            f"{self.places[target]}; {corner}."
        )


class LakeOptions(Settings):
    slippery: bool = Field(False, description="Two thirds of the moves go sideways.")
    size: int = Field(4, ge=3, le=8, description="Rows and columns of the map.")


class FrozenLake(Grid):
    """FrozenLake-v1. A task is the number of a random map; the seed is of the ice."""

    name = "frozen_lake"
    Options = LakeOptions
    actions = ("move left", "move down", "move right", "move up")
    invalid_reward, own_process = 0.0, True
    instructions = (
        "You cross a frozen lake; row 1 is at the top, column 1 on the left. Reach the gift and step into no hole. "
        f"Answer with one action: {', '.join(actions)}."
    )

    def tasks(self, split: str) -> list[str]:
        first, last = {"train": (0, 1000), "dev": (1000, 1100), "test": (1100, 1200)}[split]
        return [f"map {number}" for number in range(first, last)]

    def make(self, task: str) -> Any:
        return _lake(int(task.removeprefix("map ")), self.options.size, self.options.slippery)

    def starts(self, task: str) -> list[int]:
        return [0]

    def describe(self, engine: Any, state: int) -> str:
        def place(number: int) -> str:
            return f"row {number // engine.ncol + 1} column {number % engine.ncol + 1}"

        holes = [place(int(number)) for number in np.flatnonzero(engine.desc == b"H")]
        text = (
            f"You are at {place(state)} of {engine.nrow} by {engine.ncol}; the gift is at {place(engine.ncol**2 - 1)}"
        )
        return f"{text}; holes: {', '.join(holes) or 'none'}."

    def goal_reached(self, state: int, reward: float, done: bool) -> bool:
        return reward > 0


@lru_cache(64)
def _lake(number: int, size: int, slippery: bool) -> Any:
    import gymnasium
    from gymnasium.envs.toy_text.frozen_lake import generate_random_map

    desc = generate_random_map(size=size, seed=number)
    return gymnasium.make("FrozenLake-v1", desc=desc, is_slippery=slippery).unwrapped


class CliffOptions(Settings):
    slippery: bool = Field(False, description="Two thirds of the moves go sideways.")


class CliffWalking(Grid):
    """CliffWalking-v1. A task is the first square; the seed is of the ice."""

    name, engine = "cliff_walking", "CliffWalking-v1"
    Options = CliffOptions
    actions = ("move up", "move right", "move down", "move left")
    instructions = (
        "You walk on a 4 by 12 grid; row 1 is at the top, column 1 on the left. Columns 2 to 11 of row 4 are a cliff: "
        "who steps there loses 100 points and starts again at row 4 column 1. Reach row 4 column 12. Answer with one "
        f"action: {', '.join(actions)}."
    )

    def tasks(self, split: str) -> list[str]:
        return _split([f"row {n // 12 + 1} column {n % 12 + 1}" for n in range(37)], split)

    def starts(self, task: str) -> list[int]:
        _, row, _, column = task.split()
        return [(int(row) - 1) * 12 + int(column) - 1]

    def describe(self, engine: Any, state: int) -> str:
        row, column = divmod(state, 12)
        where = f"You are at row {row + 1} column {column + 1}; the goal is row 4 column 12"
        return f"{where}; the cliff is below you." if row == 2 and 0 < column < 11 else f"{where}."
