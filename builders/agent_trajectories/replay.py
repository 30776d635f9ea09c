"""Replays of trajectories: the recorded actions in a new process, and whether they come to what is stated."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ...environments.text.interface import Episode, Trajectory
from ...environments.text.play import View, play
from ...environments.text.pool import GamePool
from ...environments.text.registry import versions
from ...hub_sync.errors import DataError
from ...hub_sync.parquet import load_split
from .games import panel_of
from .rows import Row, json_text, observations_of

Open = Callable[[], GamePool]
BATCH = 32  # episodes in a game's processes at once


@dataclass(frozen=True)
class Scripted(Episode):
    """An episode with the actions to be taken in it."""

    actions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replay:
    """What a replay came to.

    Attributes:
        problem: "" or what differs from what is stated, in one phrase.
        same_text: all observations are equal, too. An engine may word the same state in several ways.
    """

    problem: str
    same_text: bool


def replay_episodes(pool: GamePool, episodes: Sequence[Scripted], stated: Sequence[Mapping[str, Any]]) -> list[Replay]:
    """Take the actions of episodes, and compare with `stated`: observations, rewards, valid, score, success, end."""

    def script(views: list[View]) -> list[str | None]:
        plans = [cast(Scripted, view.episode).actions for view in views]
        return [
            plan[len(view.actions)] if len(view.actions) < len(plan) else None
            for plan, view in zip(plans, views, strict=True)
        ]

    rows = play(pool, episodes, script, BATCH)
    return [Replay(_problem(row, wanted), row.observations == list(wanted["observations"]))
            for row, wanted in zip(rows, stated, strict=True)]  # fmt: skip


def _problem(row: Trajectory, stated: Mapping[str, Any]) -> str:
    if row.end.startswith("crashed"):
        return row.end
    for name in ("rewards", "valid", "score", "success"):
        value, wanted = getattr(row, name), stated[name]
        if value != wanted:
            return f"{name} {value!r:.80}, stated {wanted!r:.80}"
    if (row.end == "done") != (stated["end"] == "done"):
        return f"the episode ends as {row.end!r}, stated {stated['end']!r}"
    return ""


def replay(
    rows: Sequence[Row], workers: int = 1, step_seconds: float = 30.0, reset_seconds: float = 120.0
) -> list[Replay]:
    """Replay rows of `trajectories`, each game in new processes.

        >>> replay(load_dataset("me/taxi-expert", "trajectories", split="train"))[0]
        Replay(problem='', same_text=True)

    Raises UsageError for a game that cannot be played here.
    """
    results: list[Replay | None] = [None] * len(rows)
    games: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        games.setdefault((row["env"], row["options"] or "{}"), []).append(number)
    for (game, options), numbers in games.items():
        with GamePool(game, json.loads(options), workers, step_seconds, reset_seconds) as pool:
            episodes = [Scripted(game, one["task"], one["seed"], tuple(one["actions"]))
                        for one in (rows[n] for n in numbers)]  # fmt: skip
            stated = [rows[n] | {"observations": observations_of(rows[n])} for n in numbers]
            for number, result in zip(numbers, replay_episodes(pool, episodes, stated), strict=True):
                results[number] = result
    return [result for result in results if result is not None]


def check_replay(
    folder: str | Path, sample: int | None = 20, split: str = "train", workers: int = 1
) -> dict[str, int]:
    """Replay trajectories of a data set's folder before anything is trained on them; counts of what was found.

        >>> check_replay("expert", sample=20)
        {'replayed': 20, 'texts_differ': 0}

    Args:
        folder: a local copy of a published data set.
        sample: at most so many rows, evenly spread; None: all.

    Raises DataError for rows that are not those of their panel, episodes that no environment was asked for, and a
    replay that comes to something else than is stated, with its row and the versions.
    """
    with tempfile.TemporaryDirectory(prefix="hubwright-replay-") as cache:
        rows = list(load_split(Path(folder), "trajectories", split, Path(cache)))
    name = Path(folder).name
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        panels.setdefault((row["env"], row["options"]), []).append(row)
    for (game, _), part in panels.items():
        if part[0]["options"] is None:
            raise DataError(f"{name}: row {part[0]['id']} is of other people's files: {game!r} cannot be replayed")
        episodes = [Episode(row["env"], row["task"], row["seed"]) for row in part]
        if panel_of(episodes, part[0]["env_version"], part[0]["options"]) != part[0]["panel"]:
            raise DataError(f"{name}: the {len(part)} episodes of {game} in {split!r} are not those of its panel")
    if sample is not None and sample < len(rows):
        rows = rows[:: -(-len(rows) // sample)]
    results = replay(rows, workers)
    for row, result in zip(rows, results, strict=True):
        if result.problem:
            raise DataError(
                f"{name}: row {row['id']}: its replay differs ({result.problem}); it was played with "
                f"{row['env_version']}, here is {json_text(versions(row['env']))}: build the data set again"
            )
    return {"replayed": len(rows), "texts_differ": sum(not result.same_text for result in results)}
