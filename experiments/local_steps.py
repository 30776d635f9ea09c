"""Steps of the package on local folders: contexts, data sets on disk, work that is done once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def context(folder: Path, **inputs: Path) -> Any:
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    models = ("model", "tokenizer", "language_model", "vision_tower", "text_tower", "second", "encoder", "embedder")
    kinds = {role: "model" if role in models or role.startswith("encoder_") else "dataset" for role in inputs}
    given = {role: Input(ArtifactRef(kinds[role], f"local/{role}", "0" * 40), path) for role, path in inputs.items()}
    return StepContext("step", folder / "work", folder / "out", given)


def once(folder: Path, work: Callable[[Path], Any]) -> Path:
    """`folder`, after `work` has filled it, now or in a run before."""
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        work(folder)
        (folder / "done").write_text(f"{time.perf_counter() - began:.1f}\n")
        print(f"{'/'.join(folder.parts[-2:])}: {time.perf_counter() - began:.0f} s", flush=True)
    return folder


def save_rows(folder: Path, splits: dict[str, Any], config: str = "default") -> None:
    """A config's splits as Parquet; `save_card` then names the configs."""
    from hubwright.hub_sync.parquet import write_shards

    for split, rows in splits.items():
        write_shards(rows, folder / config, split)


def save_card(folder: Path, configs: dict[str, Sequence[str]]) -> Path:
    files = {name: [{"split": split, "path": f"{name}/{split}-*"} for split in splits]
             for name, splits in configs.items()}  # fmt: skip
    card = {"configs": [{"config_name": name, "data_files": rows} for name, rows in files.items()]}
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    return folder
