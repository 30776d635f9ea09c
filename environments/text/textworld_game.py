"""TextWorld: generated text adventures, if the user has installed it.

It is in no extra of ours: it needs jericho, which is GPL. Like every game it runs in a process of its own. Games are
generated and compiled when they are first played (4 to 7 s), and kept in a folder.
"""

import tempfile
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from ...hub_sync.errors import UsageError, did_you_mean
from ...hub_sync.settings import SPEED, Settings
from .interface import Outcome, TextGame

VARIANTS = ("coin_collector", "cooking", "simple", "treasure_hunter")
FIRST = {"train": 0, "dev": 1000, "test": 1100}


class WorldOptions(Settings):
    level: int = Field(1, ge=1, le=300, description="Of coin_collector (1 to 300) and treasure_hunter (1 to 30).")
    recipe: int = Field(1, ge=1, le=5, description="Cooking: ingredients.")
    take: int = Field(1, ge=0, le=5, description="Cooking: ingredients to be fetched, at most `recipe`.")
    go: int = Field(1, description="Cooking: rooms: 1, 6, 9 or 12.")
    open: bool = Field(False, description="Cooking: containers and doors have to be opened.")
    cook: bool = Field(False, description="Cooking: ingredients have to be cooked.")
    cut: bool = Field(False, description="Cooking: ingredients have to be cut.")
    folder: str = Field(
        "~/.cache/hubwright/textworld", json_schema_extra=SPEED, description="Where generated games are kept."
    )


class TextWorld(TextGame):
    """A task is the seed of a generated game; our own seed changes nothing. Cooking draws its recipes by split."""

    name = "textworld"
    package = "textworld"
    modules: ClassVar[dict[str, str]] = {"textworld": "pip install textworld (it needs jericho, which is GPL)"}
    Options = WorldOptions
    max_steps = 50
    instructions = "You play a text adventure. Answer with one action, such as: go north, open fridge, take key."
    _env: Any = None

    def __init__(self, variant: str = "", options: Any = None) -> None:
        super().__init__(variant, options)
        if variant not in VARIANTS:
            raise UsageError(f"game {self.title}: write textworld/NAME{did_you_mean(variant, VARIANTS)}")
        if self.options.take > self.options.recipe:
            raise UsageError(f"game {self.title}: take {self.options.take} is more than recipe {self.options.recipe}")

    def tasks(self, split: str) -> list[str]:
        return sorted(str(FIRST[split] + n) for n in range(1000 if split == "train" else 100))

    def begin(self, seed: int, task: str) -> str:
        import textworld

        self.close()
        infos = textworld.EnvInfos(
            admissible_commands=True, policy_commands=True, won=True, max_score=True, description=True, inventory=True
        )
        self._env = textworld.start(str(self._compiled(int(task))), infos)
        self._state, self._done = self._env.reset(), False
        return _tidy(f"{self._state.objective}\n\n{self._state.description}")

    def _compiled(self, number: int) -> Path:
        """The game's file, generated if it is not there."""
        import textworld
        from textworld.challenges import CHALLENGES
        from textworld.version import __version__

        options = self.options.model_dump(exclude={"folder"})
        split = "test" if number >= FIRST["test"] else "valid" if number >= FIRST["dev"] else "train"
        settings = options | {
            "drop": False, "recipe_seed": number, "split": split, "rewards": "dense", "goal": "detailed",
            "test": False,
        }  # fmt: skip
        name = "-".join(str(part) for part in (self.variant, __version__, *options.values(), number))
        target = Path(self.options.folder).expanduser() / f"{name}.z8"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                made = textworld.GameOptions()
                made.seeds, made.path = number, f"{folder}/{name}.z8"
                textworld.generator.compile_game(CHALLENGES[f"tw-{self.variant}"][1](settings, made), made)
                for suffix in (".json", ".ni", ".z8"):  # the game itself last: it is there once all is
                    if (file := Path(made.path).with_suffix(suffix)).is_file():
                        file.replace(target.with_suffix(suffix))
        return target

    def spell(self, action: str) -> str:
        return next((one for one in self._state.admissible_commands if one.lower() == action.lower()), action)

    def act(self, action: str) -> Outcome:
        if action not in self._state.admissible_commands:
            return self.invalid(action)
        before = self.score()
        self._state, _, self._done = self._env.step(action)
        return Outcome(_tidy(self._state.feedback), self.score() - before, bool(self._done))

    def admissible(self) -> list[str]:
        return sorted(set(self._state.admissible_commands))

    def expert(self) -> str | None:
        return next(iter(self._state.policy_commands or []), None)

    def score(self) -> float:
        if self._state.won:
            return 1.0
        return min(max((self._state.score or 0) / max(self._state.max_score, 1), 0.0), 1.0)

    def success(self) -> bool:
        return bool(self._state.won)

    def state(self) -> str:
        return f"{self._state.description}\n{self._state.inventory}".strip()

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None


def _tidy(text: str) -> str:
    """The engine's text without its last menu, its prompt and empty lines."""
    lines = [line.strip() for line in text.partition("*** The End ***")[0].splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith(">"))
