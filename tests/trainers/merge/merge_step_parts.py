"""The step `merge` on folders, as the runner calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import HubwrightError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.trainers.merge.config import MergeConfig
from hubwright.trainers.merge.step import merge

SUM = {"method": "task_arithmetic"}


def inputs(folder: Path, **paths: str) -> dict[str, Input]:
    return {role: Input(ArtifactRef("model", f"t/{name}", "a" * 40), folder / name) for role, name in paths.items()}


def run(folder: Path, out: Path, config: dict[str, Any], **paths: str) -> StepContext:
    """The step `merge`; nothing is written where it refuses."""
    context = StepContext("m", out / "work", out / "made", inputs(folder, **paths))
    try:
        merge(MergeConfig(**config), context)
    except HubwrightError:
        assert not out.exists(), "refused after something was written"
        raise
    return context
