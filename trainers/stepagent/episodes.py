"""A model's episodes as rows of steps, each with its advantage; what cannot be used is refused by row, or counted."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.fingerprint import Hasher

from ...environments.text.interface import as_messages
from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .._lib import loop
from .advantages import Values, advantages
from .gigpo import GiGPOConfig

COLUMNS = ("env", "task", "seed", "policy", "messages", "rewards", "states")
OPTIONAL = ("id", "options", "instructions", "history", "cut", "temperature")
TURNS = List({"role": Value("string"), "content": Value("string")})
STEPS = Features({"prompt": TURNS, "completion": TURNS, "advantage": Value("float64"), "cut": Value("bool")})
SIZES = {"1": (1, 1), "2 to 4": (2, 4), "5 to 16": (5, 16), "17 or more": (17, math.inf)}  # as the card shows them

Row = Mapping[str, Any]


def steps_of(split: Dataset, role: str, config: GiGPOConfig, context: StepContext) -> Dataset:
    """The steps of a split's episodes: `prompt` and `completion` (turns), `advantage`, and `cut`: the reply ended for
    want of tokens.

    Args:
        split: with `COLUMNS`, and any of `OPTIONAL`; without `cut` no reply is taken for cut.
        role: "train" or "eval", in the report.

    Raises DataError for absent columns, an episode that cannot be used, or if no advantage differs from 0.
    """
    source_name, policy = loop.name(context, "dataset"), loop.name(context, "model")
    if missing := [name for name in COLUMNS if name not in split.column_names]:
        raise DataError(
            f"{source_name} lacks `{missing[0]}`: GiGPO reads config `trajectories` of agent_rollouts; its columns "
            f"are {', '.join(sorted(split.column_names))}"
        )
    split = split.select_columns([name for name in (*COLUMNS, *OPTIONAL) if name in split.column_names])
    groups: list[Any] = []
    rewards: list[Values] = []
    states: list[list[bytes]] = []
    ids: dict[str, int] = {}
    for number, row in enumerate(split):
        message = defect(row, None if config.allow_off_policy else policy, config.temperature)
        if not message and row.get("id") is not None and ids.setdefault(row["id"], number) != number:
            message = f"id {row['id']!r} is that of row {ids[row['id']]} as well: leave one of them out"
        if message:
            raise DataError(f"{source_name}: row {number} of the {role} split: {message}")
        groups.append((row["env"], row.get("options"), row["task"], row["seed"]))
        rewards.append(np.array(row["rewards"], dtype=np.float64))
        states.append([hashlib.sha256(utf8(state)).digest()[:16] for state in row["states"]])
    played = Counter(group for group, one in zip(groups, rewards, strict=True) if len(one))
    used = [n for n, group in enumerate(groups) if len(rewards[n]) and played[group] > 1]
    if not used:
        raise DataError(
            f"{source_name}: each of the {len(groups)} episodes of the {role} split is alone in its group of equal "
            "env, task and seed: play them with agent_rollouts and samples: 2 or more"
        )
    counts = {"episodes": len(groups), "episodes_without_steps": sum(not len(one) for one in rewards),
              "episodes_alone_in_their_group": sum(count == 1 for count in played.values()),
              "episodes_used": len(used)}  # fmt: skip
    context.report.counts |= {f"{role}_{name}": count for name, count in counts.items()}
    groups, rewards = [groups[n] for n in used], [rewards[n] for n in used]
    values, sizes = advantages(groups, rewards, [states[n] for n in used], config.gamma, config.omega, config.scale)
    _report(role, context, groups, rewards, np.concatenate(values), np.concatenate(sizes))
    if not any(one.any() for one in values):
        raise DataError(
            f"{source_name}: the {len(used)} episodes of the {role} split have the same rewards as the others of "
            "their groups, so that every advantage is 0: play more samples, at a higher temperature, or easier tasks"
        )

    def unfold(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        rows = [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]
        steps = [step for row, n in zip(rows, numbers, strict=True) for step in _steps(row, values[n].tolist())]
        return {name: [step[name] for step in steps] for name in STEPS}

    key = Hasher.hash([split._fingerprint, config.gamma, config.omega, config.scale])
    return split.select(used).map(
        unfold, batched=True, batch_size=16, with_indices=True, remove_columns=split.column_names, features=STEPS,
        new_fingerprint=key, desc=f"Unfolding {role} episodes",
    )  # fmt: skip


def defect(row: Row, policy: str | None, temperature: float) -> str | None:
    """Why an episode cannot be used, with the remedy; None if it can.

    Args:
        policy: the only one whose episodes are accepted; None: any.
        temperature: at which it must have been played, where the row tells.
    """
    rebuild = "build the data set with agent_rollouts"
    if policy is not None and row["policy"] != policy:
        return f"played by {row['policy']}, not by {policy}: play new episodes with it, or set allow_off_policy: true"
    if row.get("temperature") not in (None, temperature):
        return (
            f"played at temperature {row['temperature']:g}, and the setting temperature is {temperature:g}: make them "
            "equal, and play above 0"
        )
    if empty := next((name for name in ("env", "task", "seed") if row[name] is None), None):
        return f"{empty} is null, so that its group is not known: {rebuild}"
    for name, fits, kind in (
        ("rewards", lambda one: isinstance(one, int | float) and math.isfinite(one), "a finite number"),
        ("states", lambda one: isinstance(one, str), "text"),
        ("messages", lambda one: isinstance(one, dict) and isinstance(one.get("content"), str), "a turn with text"),
    ):
        if not isinstance(row[name], list):
            return f"{name} is {row[name]!r:.60}, not a list: {rebuild}"
        if wrong := next(((n, one) for n, one in enumerate(row[name]) if not fits(one)), None):
            return f"{name}[{wrong[0]}] is {wrong[1]!r:.60}, not {kind}: {rebuild}"
    roles = [turn["role"] for turn in row["messages"]]
    if roles != [("user", "assistant")[n % 2] for n in range(len(roles))]:
        return f"user and assistant do not alternate in its messages ({', '.join(map(str, roles[:6]))}): {rebuild}"
    lengths = {"replies": len(roles) // 2} | {
        name: len(row[name]) for name in ("rewards", "states", "cut") if row.get(name) is not None
    }
    if len(set(lengths.values())) > 1:
        return f"it has {', '.join(f'{n} {name}' for name, n in lengths.items())}: {rebuild}"
    return None


def _steps(row: Row, values: list[float]) -> list[dict[str, Any]]:
    """Rows of `STEPS` of an episode, with the prompts as the model saw them."""
    instructions = row.get("instructions") or ""
    texts = [turn["content"] for turn in row["messages"]]
    observations, replies = texts[::2], texts[1::2]
    observations[0] = observations[0].removeprefix(f"{instructions}\n\n")
    cut = row.get("cut") or [False] * len(values)
    return [
        {
            "prompt": as_messages(instructions, observations[: i + 1], replies[:i], row.get("history")),
            "completion": [{"role": "assistant", "content": replies[i]}],
            "advantage": value,
            "cut": bool(cut[i]),
        }
        for i, value in enumerate(values)
    ]


def _report(role: str, context: StepContext, groups: list[Any], rewards: list[Any], values: Any, sizes: Any) -> None:
    report, returns = context.report, defaultdict[Any, set[float]](set)
    for group, one in zip(groups, rewards, strict=True):
        returns[group].add(sum(one))
    report.counts |= {
        f"{role}_groups": len(returns),
        f"{role}_groups_with_equal_returns": sum(len(one) == 1 for one in returns.values()),
        f"{role}_steps": len(values), f"{role}_steps_with_advantage_0": int((values == 0).sum()),
    }  # fmt: skip
    report.metrics[f"{role}_share_of_steps_in_repeated_states"] = float((sizes > 1).mean())
    shares = [float(((sizes >= low) & (sizes <= high)).mean()) for low, high in SIZES.values()]
    report.table(
        f"Steps of a group in the same state ({role})", ["steps in the state", "share of all steps"],
        [[name, round(share, 4)] for name, share in zip(SIZES, shares, strict=True)],
        "A step alone in its state has no step advantage, and gets its episode's alone.",
    )  # fmt: skip
