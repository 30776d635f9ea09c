"""Steps of an expert in a small world, and models that answer them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer_parts import context, make_model

from hubwright.hub_sync.json_columns import make_dataset
from hubwright.hub_sync.parquet import write_shards

ACTIONS = ["north", "south", "east", "west"]
__all__ = ["ACTIONS", "context", "make_model", "save_steps", "step_of"]


def step_of(number: int, i: int = 0, **more: Any) -> dict[str, Any]:
    """A state whose right action follows from its number."""
    prompt = [{"role": "system", "content": "Walk."}, {"role": "user", "content": f"Room {number}, {'far ' * i}away."}]
    return {
        "traj_id": f"walk-{number}", "i": i, "env": "walk", "task": "t", "seed": number, "prompt": prompt,
        "expert_action": ACTIONS[number % 4], "admissible": ACTIONS,
    } | more  # fmt: skip


def save_steps(folder: Path, rows: list[dict[str, Any]] | None = None, config: str = "steps") -> Path:
    rows = rows or [step_of(number, i) for number in range(12) for i in range(2)]
    write_shards(make_dataset(rows), folder / config, "train")
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*\n---\n"
    )
    return folder
