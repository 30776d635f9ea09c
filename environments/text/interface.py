"""The interface of a text game, and what is recorded of its episodes.

A game is a subclass of `TextGame` with six methods: `tasks`, `begin`, `act`, `admissible`, `score`, and `expert` or
`gold`. Another package offers one by an entry point of the group `hubwright.environments`, "name = module:Class".

    class Bell(TextGame):
        name, instructions, max_steps = "bell", "Ring the bell. Actions: ring, wait.", 3

        def tasks(self, split): return {"train": ["a"], "dev": ["b"], "test": ["c"]}[split]
        def begin(self, seed, task): self.rung = False; return "A bell hangs here. Ring it."
        def admissible(self): return ["ring", "wait"]
        def expert(self): return "ring"
        def score(self): return float(self.rung)

        def act(self, action):
            self.rung = action == "ring"
            return Outcome("It rings." if self.rung else "Silence.", float(self.rung), self.rung)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

from pydantic import ValidationError

from ...hub_sync.errors import UsageError, did_you_mean
from ...hub_sync.settings import Settings

SPLITS = ("train", "dev", "test")
LONGEST_ACTION = 400  # characters; what is longer is no action of any game
_THOUGHT = re.compile(r"</(?:think|thinking|thought)>|\[/THINK\]", re.IGNORECASE)
_LABEL = re.compile(r"(?:^|\n)[\s*#>]*action[\s*]*:", re.IGNORECASE)


@dataclass(frozen=True)
class Episode:
    """One episode of a panel: which game, the task in it, and the seed of what the task leaves open."""

    game: str
    task: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a step did. `valid` is False if the text was not an action of this state: it cost a step and changed
    nothing."""

    observation: str
    reward: float = 0.0
    done: bool = False
    valid: bool = True


def action_of(reply: str) -> str:
    """The action in a model's reply: the first line after the last "Action:", without quotes and a closing full stop.

        >>> action_of('Thought: the door is north.\\nAction: "Move  north."')
        'Move north'

    Without that label it is the first line that says anything; "" if there is none. A thought in tags, such as
    `<think>`, comes before it.
    """
    reply = _THOUGHT.split(reply)[-1]
    labels = list(_LABEL.finditer(reply))
    text = reply[labels[-1].end() :] if labels else reply
    line = next((line for line in text.splitlines() if line.strip()), "")
    return " ".join(line.split()).strip("\"'`*“”‘’ ").rstrip(".!").strip("\"'`*“”‘’ ")


def as_messages(
    instructions: str, observations: Sequence[str], actions: Sequence[str], history: int | None = None
) -> list[dict[str, str]]:
    """An episode as chat messages, to be continued by the assistant.

        >>> as_messages("Ring the bell.", ["A bell hangs here.", "Silence."], ["wait"])
        [{'role': 'user', 'content': 'Ring the bell.\\n\\nA bell hangs here.'},
         {'role': 'assistant', 'content': 'wait'}, {'role': 'user', 'content': 'Silence.'}]

    Args:
        observations: the first and one after each action.
        actions: actions, or replies that contain them.
        history: past actions that are kept, with what they answered to; None: all. 0 is for games that show their
            whole state each time.
    """
    if history is not None:
        start = max(0, len(actions) - history)
        observations, actions = observations[start:], actions[start:]
    first = f"{instructions}\n\n{observations[0]}" if instructions else observations[0]
    messages = [{"role": "user", "content": first}]
    for action, observation in zip(actions, observations[1:], strict=True):
        messages += [{"role": "assistant", "content": action}, {"role": "user", "content": observation}]
    return messages


class TextGame:
    """One running game; one episode at a time.

    Attributes:
        name: the family, as in the registry; `variant` is what follows the slash in "family/variant".
        package: the distribution whose version decides what happens; "" for a game of ours.
        modules: what has to be importable, with the command that installs it.
        expert_anywhere: `expert` answers from any state; else only while the actions follow `gold`.
        instructions: what the game is and how its actions are written, for the first message to a model.
        max_steps: steps after which an episode is cut; `begin` may set it.
        Options: the parameters that a recipe may give.
    """

    name: ClassVar[str] = ""
    package: ClassVar[str] = ""
    modules: ClassVar[dict[str, str]] = {}
    expert_anywhere: ClassVar[bool] = True
    instructions: str = ""
    max_steps: int = 50
    Options: ClassVar[type[Settings]] = Settings

    def __init__(self, variant: str = "", options: Mapping[str, Any] | None = None) -> None:
        self.variant = variant
        self.options: Any = self.check_options(options or {})
        self.steps, self.action = 0, ""  # taken so far, and the last of them as the game got it
        self._tasks: frozenset[str] = frozenset()
        self._taken: list[tuple[str, bool]] | None = None  # actions and whether valid; None before the first reset
        self._over = False
        self._observation = ""

    # What a game has to define.

    def tasks(self, split: str) -> list[str]:
        """The tasks of "train", "dev" or "test": disjoint, and the same on every machine."""
        raise NotImplementedError

    def begin(self, seed: int, task: str) -> str:
        """Start an episode and return its first observation, which has the goal."""
        raise NotImplementedError

    def act(self, action: str) -> Outcome:
        """Take an action, written as `action_of` leaves it."""
        raise NotImplementedError

    def admissible(self) -> list[str]:
        """The actions of this state, sorted, each once."""
        raise NotImplementedError

    def score(self) -> float:
        """How far the episode has come, from 0 to 1."""
        raise NotImplementedError

    # What a game may define.

    def gold(self) -> list[str] | None:
        """Actions from the start to the goal; None if the game has none."""
        return None

    def expert(self) -> str | None:
        """The best action here; None if no expert answers."""
        gold, place = self.gold() or [], 0
        for action, valid in self._taken or []:
            if place < len(gold) and action.lower() == gold[place].lower():
                place += 1
            elif valid:
                return None
        return gold[place] if place < len(gold) else None

    def expert_distribution(self) -> dict[str, float]:
        """The expert's probabilities by action; empty if no expert answers."""
        action = self.expert()
        return {} if action is None else {action: 1.0}

    def has_task(self, task: str) -> bool:
        """The task is one of a split."""
        self._tasks = self._tasks or frozenset(one for split in SPLITS for one in self.tasks(split))
        return task in self._tasks

    def success(self) -> bool:
        """The goal is reached."""
        return self.score() >= 1.0

    def state(self) -> str:
        """A key of the state, equal for states that are the same."""
        return self._observation

    def close(self) -> None:
        """Free what the game holds."""

    @classmethod
    def require(cls) -> None:
        """Raises UsageError if something the game needs is not installed; called before any process starts."""
        for module, command in cls.modules.items():
            if find_spec(module) is None:
                raise UsageError(f"game {cls.name}: {module} is not installed: {command}")

    # What callers use.

    def reset(self, seed: int, task: str) -> str:
        """Start an episode and return its first observation. Raises UsageError for an unknown task or a bad seed."""
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise UsageError(f"game {self.title}: seed {seed!r} is not a whole number from 0 to {2**31 - 1}")
        if not self.has_task(task):
            known = sorted(one for split in SPLITS for one in self.tasks(split))
            hint = did_you_mean(
                str(task), known, f"; its {len(known):,} tasks are like {known[0]!r} and {known[-1]!r}"
            )
            raise UsageError(f"game {self.title}: no task is called {task!r}{hint}")
        self._observation = self.begin(seed, task)
        self.steps, self.action, self._taken, self._over = 0, "", [], False
        return self._observation

    def step(self, action: str) -> Outcome:
        """Take an action, as a model may write it (`action_of`). Raises UsageError after the end and before reset."""
        if not isinstance(action, str):
            raise UsageError(f"game {self.title}: an action is text, not {action!r:.80}")
        if self._taken is None:
            raise UsageError(f"game {self.title}: step before reset: call reset(seed, task) first")
        if self._over:
            raise UsageError(f"game {self.title}: the episode is over: call reset(seed, task)")
        text = action_of(action)
        if known := 0 < len(text) <= LONGEST_ACTION:
            text = self.spell(text)
        outcome = self.act(text) if known else self.invalid(text)
        self.action, self.steps = text, self.steps + 1
        self._over, self._observation = outcome.done, outcome.observation
        self._taken.append((text, outcome.valid))
        return outcome

    def spell(self, action: str) -> str:
        """An action with its letters as the game writes them: here, small ones."""
        return action.lower()

    def invalid(self, action: str) -> Outcome:
        """What a text that is no action of this state does: nothing."""
        return Outcome(f"{action[:60]!r} is not possible here.", valid=False)

    @property
    def title(self) -> str:
        """The name as the registry knows it."""
        return f"{self.name}/{self.variant}" if self.variant else self.name

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> Settings:
        """The parameters, checked. Raises UsageError."""
        if not isinstance(options, Mapping):
            raise UsageError(f"game {cls.name}: parameters are a dict, not {options!r:.80}")
        try:
            return cls.Options.model_validate(dict(options), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                hint = did_you_mean(key, cls.Options.model_fields) if cls.Options.model_fields else "; it takes none"
                raise UsageError(f"game {cls.name}: unknown parameter {key!r}{hint}") from error
            raise UsageError(
                f"game {cls.name}: parameter {key}: {first['msg']} (found {first['input']!r:.80})"
            ) from error


@dataclass
class Frame:
    """What a slot's game shows after reset or a step.

    Attributes:
        action: the action as the game got it; "" after reset.
        max_steps: the game's own limit in this episode.
        answers: what was asked along: see `GamePool`.
    """

    observation: str
    reward: float
    done: bool
    valid: bool
    action: str
    score: float
    success: bool
    max_steps: int
    answers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Trajectory:
    """A finished episode.

    Attributes:
        observations: one more than actions.
        actions: as the game got them; `replies`: as the policy wrote them.
        end: "done", "max_steps", "refused" (the policy gave None) or "crashed: " and why.
        restarts: how often the episode began again because a replay in a new process differed.
        answers: what was asked, before each action, and after the last one if the episode was cut.
    """

    episode: Episode
    observations: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    valid: list[bool] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    score: float = 0.0
    success: bool = False
    end: str = ""
    restarts: int = 0
