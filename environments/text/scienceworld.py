"""ScienceWorld: thirty families of school experiments on a Java engine."""

from typing import Any, ClassVar

from pydantic import Field

from ...hub_sync.errors import UsageError, did_you_mean
from ...hub_sync.settings import Settings
from .interface import SPLITS, Outcome
from .jvm import JavaGame, gateway

UNKNOWN = "No known action matches that input."


class ScienceOptions(Settings):
    simplification: str = Field("easy", description='The engine\'s own, "easy" for all of them, "" for none.')


class ScienceWorld(JavaGame):
    """A task is "name:variation"; "scienceworld/boil" has those of one name. Our own seed changes nothing.

    The engine knows up to some thousand actions of a state and lists each by one wording alone: the expert's next
    action is added to `admissible`, since it is often worded otherwise. The list is not cut, and takes .02 to .1 s, so
    ask for it only where it is needed. A step is valid if the engine understood it.
    """

    name = "scienceworld"
    package = "scienceworld"
    modules: ClassVar[dict[str, str]] = {"scienceworld": "pip install 'hubwright[games]'"}
    max_steps = 100
    Options = ScienceOptions
    instructions = (
        "You are in a house with a laboratory and solve a task of science. Answer with one action, such as: look "
        "around, go to kitchen, pick up thermometer, focus on butterfly, move water to pot, wait1."
    )

    def __init__(self, variant: str = "", options: Any = None) -> None:
        super().__init__(variant, options)
        engine = self._new()
        names = sorted(str(name) for name in engine.getTaskNames())
        if variant and variant not in names:
            raise UsageError(f"game {self.title}: no task is called so{did_you_mean(variant, names)}")
        known = ["easy", *str(engine.getPossibleSimplifications()).split(", ")]
        for word in self.options.simplification.split(","):
            if word and word not in known:
                raise UsageError(f"game {self.title}: simplification {word!r} is unknown{did_you_mean(word, known)}")
        self._names, self._engine = [variant] if variant else names, engine
        self._variations: dict[str, dict[str, list[str]]] = {}  # by name and split

    def _new(self) -> Any:
        return gateway("scienceworld", "ScienceWorldEnv")._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()

    def tasks(self, split: str) -> list[str]:
        return sorted(task for name in self._names for task in self._of(name)[split])

    def _of(self, name: str) -> dict[str, list[str]]:
        """A name's tasks by split: the engine's own parts, for which it has to load one."""
        if name not in self._variations:
            engine = self._new()
            engine.load(name, 0, self.options.simplification, False)
            parts = engine.getVariationsTrain(), engine.getVariationsDev(), engine.getVariationsTest()
            self._variations[name] = {
                split: [f"{name}:{number}" for number in part] for split, part in zip(SPLITS, parts, strict=True)
            }
        return self._variations[name]

    def has_task(self, task: str) -> bool:
        name = str(task).partition(":")[0]
        return name in self._names and any(task in part for part in self._of(name).values())

    def spell(self, action: str) -> str:
        return action  # the engine takes any

    def begin(self, seed: int, task: str) -> str:
        self._task, self._path = task, list[str]()
        self._load(self._engine, False)
        goal = " ".join(str(self._engine.freeActionTaskDesc()).removeprefix("Task Description:").split())
        return f"{goal}\n\n{self._engine.step('look around')}".strip()

    def _load(self, engine: Any, gold: bool) -> None:
        name, _, number = self._task.partition(":")
        engine.load(name, int(number), self.options.simplification, gold)
        engine.reset()

    def act(self, action: str) -> Outcome:
        before = self.score()
        text = str(self._engine.step(action)).strip()
        if text == UNKNOWN:
            return self.invalid(action)
        # A negative score is the engine's word for a failure that cannot be made good.
        done = bool(self._engine.getCompleted()) or self._engine.getScore() < 0
        return Outcome(text, self.score() - before, done)

    def admissible(self) -> list[str]:
        actions = {str(action) for action in self._engine.getValidActionObjectCombinations()}
        return sorted(actions | ({expert} if (expert := self.expert()) else set()))

    def gold(self) -> list[str]:
        if not self._path:  # .2 to 22 s, so only if somebody asks; the same way leads through this episode
            guide = self._new()
            self._load(guide, True)
            self._path = [str(action) for action in guide.getGoldActionSequence()]
        return self._path

    def score(self) -> float:
        return min(max(float(self._engine.getScore()), 0.0), 1.0)

    def state(self) -> str:
        return f"{self._engine.freeActionLook()}\n{self._engine.freeActionInventory()}"
