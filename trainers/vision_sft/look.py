"""What a model's configuration and a data set's columns tell, before weights or rows are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...hub_sync.errors import HubError, UsageError
from ...hub_sync.pull import pull
from ...hub_sync.step import Preview
from .config import VisionSFTConfig

LLAVA = "llava"


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json; {} if there is none that can be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def check_models(settings: VisionSFTConfig, inputs: Mapping[str, Preview]) -> None:
    """Raises as `check_config` for inputs whose configuration the hub gives."""
    for role, preview in inputs.items():
        if role == "dataset":
            continue
        if preview.kind:  # the source is the model that its tokenizer comes from
            check_config(role, {"model_type": preview.kind, "vision_config": {}}, preview.name, settings)
            continue
        if preview.source is None:
            continue
        try:
            folder = pull(preview.source, ["config.json"])
        except HubError:
            continue
        check_config(role, read_config(folder), str(preview.source), settings)


def check_config(role: str, config: Mapping[str, Any], source_name: str, settings: VisionSFTConfig) -> None:
    """Raises UsageError in one line for a model of another kind than its role asks for; for {} nothing is known."""
    if not config:
        return
    kind = config.get("model_type", "")
    classes = " ".join(config.get("architectures") or [])
    sees, speaks = "vision_config" in config, "CausalLM" in classes or "LMHead" in classes
    together = sees and ("ConditionalGeneration" in classes or kind == LLAVA)
    if role == "model" and kind not in settings.kinds:
        if not sees:
            raise UsageError(
                f"model: {source_name} ({kind}) reads no images: name it as `language_model`, beside a `vision_tower`"
            )
        raise UsageError(
            f"model: {source_name} is of type {kind}, and this step trains {' or '.join(settings.kinds)}: name one "
            "that it assembled"
        )
    if role == "language_model" and (sees or not speaks):
        hint = "name it as `model` alone" if together else "name a causal language model"
        raise UsageError(f"language_model: {source_name} ({kind}) is no language model of text alone: {hint}")
    if role == "vision_tower":
        if together or speaks:
            raise UsageError(f"vision_tower: {source_name} ({kind}) is a model of language: name a vision model")
        vision = config.get("vision_config") or config
        patch, size = vision.get("patch_size"), settings.image_size
        if isinstance(patch, int) and size is not None and size % patch:
            raise UsageError(
                f"image_size: {size} is no multiple of the {patch} pixels of a patch of {source_name}: write "
                f"{max(1, round(size / patch)) * patch}"
            )
