"""Text games as lm-eval tasks: episodes played step by step, and distributions over actions beside an expert's.

Both read a data set of `uses: agent_trajectories` or `agent_rollouts`: config `trajectories` says which episodes are
played, config `steps` has states, their admissible actions and the expert's probabilities. The YAML's `dataset_name`
is the game's family; a data set may have several games.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import datasets
from lm_eval.api.instance import Instance

from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.json_columns import make_dataset
from ...inference.generation import end_of_turn
from .._lib.chat import chat_prompt
from .._lib.data import TaskData
from .._lib.interactive.task import InteractiveTask
from .._lib.scored import ScoredTask
from .episode import GameEpisode
from .scorer import distribution_scores, episode_scores

Row = dict[str, Any]
DATA = TaskData("agent_trajectories", repo="hubwright/games-expert", build="stepagent --only expert")


def of_game(rows: datasets.Dataset, family: str) -> datasets.Dataset:
    """The rows of a family of games. Raises DataError if there are none."""
    envs = [str(env) for env in rows["env"]]
    chosen = [number for number, env in enumerate(envs) if env.partition("/")[0] == family]
    if not chosen:
        raise DataError(f"no row is of the game {family}; the data set has {', '.join(sorted(set(envs)))}")
    return rows.select(chosen)


class _OfSplit(ScoredTask):
    """A task whose split may be named by `metadata.split`, such as test_seeds."""

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **settings: Any) -> None:
        self.config.test_split = str((self.config.metadata or {}).get("split") or self.config.test_split)
        super().download(dataset_kwargs, **settings)


class GameTask(_OfSplit, InteractiveTask):
    """The episodes of a game, for the model `interactive`."""

    PLAYER = GameEpisode
    DATA = DATA
    SUBSET = "trajectories"
    COLUMNS = ("env", "task", "seed")
    METRICS = ("success", "score", "steps", "invalid", "failed")
    INTERVALS = ("success",)
    LOWER_IS_BETTER = ("steps", "invalid", "failed")
    TEXT, TARGET = "{env}: {task} ({seed})", ""

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        names = [
            name for name in ("env", "task", "seed", "options", "history", "max_steps") if name in rows.column_names
        ]
        rows = of_game(rows, str(self.config.dataset_name)).select_columns(names)
        episodes = {json.dumps([row["env"], row["task"], row["seed"]]): row for row in rows}
        return make_dataset([{"id": key} | row for key, row in episodes.items()])

    def scores(self, doc: Row, results: Sequence[Any]) -> dict[str, float]:
        return episode_scores(results[0])


class DistributionTask(_OfSplit):
    """The states of a data set, each with the log-probability of every admissible action as the whole answer."""

    DATA = DATA
    SUBSET = "steps"
    COLUMNS = ("env", "prompt", "admissible", "expert_action")
    METRICS = ("agreement", "kl", "reverse_kl", "jsd", "tv", "expert_nll", "inadmissible_mass")
    INTERVALS = ("agreement",)
    LOWER_IS_BETTER = METRICS[1:]

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The states with admissible actions and an expert's probabilities. Raises DataError if they do not fit."""
        documents, skipped = [], 0
        for number, row in enumerate(of_game(rows, str(self.config.dataset_name))):
            actions, expert = row["admissible"], row.get("expert_dist")
            if not actions or (expert is None and row["expert_action"] is None):
                skipped += 1
                continue
            expert = expert or [float(action == row["expert_action"]) for action in actions]
            if len(expert) != len(actions) or not sum(expert) > 0:
                raise DataError(
                    f"row {number}: the expert's action {row['expert_action']!r} or its probabilities do not fit the "
                    f"{len(actions)} admissible actions; build the data set anew"
                )
            documents.append({"id": str(number), "env": row["env"], "prompt": json.dumps(row["prompt"]),
                              "actions": actions, "expert": expert})  # fmt: skip
        if not documents:
            raise DataError(f"none of the {skipped} states has admissible actions and an expert's answer")
        return make_dataset(documents)

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        return str(json.loads(doc["prompt"])[-1]["content"])

    def doc_to_target(self, doc: Row, doc_to_target: Any = None) -> int:
        return int(max(range(len(doc["expert"])), key=doc["expert"].__getitem__))

    def doc_to_choice(self, doc: Row, doc_to_choice: Any = None) -> list[str]:
        return list(doc["actions"])

    def fewshot_context(self, doc: Row, num_fewshot: int = 0, **settings: Any) -> str:
        template = settings.get("chat_template") if settings.get("apply_chat_template") else None
        return str(chat_prompt(json.loads(doc["prompt"]), settings.get("system_instruction"), template))

    def construct_requests(self, doc: Row, ctx: str, **settings: Any) -> list[Instance]:
        """A request per action, which is followed by its end of turn: the whole answer's probability is asked for.

        lm-eval counts the space at a prompt's end, such as the newline after "assistant", to the answer. A last
        request asks for it alone, and `scores` takes it away again.
        """
        template = settings.get("chat_template") if settings.get("apply_chat_template") else None
        before, after = ("", _end(template)) if template else (" ", "\n\n")
        pairs = [(ctx, f"{before}{action}{after}") for action in doc["actions"]]
        if space := ctx[len(ctx.rstrip()) :]:
            pairs.append((ctx.rstrip(), space))
        return [Instance("loglikelihood", doc, pair, n, settings["metadata"]) for n, pair in enumerate(pairs)]

    def scores(self, doc: Row, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        logps = [float(value) for value, _ in results]
        space = logps.pop() if len(logps) > len(doc["actions"]) else 0.0
        return distribution_scores([value - space for value in logps], doc["expert"])


def _end(template: Callable[..., Any]) -> str:
    """The end of turn of the model whose chat template this is. Raises UsageError if it cannot be told."""
    tokenizer: Any = getattr(getattr(template, "__self__", None), "tokenizer", None)
    end = None if tokenizer is None else end_of_turn(tokenizer)
    if end is None:
        raise UsageError(
            "the model's chat template shows no end of turn, so that an action's probability is not that of the whole "
            "answer; use a model whose turns end with a control token, as ChatML's do, or drop --apply_chat_template"
        )
    return str(tokenizer.convert_ids_to_tokens(end))
