"""A LLaVA model as one of two branches with heads, and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib import towers
from ..architectures.llava_branches.configuration_llava_branches import LlavaBranchesConfig
from ..architectures.llava_branches.heads_llava_branches import VisualHeads
from ..architectures.llava_branches.modeling_llava_branches import (
    BranchesProjector,
    LlavaBranchesForConditionalGeneration,
)
from ..vision_sft.assemble import Base, check
from .config import BRANCHES, EECAConfig
from .labels import Classes

CLASSES = "eeca_classes.json"
"""File beside a model with heads: the classes of each level in the order of its outputs, and the landmarks' names."""
_PARTS = ("vision_tower", "language_model", "multi_modal_projector")


def with_branches(base: Base, config: EECAConfig) -> Base:
    """The model with the branches that the settings name, new ones drawn with torch's random state; in their class
    even without any. Raises UsageError or DataError in one line."""
    model: Any = base.model
    if isinstance(model, LlavaBranchesForConditionalGeneration):
        for field, own in (("latents", model.config.latents), ("high_resolution", model.config.high_resolution),
                           ("branch_heads", model.config.branch_heads)):  # fmt: skip
            if getattr(config, field) not in (None, own):
                raise UsageError(f"{field}: {base.name} has {own}, and no other is made of it: drop {field}")
        return base
    settings = model.config
    low = towers.image_size(base.processor.image_processor, base.name)
    high, latents = config.high_resolution, config.latents
    heads = config.branch_heads or getattr(settings.vision_config, "num_attention_heads", 1)
    width = model.model.multi_modal_projector.linear_1.in_features
    if width % heads:
        raise UsageError(f"branch_heads: {heads} is no divisor of the {width} features of a token: set branch_heads")
    if high is not None:
        _check_sizes(low, high, base)
    if latents is None and high is None and config.branch_heads is not None:
        raise UsageError("branch_heads: there are neither latents nor high_resolution: drop it")
    values = {
        "model_type": BRANCHES, "architectures": ["LlavaBranchesForConditionalGeneration"], "latents": latents,
        "high_resolution": high, "low_resolution": None if high is None else low, "branch_heads": heads,
    }  # fmt: skip
    changed = shell(model, LlavaBranchesForConditionalGeneration, LlavaBranchesConfig, values)
    projector = BranchesProjector(changed.config).to(model.dtype)
    old = model.model.multi_modal_projector
    projector.linear_1, projector.linear_2, projector.act = old.linear_1, old.linear_2, old.act
    changed.model.multi_modal_projector = projector
    times = base.image.times if latents is None else latents
    changed.config.image_seq_length = times
    processor = base.processor
    if high is not None:
        towers.set_image_size(processor.image_processor, high, base.name)
    # LlavaProcessor counts patches of the image that it makes; what the model makes of them is another number.
    side = (high or low) // processor.patch_size
    more = times - side**2 + (processor.vision_feature_select_strategy == "default")
    processor = LlavaProcessor(
        processor.image_processor, processor.tokenizer, patch_size=processor.patch_size,
        vision_feature_select_strategy=processor.vision_feature_select_strategy,
        chat_template=processor.chat_template, image_token=processor.image_token, num_additional_image_tokens=more,
    )  # fmt: skip
    result = replace(base, model=changed, processor=processor, image=replace(base.image, times=times))
    try:
        check(result)
    except (RuntimeError, ValueError) as error:
        if high is None:
            raise
        raise UsageError(
            f"high_resolution: the tower of {base.name} does not read images of {low} and of {high} pixels: drop "
            "high_resolution, or name another vision_tower, such as DINOv2"
        ) from error
    return result


def _check_sizes(low: int, high: int, base: Base) -> None:
    patch = base.model.config.vision_config.patch_size
    if high % patch:
        raise UsageError(
            f"high_resolution: {high} is no multiple of the {patch} pixels of a patch: write "
            f"{max(1, round(high / patch)) * patch}"
        )
    if high <= low:
        raise UsageError(f"high_resolution: {high} is not above the {low} pixels of the first branch: raise it")


def with_heads(model: Any, classes: Classes, stored: dict[str, Any] | None) -> None:
    """Give a model heads for these classes: its own, if `stored` is what lies beside it, or new ones.

    Raises UsageError if its own have other classes."""
    levels = [[column, len(names)] for column, names in classes.levels.items()]
    settings = {"levels": levels, "entities": classes.bank is not None}
    if stored is None or model.config.heads is None:
        width = model.config.text_config.hidden_size
        model.heads = VisualHeads(width, settings).to(model.dtype)
    elif model.config.heads != settings:
        raise UsageError(
            f"the heads of the model are for {_words(model.config.heads)}, and the data have {_words(settings)}: set "
            "fresh_heads: true"
        )
    model.config.heads = settings


def _words(settings: dict[str, Any]) -> str:
    levels = ", ".join(f"{count} classes of {column}" for column, count in settings["levels"])
    return f"{levels or 'no classes'}{' and names' if settings['entities'] else ''}"


def read_classes(folder: Path, source_name: str) -> dict[str, Any]:
    """What lies beside a model with heads. Raises DataError if it cannot be read."""
    try:
        value = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        return {"levels": dict(value["levels"]), "landmarks": dict(value["landmarks"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{source_name} has heads, and no {CLASSES} that says of what: set fresh_heads: true"
        ) from error


def write_classes(classes: Classes, context: StepContext) -> None:
    """Write them beside the model that is published."""
    bank = classes.bank
    landmarks = dict(zip(bank.ids, bank.names, strict=True)) if bank else {}
    context.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"levels": classes.levels, "landmarks": landmarks}, ensure_ascii=False, indent=1)
    (context.output / CLASSES).write_text(text + "\n", encoding="utf-8")


def published(model: Any, keep_heads: bool) -> Any:
    """The model without heads, unless they are kept; of transformers' own class if nothing sets it apart."""
    settings = model.config
    if keep_heads and settings.heads is not None:
        return model
    if settings.latents is None and settings.high_resolution is None:
        values = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}
        return shell(model, LlavaForConditionalGeneration, LlavaConfig, values)
    return shell(model, type(model), type(settings), {"heads": None})


def shell(model: Any, model_class: type, config_class: type, values: dict[str, Any]) -> Any:
    """The parts of a model, the same tensors, under another class or configuration."""
    known = model.config.to_dict()
    if config_class is LlavaConfig:
        for name in ("latents", "high_resolution", "low_resolution", "branch_heads", "heads", "auto_map"):
            known.pop(name, None)
    settings: Any = config_class.from_dict(known | values)  # type: ignore[attr-defined]
    settings._attn_implementation = model.config._attn_implementation
    settings.dtype = model.dtype
    with torch.device("meta"):
        whole = model_class(settings)
    for part in _PARTS:
        setattr(whole.model, part, getattr(model.model, part))
    whole.lm_head = model.lm_head
    if settings.to_dict().get("heads") is not None:
        whole.heads = model.heads
    whole.tie_weights()
    whole.generation_config = model.generation_config
    whole.train(model.training)
    return whole


def llava_of(model: Any) -> Any:
    """The model itself, below the adapters that it may have."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
