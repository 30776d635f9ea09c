"""Builder `agent_rollouts`: a model's own episodes of text games, with the expert's action in every state it came to.

Many episodes are played at once: in each step the model answers the prompts of all of them in one batch. Finished
shards of episodes survive a kill, and are the same whether there was one or not.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from ...environments.text.interface import Episode, as_messages
from ...environments.text.play import View, play
from ...environments.text.registry import versions
from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.json_columns import unstorable
from ...hub_sync.text import utf8
from ...inference.loading import window
from .._lib.cards import describe, describe_columns
from .._lib.rejections import Rejections
from .._lib.row_writer import RowWriter
from .._lib.sources import read_rows
from .games import SPLITS, Game, Part, PlaySettings, Pools, Split, asked_of, in_shards, parts_of
from .report import Tally, reasons_of, report_games
from .rows import Row, expert_choice, features, json_text, pair_row, sft_row, step_rows, trajectory_row

if TYPE_CHECKING:
    from datasets import DatasetDict

    from ...inference.generation import Generator

BATCHES = 4  # full batches of episodes in a shard
CONFIGS = ("trajectories", "steps", "sft", "pairs")


class RolloutsConfig(PlaySettings):
    """Which episodes are played, and how the model answers. Defaults are our choice."""

    games: tuple[Game, ...] = Field(
        (), description="Games with their episodes; empty: those of the input `dataset`, with its history and limit."
    )
    splits: tuple[Split, ...] = Field((), description="Splits of the input `dataset` that are played; empty: all.")
    samples: int = Field(1, ge=1, description="Episodes per task and seed.")
    temperature: float = Field(1.0, ge=0, description="Of sampling; 0: the most probable token.")
    max_new_tokens: int = Field(32, ge=1, description="Tokens of a reply at most, its end of turn among them.")
    batch_size: int = Field(16, ge=1, description="Episodes played at once. Another size draws other replies.")
    keep_without_expert: bool = Field(
        False, description="Keep states without an expert's action in `steps`, as null; false: leave them out."
    )
    extra_turns: int = Field(
        10,
        ge=0,
        description="`pairs`: turns by which the model's conversation may be longer than the expert's (ETO: 10).",
    )
    seed: int = Field(42, ge=0, description="Seed of the replies.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: CUDA, else MPS, else CPU.")
    threads: int | None = Field(None, ge=1, description="torch.set_num_threads; null: torch's choice.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.games and self.splits:
            raise ValueError("splits are those of the input dataset: write the episodes of games by split instead")
        if not self.games and {"history", "max_steps"} & self.model_fields_set:
            raise ValueError("history and max_steps are those of the input dataset: drop them, or name games")
        return self


@dataclass(frozen=True)
class Sampled(Episode):
    """An episode that is played several times; `sample` counts from 0."""

    sample: int = 0


@dataclass(frozen=True)
class Plan:
    """What is played.

    Attributes:
        parts: the episodes.
        history, max_steps: as in `PlaySettings`.
        experts: rows of the input's `trajectories` by (game, options, task, seed).
    """

    parts: list[Part]
    history: int | None
    max_steps: int | None
    experts: Mapping[tuple[Any, ...], Row]


def build(config: RolloutsConfig, context: StepContext) -> DatasetDict:
    """Play the episodes and lay them out: `trajectories`, `steps` with the expert's action in the model's own states,
    `sft` of the successful episodes (rejection sampling), and `pairs` of the expert's episode and a worse one of the
    model's where the input has one. A config without rows is left out.

    Raises UsageError for a model or a game that cannot be used, DataError for a data set without episodes, or if no
    episode could be played.
    """
    if bool(config.games) == ("dataset" in context.inputs):
        raise UsageError("agent_rollouts plays either `games` or the episodes of an input `dataset`: give one of them")
    writers = {name: RowWriter(context.workdir / "rows" / name, features(name)) for name in CONFIGS}
    rejections, tallies, counts = Rejections(), list[Tally](), Counter[str]()
    player, policy = Player(config, context), str(context.inputs["model"].ref)
    with Pools(config) as pools:
        plan = _plan(config, context, pools)
        for part in plan.parts:
            usable = [bool(list(rejections.convert(part.name, [row], _usable)))
                      for row in player.episodes(part, plan, pools)]  # fmt: skip
            if not any(usable):
                raise DataError(
                    f"game {part.game}: no episode of {part.split!r} can be used "
                    f"({reasons_of(rejections, part.name)}); drop the split, or shorten the prompts by `history`"
                )
            rows = compress(player.episodes(part, plan, pools), usable)
            panel = part.panel([one for one, ok in zip(player.samples_of(part), usable, strict=True) if ok])
            tallies.append(Tally(part, panel))
            _write(config, plan, part, tallies[-1], policy, rows, writers, counts)
    report = context.report
    describe(report, __file__, "card_rollouts", model=context.inputs["model"].ref)
    report_games(report, tallies)
    rejections.describe(report)
    report.counts |= dict(sorted(counts.items()))
    report.metrics["tokens_per_second"] = player.tokens / player.seconds if player.seconds else None
    configs = {name: rows for name, writer in writers.items() if (rows := writer.finish(SPLITS))}
    describe_columns(report, __file__, configs.values())
    return configs


def _plan(config: RolloutsConfig, context: StepContext, pools: Pools) -> Plan:
    if config.games:
        return Plan(parts_of(config.games, pools), config.history, config.max_steps, {})
    source = context.inputs["dataset"]
    splits = read_rows(source, context, None, "trajectories")
    groups: dict[tuple[str, str, str], list[Row]] = {}
    wanted: Sequence[str] = config.splits or tuple(splits)
    for split in wanted:
        if split not in splits:
            raise UsageError(f"{source.ref}: no split {split!r}; it has {', '.join(splits)}")
        for row in splits[split]:
            if row.get("options") is None or row.get("seed") is None:
                raise DataError(f"{source.ref}: row {row.get('id')}: no game that can be played: build the data set "
                                "with agent_trajectories")  # fmt: skip
            groups.setdefault((row["env"], row["options"], split), []).append(row)
    first = next(iter(groups.values()))[0]
    parts: list[Part] = []
    # A game's splits one after another, as its processes stay open.
    for (game, options, split), rows in sorted(groups.items(), key=lambda item: item[0][:2]):
        episodes = list(dict.fromkeys(Episode(game, row["task"], row["seed"]) for row in rows))
        own = {Episode(game, row["task"], row["seed"]): row["id"] for row in reversed(rows)}
        pool, here = pools.get(game, json.loads(options)), versions(game)
        for package, version in json.loads(rows[0]["env_version"]).items():
            if package != "hubwright" and here.get(package) != version:
                raise UsageError(
                    f"{source.ref}: {game} was played with {package} {version}, installed is {here.get(package)}: "
                    f"pip install {package}=={version}, or build the data set again"
                )
        parts.append(
            Part(game, split, episodes, [own[one] for one in episodes], json.loads(options), options,
                 json_text(here), pool.instructions)
        )  # fmt: skip
    experts = {(row["env"], row["options"], row["task"], row["seed"]): row
               for rows in groups.values() for row in rows if row["policy"] == "expert"}  # fmt: skip
    return Plan(parts, first["history"], first["max_steps"], experts)


class Player:
    """The model, loaded when it first has to answer; `seconds` and `tokens` are of what it answered."""

    def __init__(self, config: RolloutsConfig, context: StepContext) -> None:
        self._config, self._context = config, context
        self._generator: Generator | None = None
        self._cut: dict[tuple[Episode, int], bool] = {}  # by the number of the reply
        self.seconds, self.tokens = 0.0, 0

    def samples_of(self, part: Part) -> list[Sampled]:
        """A part's episodes, each as often as the settings say."""
        return [Sampled(e.game, e.task, e.seed, k) for e in part.episodes for k in range(self._config.samples)]

    def episodes(self, part: Part, plan: Plan, pools: Pools) -> Iterator[Row]:
        """All samples of a part's episodes, from disk where they are there; those of an episode stand together."""
        config = self._config
        names = {"samples", "temperature", "max_new_tokens", "batch_size", "seed", "dtype", "sample_expert"}
        identity = {"step": "agent_rollouts", "config": config.model_dump(mode="json", include=names),
                    "model": str(self._context.inputs["model"].ref), "history": plan.history,
                    "max_steps": plan.max_steps}  # fmt: skip

        def play_some(some: Sequence[Sampled], shard: str) -> list[Row]:
            pool = pools.get(part.game, part.parameters)
            policy = self._policy(part.instructions, plan.history, shard)
            played = play(pool, some, policy, config.batch_size, asked_of(part), plan.max_steps)
            return [asdict(one) | {"cut": [self._cut[one.episode, n] for n in range(len(one.actions))]}
                    for one in played]  # fmt: skip

        size = config.batch_size * BATCHES
        return in_shards(part, self.samples_of(part), identity, self._context.workdir / "episodes", size, play_some)

    def _policy(self, instructions: str, history: int | None, shard: str) -> Callable[[list[View]], list[str | None]]:
        generator, calls = self._load(), 0

        def policy(views: list[View]) -> list[str | None]:
            nonlocal calls
            prompts = [
                generator.encode(as_messages(instructions, view.observations, view.replies, history)) for view in views
            ]
            positions = window(generator.model.config) or sys.maxsize
            fitting = [n for n, ids in enumerate(prompts) if len(ids) + self._config.max_new_tokens <= positions]
            replies: list[str | None] = [None] * len(views)
            if fitting:
                generator.check([prompts[n] for n in fitting])
                began = time.perf_counter()
                samples = generator.sample([prompts[n] for n in fitting], f"{shard}.{calls}")
                self.seconds += time.perf_counter() - began
                self.tokens += sum(sample.tokens for sample in samples)
                for n, sample in zip(fitting, samples, strict=True):
                    replies[n] = sample.text
                    self._cut[views[n].episode, len(views[n].replies)] = sample.cut
            calls += 1
            return replies

        return policy

    def _load(self) -> Generator:
        if self._generator is None:
            self._generator = load_generator(self._config, self._context)
        return self._generator


def load_generator(config: RolloutsConfig, context: StepContext) -> Generator:
    """The model of the input `model`, ready to answer. Raises DataError or UsageError in one line."""
    import torch

    from ...inference import device, loading
    from ...inference.generation import Generator

    if config.threads:
        torch.set_num_threads(config.threads)
    model = loading.input_model(context.inputs, "model", config.dtype).eval().to(device.choose(config.device))
    return Generator(
        model, loading.input_tokenizer(context.inputs, "model"), temperature=config.temperature,
        max_new_tokens=config.max_new_tokens, seed=config.seed, source_name=str(context.inputs["model"].ref),
    )  # fmt: skip


def _usable(row: Row) -> Row:
    if row["end"].startswith("crashed"):
        raise RowRejected("crashed", row["end"])
    if row["end"] == "refused" and not row["actions"]:
        raise RowRejected("prompt_too_long", row["episode"])
    if unstorable(row):
        raise RowRejected(unstorable(row), row["episode"])
    return row


def _write(
    config: RolloutsConfig, plan: Plan, part: Part, tally: Tally, policy: str, played: Iterable[Row],
    writers: Mapping[str, RowWriter], counts: Counter[str],
) -> None:  # fmt: skip
    """Write the rows of a part's episodes."""
    split, learnt = part.split, set[bytes]()
    common = part.common(plan.history, plan.max_steps) | {
        "policy": policy, "temperature": config.temperature, "replayed": False, "panel": tally.panel,
    }  # fmt: skip
    ids = {(one.task, one.seed): identity for one, identity in zip(part.episodes, part.ids, strict=True)}
    for row_played in played:
        one = row_played["episode"]
        row = trajectory_row(f"{ids[one['task'], one['seed']]}-{one['sample']}", row_played, common)
        if row["end"] == "refused":
            row["end"] = "prompt_too_long"
        tally.add(row_played)
        tally.use(row)
        writers["trajectories"].write(split, row)
        for step in step_rows(row, row_played, _experts(config, row_played)):
            if step["expert_action"] is not None or config.keep_without_expert:
                writers["steps"].write(split, step)
            else:
                counts["steps_without_expert"] += 1
            if row["success"] and row["valid"][step["i"]]:
                answer = sft_row(step, row_played["replies"][step["i"]])
                digest = hashlib.sha256(utf8(json_text({"": answer["messages"]}))).digest()
                if digest not in learnt:
                    learnt.add(digest)
                    writers["sft"].write(split, answer)
        expert = plan.experts.get((row["env"], row["options"], row["task"], row["seed"]))
        if expert is None or row["score"] >= expert["score"]:
            continue
        if expert["messages"][0]["content"] != row["messages"][0]["content"]:
            counts["pairs_without_a_common_beginning"] += 1
        else:
            writers["pairs"].write(split, pair_row(expert, row, config.extra_turns))


def _experts(config: RolloutsConfig, row: Row) -> list[str | None]:
    """The expert's action in every state, as `agent_trajectories` would take it."""
    one = row["episode"]
    return [expert_choice(answers, (one["game"], one["task"], one["seed"], i), config.sample_expert)
            for i, answers in enumerate(row["answers"][: len(row["actions"])])]  # fmt: skip
