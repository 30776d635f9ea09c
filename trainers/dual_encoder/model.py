"""The dual encoder that is trained: given, or two towers under projections that are drawn at random."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, first_line
from ...inference.loading import CompleteModels
from ...inference.media import loading
from .._lib import loop, towers
from .config import DualEncoderConfig

PROJECTIONS = ("visual_projection", "text_projection", "logit_scale")


@dataclass(frozen=True)
class Base:
    """What is trained.

    Attributes:
        model, processor: of transformers' VisionTextDualEncoder classes.
        tokenizer: a copy of the processor's, which remembers how it was called last.
        size: side of the square that the vision tower sees, in pixels.
        source_names: repositories of the model or of its towers.
    """

    model: Any
    processor: Any
    tokenizer: Any
    size: int
    source_names: tuple[str, ...]


def read(config: DualEncoderConfig, context: StepContext) -> Base:
    """The given model, or the one that two towers make. Raises UsageError or DataError in one line."""
    base = _given(config, context) if "model" in context.inputs else _of_towers(config, context)
    for part in (base.model.config.vision_config, base.model.config.text_config):
        part._name_or_path = ""  # a folder of this machine
    window = min(base.model.config.text_config.max_position_embeddings, base.processor.tokenizer.model_max_length)
    if config.max_length > window:
        raise UsageError(f"max_length: {config.max_length}: the text tower has {window} positions: write {window}")
    return base


def _given(config: DualEncoderConfig, context: StepContext) -> Base:
    source, name = context.inputs["model"], loop.name(context, "model")
    options = {"attn_implementation": config.attn_implementation}
    model = loading.dual_encoder(source.path, name, config.dtype, **options)
    if not isinstance(model, VisionTextDualEncoderModel):
        raise UsageError(
            f"model: {name} is a {type(model).__name__}, and dual_encoder trains VisionTextDualEncoderModel: name its "
            "towers instead"
        )
    processor = loading.processor(source.path, name)
    size = towers.image_size(processor.image_processor, name)
    return Base(model, processor, deepcopy(processor.tokenizer), size, (source.ref.repo_id,))


def _of_towers(config: DualEncoderConfig, context: StepContext) -> Base:
    name, text_name = loop.name(context, "vision_tower"), loop.name(context, "text_tower")
    folder = context.inputs["vision_tower"].path
    options = {"attn_implementation": config.attn_implementation}
    vision = loading.vision_tower(folder, name, config.dtype, **options)
    image_processor = loading.processor(folder, name, "AutoImageProcessor")
    size = config.image_size or towers.image_size(image_processor, name)
    towers.set_image_size(image_processor, size, name)
    vision = towers.resized(vision, size, name)
    text = _text_tower(config, context, text_name)
    tokenizer = loading.processor(context.inputs["text_tower"].path, text_name, "AutoTokenizer")
    if tokenizer.pad_token_id is None:
        raise UsageError(f"text_tower: {text_name} has no token to fill up texts with: set its pad token")
    _check_pooling(vision, torch.zeros(1, 3, size, size), "pixel_values", f"vision_tower: {name}")
    _check_pooling(text, torch.ones(1, 3, dtype=torch.long), "input_ids", f"text_tower: {text_name}")
    more = {} if config.projection_dim is None else {"projection_dim": config.projection_dim}
    settings = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, **more)
    model = VisionTextDualEncoderModel(config=settings, vision_model=vision, text_model=text)
    model.config.architectures = ["VisionTextDualEncoderModel"]
    names = tuple(context.inputs[role].ref.repo_id for role in ("vision_tower", "text_tower"))
    processor = VisionTextDualEncoderProcessor(image_processor, tokenizer)
    return Base(model, processor, deepcopy(tokenizer), size, names)


def _text_tower(config: DualEncoderConfig, context: StepContext, name: str) -> Any:
    folder = str(context.inputs["text_tower"].path)
    try:
        model = CompleteModels(AutoModel, name).from_pretrained(
            folder, dtype=config.dtype, use_safetensors=True, attn_implementation=config.attn_implementation
        )
    except DataError:
        raise
    except Exception as error:  # safetensors, transformers and torch raise classes of their own
        message = first_line(error).replace(folder, name)
        raise DataError(f"text_tower: {name} cannot be loaded: {message}") from error
    if getattr(model, "main_input_name", "") != "input_ids" or hasattr(model.config, "vision_config"):
        raise UsageError(f"text_tower: {name} is a {type(model).__name__}, which does not read text alone")
    return model


@torch.no_grad()
def _check_pooling(tower: Any, values: Any, argument: str, name: str) -> None:
    """Raises UsageError for a tower without `pooler_output`, in whose place the dual encoder would read another."""
    mode = tower.training
    output = tower.eval()(**{argument: values})
    tower.train(mode)
    pooled = getattr(output, "pooler_output", None)
    if pooled is None or output[1] is not pooled:
        raise UsageError(
            f"{name} pools nothing (no pooler_output): name a tower with a pooler, such as BERT's or ViT's"
        )
