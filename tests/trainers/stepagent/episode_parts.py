"""Episodes of a small world, played by the model of the tests' context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from step_parts import save_steps

POLICY = f"org/model@{'0123456789' * 4}"
INSTRUCTIONS = "Walk."


def episode(
    task: str, sample: int, replies: Sequence[str], rewards: Sequence[float], states: Sequence[str] | None = None,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A row of `trajectories`; the state after n steps is "room n"."""
    states = [f"room {n}" for n in range(len(rewards))] if states is None else states
    messages = [{"role": "user", "content": f"{INSTRUCTIONS}\n\nYou are in room 0."}]
    for n, reply in enumerate(replies, 1):
        messages += [
            {"role": "assistant", "content": reply}, {"role": "user", "content": f"You are in room {n}."},
        ]  # fmt: skip
    return {
        "id": f"{task}-{sample}", "env": "walk", "task": task, "seed": 1, "options": "{}", "policy": POLICY,
        "history": None, "instructions": INSTRUCTIONS, "messages": messages, "rewards": list(rewards),
        "states": list(states),
    } | more  # fmt: skip


def bandits(count: int = 4) -> list[dict[str, Any]]:
    """Pairs of episodes of one step: "east" earns 1, "west" nothing."""
    return [
        episode(f"t{n}", k, [reply], [reward])
        for n in range(count)
        for k, (reply, reward) in enumerate([("east", 1.0), ("west", 0.0)])
    ]


def walks(count: int = 3) -> list[dict[str, Any]]:
    """Triples of episodes of one to three steps, of several returns."""
    return [
        episode(f"t{n}", k, ["go on"] * k + ["stop there"], [0.0] * k + [float(k == n % 2)])
        for n in range(count)
        for k in range(3)
    ]


def save_episodes(folder: Path, rows: list[dict[str, Any]], split: str = "train") -> Path:
    assert split == "train"
    return save_steps(folder, rows, "trajectories")
