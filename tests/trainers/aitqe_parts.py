"""Samples about drawings, as `aitqe_samples` writes them, and a small model that sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ASPECTS = ("overall", "text_quality", "matching", "object_detail", "semantic", "text_chart")
GOOD, BAD = dict(zip(ASPECTS, (9, 9, 9, 8, 8, 8), strict=True)), dict(zip(ASPECTS, (2, 9, 1, 1, 2, 5), strict=True))


def samples(number: int = 16) -> list[dict[str, Any]]:
    """Twins of every drawing: its name, and another one's."""
    from vision_parts import drawings

    images = drawings()
    rows = []
    for place, (image, name) in enumerate(images[:number]):
        other = images[(place + 5) % len(images)][1]
        rows += [
            {"id": f"good{place}", "twin": f"bad{place}", "image": image, "raw_text": name, "kind": "raw_good",
             "damage": None, "recaption": None, "scores": GOOD},
            {"id": f"bad{place}", "twin": f"good{place}", "image": image, "raw_text": other, "kind": "contrast_bad",
             "damage": "random_caption", "recaption": name, "scores": BAD},
        ]  # fmt: skip
    return rows


def save_samples(folder: Path, rows: list[dict[str, Any]], split: str = "train") -> Path:
    """A data set of them; an `image` is PIL.Image or bytes."""
    from datasets import Dataset, Features, Image, Value
    from vision_parts import encoded

    features = Features({name: Value("string") for name in rows[0] if name not in ("image", "scores")})
    features |= {"image": Image(), "scores": dict.fromkeys(ASPECTS, Value("int64"))}
    table = [
        row | {"image": {"bytes": row["image"] if isinstance(row["image"], bytes) else encoded(row["image"]),
                         "path": None}}
        for row in rows
    ]  # fmt: skip
    (folder / "data").mkdir(parents=True, exist_ok=True)
    data = Dataset.from_list(table, features=Features(features))
    data.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def make_base(folder: Path) -> Path:
    """A random vision-language model, assembled and published by `vision_sft`."""
    from trainer_parts import QUICK, context, make_model
    from vision_parts import chats, make_tower, save_rows

    from hubwright.trainers import vision_sft

    inputs = {
        "vision_tower": make_tower(folder / "tower"), "language_model": make_model(folder / "lm", dropout=0.0),
        "dataset": save_rows(folder / "chats", chats(4)),
    }  # fmt: skip
    step = context(folder, inputs, "base")
    vision_sft.train(vision_sft.VisionSFTConfig(**QUICK | {"chat_template": "chatml_tools", "max_steps": 1}), step)
    return step.output


def make_models(folder: Path) -> dict[str, Path]:
    """A model that writes, and one with a head."""
    from trainer_parts import QUICK, context

    from hubwright.trainers.aitqe.head import HeadConfig, train

    base = make_base(folder)
    step = context(folder, {"model": base, "dataset": save_samples(folder / "data", samples(2))}, "head")
    train(HeadConfig(**QUICK | {"max_steps": 1}), step)
    return {"writes": base, "head": step.output}
