"""Steps of a small grid world and pairs of actions in them, as data sets with named configs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from trainer_parts import QUICK

from hubwright.hub_sync.json_columns import make_dataset
from hubwright.hub_sync.parquet import write_shards

MOVES = ("go north", "go south", "go east", "go west")
STEP: dict[str, Any] = QUICK | {"max_length": 256}


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def step(trajectory: int, i: int) -> dict[str, Any]:
    """A state of which the expert's move is known: north, then east."""
    history = [turn("user", f"Grid {trajectory}. You are at {trajectory % 5},0.")]
    for n in range(i):
        history += [turn("assistant", MOVES[2 * (n % 2)]), turn("user", f"You are at step {n + 1}.")]
    return {"traj_id": f"t{trajectory}", "i": i, "env": "grid", "task": "walk", "seed": trajectory, "prompt": history,
            "expert_action": MOVES[2 * (i % 2)], "admissible": list(MOVES), "expert_dist": [1.0, 0.0, 0.0, 0.0]}  # fmt: skip


def pair(trajectory: int, i: int, cycle: int = 1, tie: bool = False) -> dict[str, Any]:
    """The expert's move and one of the agent's, which goes south or west."""
    state = step(trajectory, i)
    action = state["expert_action"] if tie else MOVES[1 + 2 * ((trajectory + cycle) % 2)]
    return {"traj_id": state["traj_id"], "i": i, "cycle": cycle, "prompt": state["prompt"],
            "chosen": [turn("assistant", state["expert_action"])], "rejected": [turn("assistant", action)],
            "tie": tie, "agent_logp": -1.5}  # fmt: skip


def save(folder: Path, **configs: list[dict[str, Any]]) -> Path:
    """A data set with rows by config."""
    shutil.rmtree(folder, ignore_errors=True)
    card = "---\nconfigs:\n"
    for config, rows in configs.items():
        write_shards(make_dataset(rows), folder / config, "train")
        card += f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*.parquet\n"
    (folder / "README.md").write_text(card + "---\n")
    return folder


def steps(trajectories: int = 8, length: int = 2) -> list[dict[str, Any]]:
    return [step(t, i) for t in range(trajectories) for i in range(length)]


def pairs(trajectories: int = 12, length: int = 2, cycle: int = 1) -> list[dict[str, Any]]:
    """Every fifth is a tie."""
    places = [(t, i) for t in range(trajectories) for i in range(length)]
    return [pair(t, i, cycle, tie=n % 5 == 0) for n, (t, i) in enumerate(places)]
