"""Settings of games, the episodes of their splits, and episodes played in shards that survive a kill."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ...environments.text.interface import Episode
from ...environments.text.panel import panel, panel_hash
from ...environments.text.pool import GamePool
from ...environments.text.registry import game_class, versions
from ...hub_sync.errors import UsageError
from ...hub_sync.settings import SPEED, Settings
from ...inference import shards
from .rows import Row, json_text

Split = Literal["train", "dev", "test", "test_seeds"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test", "test_seeds")
SEEN = 1_000_003  # what is added to a panel's seed for other seeds on the tasks of train


class Game(Settings):
    """A game and its episodes."""

    game: str = Field(min_length=1, description='As "taxi" or "babyai/GoToLocal".')
    options: dict[str, Any] = Field(default_factory=dict, description="The game's parameters.")
    episodes: dict[Split, Annotated[int, Field(ge=1)]] = Field(
        min_length=1,
        description="Episodes by split: train; dev and test, of tasks that train does not have; test_seeds, of "
        "train's tasks with other seeds.",
    )
    seed: int = Field(0, ge=0, description="Decides the order of the tasks and the seeds of the episodes.")
    admissible: bool = Field(
        True,
        description="Tell the valid actions of every state. ScienceWorld has some thousand: false leaves them out.",
    )

    @field_validator("game")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            game_class(name)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return name

    @model_validator(mode="after")
    def _playable(self) -> Self:
        try:
            game_class(self.game)[0].check_options(self.options)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if "test_seeds" in self.episodes and "train" not in self.episodes:
            raise ValueError("test_seeds has the tasks of train with other seeds: name episodes of train too")
        return self


class PlaySettings(Settings):
    """How games are played."""

    history: int | None = Field(
        None, ge=0, description="Past turns that a prompt keeps; 0: only what is seen now; null: all of them."
    )
    max_steps: int | None = Field(None, ge=1, description="Cut episodes after so many steps; null: the game's limit.")
    sample_expert: bool = Field(
        False, description="Draw the expert's action from its probabilities; false: its first action."
    )
    workers: int = Field(1, ge=1, json_schema_extra=SPEED, description="Processes per game.")
    step_seconds: float = Field(30.0, gt=0, json_schema_extra=SPEED, description="Deadline of a step.")
    reset_seconds: float = Field(
        120.0, gt=0, json_schema_extra=SPEED, description="Deadline of a reset, the expert's plan included."
    )


class Pools(AbstractContextManager["Pools"]):
    """Processes of one game at a time: those that play, and others that replay. A context manager."""

    def __init__(self, settings: PlaySettings) -> None:
        self._settings, self._game = settings, ("", "")
        self._open: dict[str, GamePool] = {}

    def get(self, game: str, parameters: Mapping[str, Any], use: str = "play") -> GamePool:
        """The processes of a game for one use; those of another game end. Raises UsageError if it cannot be played."""
        if (key := (game, json_text(parameters))) != self._game:
            self.close()
            self._game = key
        if use not in self._open:
            one = self._settings
            self._open[use] = GamePool(game, parameters, one.workers, one.step_seconds, one.reset_seconds)
        return self._open[use]

    def close(self) -> None:
        for pool in self._open.values():
            pool.close()
        self._open.clear()

    def __exit__(self, *_: object) -> None:
        self.close()


def panel_of(episodes: Iterable[Episode], version: str, options: str) -> str:
    """The panel hash of episodes in their order, each counted once; versions and options are JSON text."""
    return panel_hash(list(dict.fromkeys(episodes)), json.loads(version), json.loads(options))


@dataclass(frozen=True)
class Part:
    """The episodes of a game in a split.

    Attributes:
        ids: of the episodes' rows, without the number of the sample.
        parameters: the options that it is opened with.
        options: all of them, without those of place, as JSON text.
        version: distributions that decide what happens, as JSON text.
    """

    game: str
    split: str
    episodes: list[Episode]
    ids: list[str]
    parameters: Mapping[str, Any]
    options: str
    version: str
    instructions: str
    admissible: bool = True

    @property
    def name(self) -> str:
        """For tables and errors."""
        return f"{self.game}, {self.split}"

    def panel(self, episodes: Iterable[Episode]) -> str:
        """The panel hash of these of its episodes; an episode counts once."""
        return panel_of((Episode(one.game, one.task, one.seed) for one in episodes), self.version, self.options)

    def common(self, history: int | None, max_steps: int | None) -> Row:
        """What all its rows of `trajectories` have."""
        return {
            "env_version": self.version, "options": self.options, "history": history, "max_steps": max_steps,
            "instructions": self.instructions,
        }  # fmt: skip


@dataclass(frozen=True)
class _SomeTasks:
    """A game with some of its tasks."""

    title: str
    names: list[str]

    def tasks(self, split: str) -> list[str]:
        return self.names


def parts_of(games: Sequence[Game], pools: Pools) -> list[Part]:
    """The episodes of all games, by split; every game is opened once, so that all of them can be played.

    Raises UsageError for a game that cannot be played here, or that is named twice with the same options.
    """
    parts: list[Part] = []
    counts: dict[tuple[str, str], int] = {}
    for entry in games:
        pool = pools.get(entry.game, entry.options)
        options, train = json_text(pool.options), list[Episode]()
        if any(one.game == entry.game and one.options == options for one in parts):
            raise UsageError(f"game {entry.game} is named twice with the same options: add its episodes up")
        for split in (one for one in SPLITS if one in entry.episodes):
            count = entry.episodes[split]
            if split == "test_seeds":
                seen = _SomeTasks(entry.game, sorted({one.task for one in train}))
                episodes = panel(seen, "train", count, entry.seed + SEEN)
            else:
                episodes = panel(pool, split, count, entry.seed)
            train = episodes if split == "train" else train
            first = counts.get((entry.game, split), 0)
            counts[entry.game, split] = first + count
            ids = [f"{entry.game.replace('/', '_')}-{split}-{n}" for n in range(first, first + count)]
            parts.append(
                Part(entry.game, split, episodes, ids, entry.options, options, json_text(versions(entry.game)),
                     pool.instructions, entry.admissible)
            )  # fmt: skip
    return parts


def asked_of(part: Part) -> list[str]:
    """What a game is asked for in every state."""
    return ["expert", "distribution", "state", *(["admissible"] if part.admissible else [])]


def in_shards(
    part: Part, episodes: Sequence[Any], identity: Mapping[str, Any], folder: Path, size: int,
    play_some: Callable[[Sequence[Any], str], Iterable[Any]],
) -> Iterator[Row]:  # fmt: skip
    """Episodes as `play_some` plays them, `size` at a time; what is on disk is not played again.

    Args:
        identity: what decides the result, beside the episodes and the part.
        play_some: gets some of the episodes and the name of their shard; gives trajectories as mappings.
    """
    whole = {"game": part.game, "options": part.options, "version": part.version, "admissible": part.admissible}

    def some(rows: Sequence[Row], index: int) -> Iterable[Any]:
        return play_some(episodes[index * size : index * size + len(rows)], f"{part.name}.{index}")

    listed = [asdict(one) for one in episodes]
    yield from shards.in_shards(listed, whole | {"split": part.split, **identity}, folder, size, some)
