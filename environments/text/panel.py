"""The episodes that models are compared on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any, Protocol

import orjson

from ...hub_sync.errors import UsageError
from ...hub_sync.text import utf8
from .interface import SPLITS, Episode


class HasTasks(Protocol):
    """A `GamePool`, or a `TextGame`."""

    @property
    def title(self) -> str: ...

    def tasks(self, split: str) -> list[str]: ...


def panel(game: HasTasks, split: str, episodes: int, seed: int = 0) -> list[Episode]:
    """Episodes of a split: every task once in an order drawn by the seed, then again with other seeds.

    They depend on the names of the tasks alone: not on the order in which they are listed, nor on the workers. The
    first n episodes are the same whatever the number of episodes.

        >>> panel(open_game("taxi"), "test", 3)[0]
        Episode(game='taxi', task='blue to red', seed=1575135023)

    Raises UsageError for an unknown split, no episodes or a split without tasks.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is none of {', '.join(SPLITS)}")
    if isinstance(episodes, bool) or not isinstance(episodes, int) or episodes < 1:
        raise UsageError(f"episodes {episodes!r} is not a whole number of at least 1")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed {seed!r} of a panel is not a whole number of at least 0")
    tasks = sorted(set(game.tasks(split)))
    if not tasks:
        raise UsageError(f"game {game.title} has no tasks in {split!r}")

    def drawn(task: str, times: int) -> int:
        return int.from_bytes(hashlib.sha256(utf8(f"{seed}\n{split}\n{times}\n{task}")).digest()[:4]) >> 1

    rows: list[Episode] = []
    while len(rows) < episodes:
        times = len(rows) // len(tasks)
        order = sorted((drawn(task, times), task) for task in tasks)
        rows += [Episode(game.title, task, number) for number, task in order[: episodes - len(rows)]]
    return rows


def panel_hash(
    episodes: Sequence[Episode], versions: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> str:
    """SHA-256 of a panel, of what decides how it is played and of the order of its episodes.

    Args:
        versions: `registry.versions(game)`.
        options: the game's parameters.
    """
    content = {"episodes": [astuple(one) for one in episodes], "versions": versions, "options": options or {}}
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
