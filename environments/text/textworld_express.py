"""TextWorldExpress: eight small household games on a Java engine.

The engine is not deterministic between runs for all games (twc, coin): the rooms of a seed are the same and the order
in which they are listed may differ. Freeze what an expert did, and replay it.
"""

from typing import Any, ClassVar

import orjson
from pydantic import Field

from ...hub_sync.errors import UsageError, did_you_mean
from ...hub_sync.settings import Settings
from .interface import Outcome
from .jvm import JavaGame, gateway

VARIANTS = ("arithmetic", "coin", "cookingworld", "mapreader", "peckingorder", "simonsays", "sorting", "twc")
FOLDS = {"train": 0, "dev": 10_000, "test": 20_000}  # the engine's own: 1,000 seeds from here


class ExpressOptions(Settings):
    parameters: str = Field("", description='The engine\'s own, such as "numLocations=3, includeDoors=0".')
    tasks: int = Field(1000, ge=1, le=1000, description="Seeds of each fold that are offered.")


class TextWorldExpress(JavaGame):
    """A task is a seed of the engine's folds; our own seed changes nothing."""

    name = "textworld_express"
    package = "textworld-express"
    modules: ClassVar[dict[str, str]] = {"textworld_express": "pip install 'hubwright[games]'"}
    max_steps = 100  # as the engine's own
    Options = ExpressOptions
    instructions = (
        "You play a text game in a house. Answer with one action, such as: look around, take coin, move north."
    )

    def __init__(self, variant: str = "", options: Any = None) -> None:
        super().__init__(variant, options)
        if variant not in VARIANTS:
            hint = did_you_mean(variant, VARIANTS)
            raise UsageError(f"game {self.title}: write textworld_express/NAME{hint}")
        self._engine = gateway("textworld_express", "TextWorldExpressEnv")._gateway.jvm.textworldexpress.runtime
        self._engine = self._engine.PythonInterface()
        if wrong := self._engine.load(variant, self.options.parameters):
            raise UsageError(f"game {self.title}: parameters {self.options.parameters!r}: {' '.join(wrong.split())}")

    def tasks(self, split: str) -> list[str]:
        return sorted(str(FOLDS[split] + n) for n in range(self.options.tasks))

    def begin(self, seed: int, task: str) -> str:
        fold = max(name for name, first in FOLDS.items() if first <= int(task) < first + 1000)
        self._view = orjson.loads(self._engine.generateNewGameJSON(int(task), fold, True))
        self._gold = [str(action) for action in self._engine.getGoldActionSequence()]
        self._left = list(self._gold)
        return f"{' '.join(self._engine.getTaskDescription().split())}\n\n{self._text()}"

    def spell(self, action: str) -> str:
        return next((one for one in self._view["validActions"] if one.lower() == action.lower()), action)

    def act(self, action: str) -> Outcome:
        if action not in self._view["validActions"]:
            return self.invalid(action)
        self._left = self._left[1:] if action == self.expert() else []
        before = self.score()
        self._view = orjson.loads(self._engine.stepJSON(action))
        done = self._view["tasksuccess"] or self._view["taskfailure"]
        return Outcome(self._text(), self.score() - before, bool(done))

    def _text(self) -> str:
        return str(self._view["observation"]).strip()

    def admissible(self) -> list[str]:
        return sorted(set(self._view["validActions"]))

    def gold(self) -> list[str]:
        return self._gold

    def expert(self) -> str | None:
        while self._left and self._left[0] not in self._view["validActions"]:
            del self._left[0]  # it opens what is open already
        return self._left[0] if self._left else None

    def score(self) -> float:
        return min(max(float(self._view["score"]), 0.0), 1.0)

    def success(self) -> bool:
        return bool(self._view["tasksuccess"])

    def state(self) -> str:
        return f"{self._view['look']}\n{self._view['inventory']}".strip() or self._text()
