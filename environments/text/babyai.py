"""BabyAI in words: minigrid's levels, what the agent sees as a sentence, and minigrid's own bot as expert.

minigrid's metadata ask for pygame-ce (LGPL), which only draws: install minigrid with `pip install --no-deps`. If
pygame is missing, an empty module takes its place while minigrid is imported, so nothing can be drawn.
"""

import contextlib
import io
import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar, Literal

from pydantic import Field

from ...hub_sync.errors import UsageError, did_you_mean
from ...hub_sync.settings import Settings
from .interface import Outcome, TextGame

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")  # by the engine's number
FACING = ("east", "south", "west", "north")
TRAIN, HELD = 1000, 100  # layouts for train, and for each of dev and test


@cache
def _minigrid() -> Any:
    """gymnasium, with minigrid's levels registered."""
    import gymnasium

    stand_ins = {} if find_spec("pygame") else {name: ModuleType(name) for name in ("pygame", "pygame.freetype")}
    sys.modules.update(stand_ins)
    try:
        import minigrid.utils.baby_ai_bot  # noqa: F401
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return gymnasium


@cache
def levels() -> dict[str, str]:
    """The engine's ids by level: "GoToLocal" -> "BabyAI-GoToLocal-v0"."""
    ids = [name for name in _minigrid().registry if name.startswith("BabyAI-") and "Debug" not in name]
    return {name.split("-")[1]: name for name in sorted(ids)}


class BabyOptions(Settings):
    view: Literal["partial", "full"] = Field("partial", description="Squares that are seen: the 7 by 7 ahead, or all.")


class BabyAI(TextGame):
    """A task is the number of a layout with its mission; our own seed changes nothing.

    Only actions that change something are valid. The bot is told every action, and plans by what the agent has seen.
    It cannot help any more after a box was opened, and nowhere in the level KeyInBox: `expert` is None then.
    """

    name = "babyai"
    package = "minigrid"
    modules: ClassVar[dict[str, str]] = {
        "gymnasium": "pip install 'hubwright[games]'",
        "minigrid": "pip install --no-deps minigrid",
    }
    Options = BabyOptions
    instructions = (
        "You are in a grid world with rooms, doors and objects; toggle opens and closes what is in front of you. Do "
        f"what the mission says. Answer with one action: {', '.join(ACTIONS)}."
    )

    def __init__(self, variant: str = "", options: Any = None) -> None:
        super().__init__(variant, options)
        if variant not in levels():
            raise UsageError(f"game {self.title}: write babyai/LEVEL{did_you_mean(variant, levels())}")
        self._env = _minigrid().make(levels()[variant]).unwrapped

    def tasks(self, split: str) -> list[str]:
        first = {"train": 0, "dev": TRAIN, "test": TRAIN + HELD}[split]
        return sorted(str(first + n) for n in range(TRAIN if split == "train" else HELD))

    def begin(self, seed: int, task: str) -> str:
        from minigrid.utils.baby_ai_bot import BabyAIBot

        with contextlib.redirect_stdout(io.StringIO()):  # it tells of layouts that it rejected
            self._env.reset(seed=int(task))
        self.max_steps, self._done, self._won = self._env.max_steps, False, False
        self._bot: Any = BabyAIBot(self._env)
        self._advise(None)
        return self.state()

    def _advise(self, action: int | None) -> None:
        """Tell the bot what was done, and take its next suggestion."""
        self._advice = None
        if self._bot is not None and not self._done:
            try:
                number = int(self._bot.replan(action))
                self._advice = ACTIONS[number] if number < len(ACTIONS) else None
            except Exception:  # DisappearedBoxError, or an assertion of the bot: it has no plan from here on
                self._bot = None

    def act(self, action: str) -> Outcome:
        if action not in self.admissible():
            return self.invalid(action)
        number = ACTIONS.index(action)
        _, reward, ended, _, _ = self._env.step(number)
        self._done, self._won = bool(ended), bool(ended and reward > 0)
        self._advise(number)
        return Outcome(self.state(), float(reward), self._done)

    def invalid(self, action: str) -> Outcome:
        return Outcome(f"{super().invalid(action).observation} {self.state()}", valid=False)

    def admissible(self) -> list[str]:
        ahead, carried = self._env.grid.get(*self._env.front_pos), self._env.carrying
        actions = ["turn left", "turn right"]
        if ahead is None or ahead.can_overlap():
            actions.append("go forward")
        if ahead is None and carried:
            actions.append("drop")
        if ahead is not None and ahead.can_pickup() and not carried:
            actions.append("pick up")
        if ahead is not None and ahead.type in ("door", "box"):
            actions.append("toggle")
        return sorted(actions)

    def expert(self) -> str | None:
        return self._advice

    def score(self) -> float:
        return float(self._won)

    def state(self) -> str:
        carried = self._env.carrying
        held = f"You carry a {carried.color} {carried.type}." if carried else "You carry nothing."
        seen = self._ahead() if self.options.view == "partial" else self._map()
        return f"Mission: {self._env.mission}. {seen} {held}"

    def _ahead(self) -> str:
        """The squares ahead, nearest first; those behind walls and closed doors are not seen."""
        grid, visible = self._env.gen_obs_grid()
        centre, last = grid.width // 2, grid.height - 1
        things, walls = [], dict[str, int]()
        for column in range(grid.width):
            for row in range(grid.height):
                cell, right, forward = grid.get(column, row), column - centre, last - row
                if not visible[column, row] or cell is None or (right, forward) == (0, 0):
                    continue
                if cell.type == "wall":  # only the nearest straight ahead and at each side
                    side = "ahead" if right == 0 else ("right" if right > 0 else "left") if forward == 0 else None
                    if side and forward + abs(right) < walls.get(side, 99):
                        walls[side] = forward + abs(right)
                else:
                    things.append((forward + abs(right), forward, right, _named(cell)))
        words = [f"a {name} {_place(forward, right)}" for _, forward, right, name in sorted(things)]
        words += [f"a wall {steps} {side}" for side, steps in sorted(walls.items())]
        return f"You see {', '.join(words) or 'nothing'}."

    def _map(self) -> str:
        """All objects by column and row, walls left out."""
        env = self._env
        things = [
            f"a {_named(cell)} at {column} {row}"
            for row in range(env.grid.height)
            for column in range(env.grid.width)
            if (cell := env.grid.get(column, row)) is not None and cell.type != "wall"
        ]
        column, row = (int(part) for part in env.agent_pos)
        return f"You are at {column} {row}, facing {FACING[env.agent_dir]}. There is {', '.join(things) or 'nothing'}."


def _named(cell: Any) -> str:
    if cell.type != "door":
        return f"{cell.color} {cell.type}"
    return f"{'open' if cell.is_open else 'locked' if cell.is_locked else 'closed'} {cell.color} door"


def _place(forward: int, right: int) -> str:
    parts = [f"{forward} ahead"] if forward else []
    parts += [f"{abs(right)} {'right' if right > 0 else 'left'}"] if right else []
    return " ".join(parts)
