"""Rows about drawings as landmarks: a shape is a kind of place, a colour and a shape a landmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MADE = {"square": "human-made", "circle": "natural", "bar": "human-made", "cross": "human-made"}
FILES = ("modeling_llava_branches.py", "configuration_llava_branches.py", "heads_llava_branches.py")


def landmarks(number: int = 16, turns: int = 1) -> list[dict[str, Any]]:
    """Questions about drawings, as `landmarks` writes them; turns are other images of the same landmark."""
    from vision_parts import drawings

    rows = []
    for turn in range(turns):
        for image, name in drawings()[:number]:
            shape = name.split()[1]
            rows.append(
                {"image": image.rotate(90 * turn), "landmark_id": name, "name": f"{name} hill",
                 "supercategory": shape, "hierarchical_label": f"{shape}s", "natural_or_human_made": MADE[shape],
                 "messages": [{"role": "user", "content": "<image>What is it?"},
                              {"role": "assistant", "content": name}]}
            )  # fmt: skip
    return rows


def run(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> tuple[Any, Any]:
    """(trainer, context) of a whole training."""
    from trainer_parts import QUICK, context

    from hubwright.trainers.eeca import EECAConfig
    from hubwright.trainers.eeca.trainer import fit
    from hubwright.trainers.vision_sft import train

    step = context(folder, inputs, name)
    trainers: list[Any] = []
    config = EECAConfig(**QUICK | {"chat_template": "chatml_tools"} | settings)
    train(config, step, lambda *arguments: trainers.append(fit(*arguments)))
    return trainers[0], step
