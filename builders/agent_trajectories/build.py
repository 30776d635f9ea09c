"""Builder `agent_trajectories`: an expert's episodes of text games, replayed before they are published.

    build(TrajectoriesConfig(games=[{"game": "taxi", "episodes": {"train": 50, "test": 10}}], history=0))

A row of `trajectories` is an episode, of `steps` a state with the expert's action, of `sft` a prompt with its action.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import Field

from ...environments.text.interface import Episode
from ...environments.text.play import View, play
from ...environments.text.pool import GamePool
from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.json_columns import unstorable
from ...hub_sync.text import utf8
from .._lib.cards import describe, describe_columns
from .._lib.context import local_context
from .._lib.rejections import Rejections
from .._lib.row_writer import RowWriter
from .games import SPLITS, Game, Part, PlaySettings, Pools, asked_of, in_shards, parts_of
from .replay import BATCH, Scripted, replay_episodes
from .report import Tally, reasons_of, report_games
from .rows import Row, expert_choice, features, json_text, sft_row, step_rows, trajectory_row

if TYPE_CHECKING:
    from datasets import DatasetDict

SHARD = 64  # episodes that are played, replayed and kept together
Starts = dict[tuple[str, str], list[int]]  # (task, first observation) -> seeds of train
Seen = dict[tuple[str, str], set[bytes]]  # (game, options) -> hashes of train's episodes


class TrajectoriesConfig(PlaySettings):
    """Which episodes the expert plays. Defaults are our choice."""

    games: tuple[Game, ...] = Field(min_length=1, description="Games with their episodes.")
    success_only: bool = Field(True, description="Leave out episodes in which the expert does not reach the goal.")


def build(config: TrajectoriesConfig, context: StepContext | None = None) -> DatasetDict:
    """Play, replay and lay out the episodes: configs `trajectories`, `steps` and `sft`, each with the same splits.

    Raises UsageError for a game that cannot be played here, DataError for a split of a game without usable episodes.
    """
    context = context or local_context()
    names = ("trajectories", "steps", "sft")
    writers = {name: RowWriter(context.workdir / "rows" / name, features(name)) for name in names}
    rejections, tallies, starts, seen = Rejections(), [], Starts(), Seen()
    with Pools(config) as pools:
        for part in parts_of(config.games, pools):
            played = _played(config, part, context, pools, starts)
            usable = _judge(config, part, seen)
            usable_ids = [identity for identity, row in zip(part.ids, played(), strict=True)
                    if list(rejections.convert(part.name, [row], usable))]  # fmt: skip
            if not usable_ids:
                raise DataError(
                    f"game {part.game}: none of {len(part.ids)} episodes of {part.split!r} can be used "
                    f"({reasons_of(rejections, part.name)}); "
                    + ("its seeds change nothing: drop test_seeds" if part.split == "test_seeds" else "drop the split")
                )
            tallies.append(_write(config, part, set(usable_ids), played(), writers))
    report = context.report
    describe(report, __file__)
    report_games(report, tallies)
    rejections.describe(report)
    configs = {name: writer.finish(SPLITS) for name, writer in writers.items()}
    describe_columns(report, __file__, configs.values())
    return configs


def _played(
    config: TrajectoriesConfig, part: Part, context: StepContext, pools: Pools, starts: Starts
) -> Callable[[], Iterable[Row]]:
    """All episodes of a part as the expert plays them, from disk where they are there."""
    identity = config.model_dump(mode="json", include={"max_steps", "sample_expert"})
    if part.split == "train":
        starts.clear()
    known = {json_text({"": key}): seeds for key, seeds in starts.items()} if part.split == "test_seeds" else {}
    digest = hashlib.sha256(utf8(json_text(known))).hexdigest()

    def play_some(episodes: Sequence[Episode], _: str) -> list[Row]:
        pool = pools.get(part.game, part.parameters)
        trajectories = play(
            pool, episodes, lambda views: _expert(views, config.sample_expert), BATCH, asked_of(part), config.max_steps
        )
        rows = [asdict(one) | {"problem": ""} for one in trajectories]
        fresh = pools.get(part.game, part.parameters, "replay")
        whole = [row for row in rows if row["end"] in ("done", "max_steps")]
        results = replay_episodes(fresh, [_scripted(row) for row in whole], whole)
        for row, result in zip(whole, results, strict=True):
            row |= {"problem": result.problem and f"replay_differs: {result.problem}", "same": result.same_text}
        if part.split == "test_seeds" and config.sample_expert:  # else the same episode is played the same
            _find_seen(fresh, whole, starts)
        return rows

    def stream() -> Iterable[Row]:
        for row in in_shards(part, part.episodes, identity | {"starts": digest}, context.workdir / "episodes", SHARD,
                             play_some):  # fmt: skip
            if part.split == "train":
                seeds = starts.setdefault((row["episode"]["task"], (row["observations"] or [""])[0]), [])
                seeds += [row["episode"]["seed"]] * (row["episode"]["seed"] not in seeds)
            yield row

    return stream


def _expert(views: list[View], sample: bool) -> list[str | None]:
    return [
        expert_choice(one.answers, (one.episode.game, one.episode.task, one.episode.seed, len(one.actions)), sample)
        for one in views
    ]


def _scripted(row: Row, seed: int | None = None) -> Scripted:
    one = row["episode"]
    return Scripted(one["game"], one["task"], one["seed"] if seed is None else seed, tuple(row["actions"]))


def _find_seen(pool: GamePool, rows: Sequence[Row], starts: Starts) -> None:
    """Mark episodes that a seed of train's leads through in the same words: their own seed changes nothing."""
    pairs = [(row, seed) for row in rows for seed in starts.get((row["episode"]["task"], row["observations"][0]), ())]
    results = replay_episodes(pool, [_scripted(row, seed) for row, seed in pairs], [row for row, _ in pairs])
    for (row, _), result in zip(pairs, results, strict=True):
        if result.same_text and not result.problem:
            row["problem"] = "same_as_train"


def _judge(config: TrajectoriesConfig, part: Part, seen: Seen) -> Callable[[Row], Row]:
    """A function that raises RowRejected for episodes that are not published. Two tasks, or two seeds, may be the same
    in all but their names: what is seen and done says so."""
    train = seen.setdefault((part.game, part.options), set())
    earlier: set[bytes] = train if part.split == "train" else set()

    def usable(row: Row) -> Row:
        reason, _, detail = row["problem"].partition(": ")
        if row["end"].startswith("crashed"):
            raise RowRejected("crashed", row["end"])
        if row["end"] == "refused":
            raise RowRejected("no_expert_action", row["episode"])
        if not row["actions"]:
            raise RowRejected("no_steps", row["episode"])
        if config.success_only and not row["success"]:
            raise RowRejected("not_successful", row["episode"])
        if reason:
            raise RowRejected(reason, detail)
        if unstorable(row):
            raise RowRejected(unstorable(row), row["episode"])
        content = json_text({"": [row["observations"], row["actions"]]})
        digest = hashlib.sha256(utf8(content)).digest()
        if part.split != "train" and digest in train:
            raise RowRejected("same_as_train", row["episode"])
        if digest in earlier:
            raise RowRejected("duplicate", row["episode"])
        earlier.add(digest)
        return row

    return usable


def _write(
    config: TrajectoriesConfig, part: Part, usable_ids: set[str], played: Iterable[Row], writers: dict[str, RowWriter]
) -> Tally:
    """Write the rows of these episodes."""
    episodes = [one for identity, one in zip(part.ids, part.episodes, strict=True) if identity in usable_ids]
    tally, split = Tally(part, part.panel(episodes)), part.split
    common = part.common(config.history, config.max_steps)
    common |= {"policy": "expert", "replayed": True, "panel": tally.panel}
    for identity, played_row in zip(part.ids, played, strict=True):
        tally.add(played_row)
        if identity not in usable_ids:
            continue
        row = trajectory_row(identity, played_row, common)
        tally.use(row, texts_differ=not played_row["same"])
        writers["trajectories"].write(split, row)
        for step in step_rows(row, played_row, played_row["replies"]):
            writers["steps"].write(split, step)
            writers["sft"].write(split, sft_row(step, step["expert_action"]))
    return tally
