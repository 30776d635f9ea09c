"""Documents and scored sequences in miniature, and a tiny Llama from random weights that learns from them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from trainer_parts import QUICK, context

ARCHITECTURE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TINY: dict[str, Any] = QUICK | {
    "architecture": ARCHITECTURE,
    "tokenizer": {"kind": "words"},
    "max_length": 64,
    "warmup_steps": 0,
}


def documents(count: int, seed: int = 0, longest: int = 50, words: int = 30) -> list[dict[str, Any]]:
    """`text` of 1 to `longest` random words."""
    draw = random.Random(seed)
    return [
        {"text": " ".join(f"w{draw.randrange(words)}" for _ in range(draw.randint(1, longest)))} for _ in range(count)
    ]


def sequences(count: int, seed: int = 0, longest: int = 20) -> list[dict[str, Any]]:
    """`text` and `targets`: after an even number comes what it was doubled, which is not the next word."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        numbers = [draw.randrange(8) for _ in range(draw.randint(3, longest))]
        targets = [f"n{2 * n}" if n % 2 == 0 else "" for n in numbers]
        rows.append({"text": " ".join(f"n{n}" for n in numbers), "targets": targets})
    rows[0] = {"text": "n0 n2 n4 n6", "targets": ["n0", "n4", "n8", "n12"]}  # every target is seen
    return rows


def save(folder: Path, files: int = 1, **splits: list[dict[str, Any]]) -> Path:
    """A data set on disk, each split in `files` Parquet files."""
    from datasets import Dataset

    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        size = -(-len(rows) // files)
        for number in range(files):
            part = Dataset.from_list(rows[number * size : (number + 1) * size])
            part.to_parquet(str(folder / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"))
    return folder


def trained(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> Any:
    """The context, report filled, of a training from the start to the published model."""
    from hubwright.trainers import pretrain

    step = context(folder, inputs, name)
    pretrain.train(pretrain.PretrainConfig(**(TINY | settings)), step)
    return step
