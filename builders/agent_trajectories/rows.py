"""Episodes as rows: `trajectories`, their `steps`, and one training conversation per step (`sft`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from ...environments.text.interface import as_messages
from ...hub_sync.text import utf8

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
Turn = Mapping[str, Any]


def features(config: str) -> Features:
    """Arrow features of a config: `trajectories`, `steps`, `sft` or `pairs`."""
    from datasets import Features, List, Value

    text, number, real, yes = Value("string"), Value("int64"), Value("float64"), Value("bool")
    turn = {"role": text, "content": text}
    turns, weighted = List(turn), List(turn | {"weight": number})
    episode = {"env": text, "task": text, "seed": number}
    columns: dict[str, dict[str, Any]] = {
        "trajectories": {
            "id": text, **episode, "env_version": text, "options": text, "policy": text, "history": number,
            "max_steps": number, "instructions": text, "messages": weighted, "actions": List(text),
            "rewards": List(real), "valid": List(yes), "states": List(text), "score": real, "success": yes,
            "end": text, "replayed": yes, "panel": text, "cut": List(yes), "temperature": real,
        },
        "steps": {
            "traj_id": text, "i": number, **episode, "prompt": turns, "action": text, "expert_action": text,
            "admissible": List(text), "expert_dist": List(real), "state": text, "reward": real, "return_to_go": real,
        },
        "sft": {"traj_id": text, "i": number, "messages": weighted},
        "pairs": {
            "traj_id": text, "expert_id": text, "prompt": turns, "chosen": turns, "rejected": turns,
            "chosen_score": real, "rejected_score": real,
        },
    }  # fmt: skip
    return Features(columns[config])


def json_text(value: Mapping[str, Any]) -> str:
    """Sorted JSON, one text for equal objects."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def expert_choice(answers: Mapping[str, Any], key: Sequence[Any], sample: bool) -> str | None:
    """The expert's action in a state; None if it has none.

    Args:
        answers: the game's, with `expert` and `distribution`.
        key: what the draw follows from: the seed of all draws, the episode, the number of the step.
        sample: draw from the expert's probabilities; false: its first action.
    """
    distribution: Mapping[str, float] = answers["distribution"]
    if not sample or len(distribution) < 2:
        expert: str | None = answers["expert"]
        return expert
    place = int.from_bytes(hashlib.sha256(utf8(repr(tuple(key)))).digest()[:8]) / 2**64
    for action, part in distribution.items():
        place -= part
        if place < 0:
            return action
    return action  # what rounding leaves above the sum


def observations_of(row: Row) -> list[str]:
    """The observations of a row of `trajectories`."""
    begin = f"{row['instructions']}\n\n" if row["instructions"] else ""
    first, *later = (turn["content"] for turn in row["messages"] if turn["role"] == "user")
    return [first.removeprefix(begin), *later]


def trajectory_row(identity: str, played: Row, common: Mapping[str, Any]) -> Row:
    """The row of an episode.

    Args:
        played: a `Trajectory` as a mapping; a model's with `cut`: replies that ended for want of tokens.
        common: env_version, options, policy, history, max_steps, instructions, replayed and panel; a model's with
            the `temperature` of its replies.
    """
    episode, count = played["episode"], len(played["actions"])
    turns = as_messages(common["instructions"], played["observations"], played["replies"])
    return {
        "id": identity, "env": episode["game"], "task": episode["task"], "seed": episode["seed"],
        "temperature": None, **common, "cut": played.get("cut"),
        "messages": [turn | {"weight": None} for turn in turns], "actions": played["actions"],
        "rewards": played["rewards"], "valid": played["valid"],
        "states": [answers["state"] for answers in played["answers"][:count]],
        "score": played["score"], "success": played["success"], "end": played["end"],
    }  # fmt: skip


def step_rows(row: Row, played: Row, experts: Sequence[str | None]) -> Iterator[Row]:
    """The steps of a trajectory's row; `expert_action` and `expert_dist` are null where the expert has no action.

    Args:
        experts: the expert's action in every state.
    """
    for i, expert in enumerate(experts):
        answers = played["answers"][i]
        admissible, shares = answers.get("admissible"), answers["distribution"]
        # A distribution is whole or absent.
        complete = expert is not None and admissible is not None and set(shares) <= set(admissible)
        yield {
            "traj_id": row["id"], "i": i, "env": row["env"], "task": row["task"], "seed": row["seed"],
            "prompt": as_messages(
                row["instructions"], played["observations"][: i + 1], played["replies"][:i], row["history"]
            ),
            "action": played["actions"][i], "expert_action": expert, "admissible": admissible,
            "expert_dist": [float(shares.get(action, 0)) for action in admissible] if complete else None,
            "state": answers["state"], "reward": row["rewards"][i], "return_to_go": sum(row["rewards"][i:]),
        }  # fmt: skip


def sft_row(step: Row, action: str) -> Row:
    """A step as a conversation in which the last turn alone is learnt."""
    turns = [turn | {"weight": 0 if turn["role"] == "assistant" else None} for turn in step["prompt"]]
    answer = {"role": "assistant", "content": action, "weight": 1}
    return {"traj_id": step["traj_id"], "i": step["i"], "messages": [*turns, answer]}


def pair_row(expert: Row, agent: Row, extra_turns: int) -> Row:
    """Two trajectories of one episode as a pair, the agent's as the rejected one.

    Args:
        expert, agent: rows of `trajectories`.
        extra_turns: turns by which the rejected conversation may be longer than the chosen one.
    """
    chosen, rejected = (_answer(row["messages"]) for row in (expert, agent))
    rejected = rejected[: len(chosen) + extra_turns]
    return {
        "traj_id": agent["id"], "expert_id": expert["id"], "prompt": _plain(expert["messages"][:1]),
        "chosen": _plain(chosen), "rejected": _plain(_up_to_assistant(rejected)),
        "chosen_score": expert["score"], "rejected_score": agent["score"],
    }  # fmt: skip


def _answer(turns: Sequence[Turn]) -> Sequence[Turn]:
    return _up_to_assistant(turns[1:])


def _up_to_assistant(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Turns without an observation at the end, which nobody answers."""
    return turns[:-1] if turns and turns[-1]["role"] != "assistant" else turns


def _plain(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
