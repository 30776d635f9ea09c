"""A mixture in miniature: a data set with a config per domain, and trainings on it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml
from pretrain_parts import TINY
from trainer_parts import QUICK, context

DOMAINS = ("code", "law", "other")
REFERENCES = {"code": 1.0, "law": 2.0, "other": 3.0}
QUICK_MIX: dict[str, Any] = {"update_every": 2, "max_steps": 6, "reference_losses": REFERENCES}


def texts(domain: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Documents of 5 to 30 of the domain's own 12 words; `law` has one word more often than others."""
    draw = random.Random(f"{domain}/{seed}")
    words = [f"{domain}{number}" for number in range(12)]
    return [
        {"text": " ".join(draw.choice(words[: 2 if domain == "law" else 12]) for _ in range(draw.randint(5, 30)))}
        for _ in range(count)
    ]


def conversations(domain: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    rows = texts(domain, count, seed)
    return [
        {"messages": [{"role": "user", "content": row["text"][:20]}, {"role": "assistant", "content": row["text"]}]}
        for row in rows
    ]


def save_mixture(folder: Path, make: Any = texts, rows: int = 40, **more: Any) -> Path:
    """A data set with `mixture.json`; `more` are fields of it, None leaves the file out."""
    from datasets import Dataset

    configs = []
    for number, domain in enumerate(DOMAINS):
        for split, count in (("train", rows + 10 * number), ("held_out", 6)):
            path = folder / domain / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_list(make(domain, count, int(split != "train"))).to_parquet(str(path))
        files = [{"split": split, "path": f"{domain}/{split}-*.parquet"} for split in ("train", "held_out")]
        configs.append({"config_name": domain, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'license': 'mit', 'configs': configs})}---\n")
    mixture = {"form": "text", "domains": list(DOMAINS), "weights": {"code": 0.5, "law": 0.3, "other": 0.2}} | more
    (folder / "mixture.json").write_text(json.dumps(mixture))
    return folder


def pretrained(
    folder: Path, data: Path, name: str = "run", inputs: dict[str, Path] | None = None, **settings: Any
) -> Any:
    """The context of a training on documents, from the start to the published model."""
    from hubwright.trainers import versatune

    step = context(folder, {"dataset": data, **(inputs or {})}, name)
    versatune.pretrain(versatune.VersatunePretrainConfig(**(TINY | QUICK_MIX | settings)), step)
    return step


def tuned(folder: Path, data: Path, model: Path, name: str = "run", **settings: Any) -> Any:
    """The context of a training on conversations."""
    from hubwright.trainers import versatune

    step = context(folder, {"dataset": data, "model": model}, name)
    versatune.sft(versatune.VersatuneSFTConfig(**(QUICK | QUICK_MIX | settings)), step)
    return step
