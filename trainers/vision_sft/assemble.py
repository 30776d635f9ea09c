"""A vision-language model from a vision tower and a language model, on transformers' LLaVA classes.

    tower's hidden layer -> linear, activation, linear -> in place of the image tokens of the language model

The projector is drawn at random, everything else is read from files. All tokens of the tower are used, its class token
and registers included, so that none is dropped in silence.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...inference import loading as language
from ...inference.media import loading
from .._lib import loop, templates, towers
from .._lib import model as models
from . import look
from .config import VisionSFTConfig
from .template import with_images


@dataclass(frozen=True)
class ImageToken:
    """The control token that stands for images: its text, its number, and how often it stands for one image."""

    text: str
    number: int
    times: int


@dataclass(frozen=True)
class Base:
    """What is trained.

    Attributes:
        model: a `LlavaForConditionalGeneration`.
        processor: its `LlavaProcessor`, whose tokenizer has the chat template.
        name: the model, or the language model, in messages.
        image: the token of images.
        source_names: repositories of the model or of its parts.
    """

    model: Any
    processor: Any
    name: str
    image: ImageToken
    source_names: tuple[str, ...]


def read(config: VisionSFTConfig, context: StepContext) -> Base:
    """The given or assembled model. Raises UsageError or DataError in one line for inputs that do not fit."""
    for role, source in context.inputs.items():
        if role in ("model", "language_model", "vision_tower") and not language.is_adapter(source.path):
            look.check_config(role, look.read_config(source.path), str(source.ref), config)
    if "model" in context.inputs:
        base = _given(config, context)
    else:
        base = _assembled(config, context)
    for part in (base.model.config.vision_config, base.model.config.text_config):
        part._name_or_path = ""  # a folder of this machine
    check(base)
    return base


def _given(config: VisionSFTConfig, context: StepContext) -> Base:
    """The model of the `model` input."""
    source = context.inputs.get("model.base", context.inputs["model"])
    name = loop.name(context, "model")
    model = loading.input_image_text_model(
        context.inputs, "model", config.dtype, attn_implementation=config.attn_implementation
    )
    if not isinstance(model, LlavaForConditionalGeneration):
        raise UsageError(f"model: {name} is a {type(model).__name__}, and this step trains LLaVA's classes")
    processor = loading.processor(source.path, str(source.ref))
    if not isinstance(processor, LlavaProcessor):
        raise DataError(f"{name} has a {type(processor).__name__}, and no LlavaProcessor")
    if config.chat_template == "chatml_tools":
        templates.install_chatml_tools(processor.tokenizer)
        processor.tokenizer.chat_template = with_images(processor.tokenizer.chat_template, processor.image_token)
    else:
        processor.tokenizer.chat_template = processor.chat_template or processor.tokenizer.chat_template
    processor.chat_template = processor.tokenizer.chat_template
    size = towers.image_size(processor.image_processor, name)
    tokens = (size // processor.patch_size) ** 2 + processor.num_additional_image_tokens
    tokens -= processor.vision_feature_select_strategy == "default"
    image = ImageToken(processor.image_token, model.config.image_token_id, tokens)
    return Base(model, processor, name, image, (context.inputs["model"].ref.repo_id,))


def _assembled(config: VisionSFTConfig, context: StepContext) -> Base:
    """The model that the two parts make."""
    tower_name, name = loop.name(context, "vision_tower"), loop.name(context, "language_model")
    attention = {"attn_implementation": config.attn_implementation}
    tower_folder = context.inputs["vision_tower"].path
    tower = loading.vision_tower(tower_folder, tower_name, config.dtype, **attention)
    image_processor = loading.processor(tower_folder, tower_name, "AutoImageProcessor")
    size = config.image_size or towers.image_size(image_processor, tower_name)
    if size % tower.config.patch_size:
        raise UsageError(
            f"image_size: {size} is no multiple of the {tower.config.patch_size} pixels of a patch of {tower_name}: "
            "set image_size"
        )
    towers.set_image_size(image_processor, size, tower_name)
    tower = towers.resized(tower, size, tower_name)
    tokenizer = models.read_tokenizer(context, "language_model")
    model = models.read_model(config, context, "language_model")
    if config.chat_template == "chatml_tools":
        templates.install_chatml_tools(tokenizer)
    template = templates.choose(tokenizer, name, tools=False)
    _add_image_token(tokenizer, model, config.image_token, name)
    tokenizer.chat_template = with_images(tokenizer.chat_template, config.image_token)
    layer = -2 if config.feature_layer is None else config.feature_layer
    tokens = towers.count_tokens(tower, size, layer, tower_name)
    if layer == 0:  # transformers would take it for "no hidden states"
        layer = -1 - tower.config.num_hidden_layers
    if isinstance(template, dict):
        tokenizer.chat_template = with_images(template, config.image_token)
    more = tokens - (size // tower.config.patch_size) ** 2
    image = ImageToken(config.image_token, tokenizer.convert_tokens_to_ids(config.image_token), tokens)
    assembled = _join(tower, model, layer, image, name)
    processor = LlavaProcessor(
        image_processor, tokenizer, patch_size=tower.config.patch_size, vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template, image_token=config.image_token, num_additional_image_tokens=more,
    )  # fmt: skip
    names = tuple(context.inputs[role].ref.repo_id for role in ("language_model", "vision_tower"))
    return Base(assembled, processor, name, image, names)


def _join(tower: Any, model: Any, layer: int | tuple[int, ...], image: ImageToken, name: str) -> Any:
    """The tower and the language model under one roof, their weights as they are."""
    body = getattr(model, model.base_model_prefix, None)
    head = model.get_output_embeddings()
    if body is None or head is None or getattr(head, "bias", None) is not None:
        raise UsageError(f"language_model: {name} has another form than a body under a linear head without bias")
    settings = LlavaConfig(
        vision_config=tower.config, text_config=body.config, image_token_index=image.number,
        image_seq_length=image.times, vision_feature_select_strategy="full",
        vision_feature_layer=layer if isinstance(layer, int) else list(layer),
        tie_word_embeddings=bool(model.config.tie_word_embeddings),
        dtype=model.dtype, architectures=["LlavaForConditionalGeneration"],
    )  # fmt: skip
    with torch.device("meta"):
        whole = LlavaForConditionalGeneration(settings)
    whole.model.vision_tower, whole.model.language_model, whole.lm_head = tower, body, head
    whole.model.multi_modal_projector = LlavaMultiModalProjector(settings).to(model.dtype)
    whole.tie_weights()
    whole.generation_config = model.generation_config
    whole.config._attn_implementation = model.config._attn_implementation
    left = [key for key, value in [*whole.named_parameters(), *whole.named_buffers()] if value.is_meta]
    if left:
        raise UsageError(f"language_model: {name}: {left[0]} has no place in transformers' LLaVA classes")
    _compare(model, whole, name)
    return whole


@torch.no_grad()
def _compare(model: Any, whole: Any, name: str) -> None:
    """Raises UsageError if text alone gets other logits: a head may compute more than a product, such as a scale."""
    ids = torch.arange(1, 9)[None] % model.get_input_embeddings().weight.shape[0]
    modes = model.training, whole.training
    before, after = model.eval()(input_ids=ids).logits, whole.eval()(input_ids=ids).logits
    model.train(modes[0]), whole.train(modes[1])
    if not torch.equal(before, after):
        raise UsageError(
            f"language_model: {name} gets other logits in transformers' LLaVA classes (they differ by "
            f"{(before.float() - after.float()).abs().max().item():.2g}): its head is of another form"
        )


def _add_image_token(tokenizer: Any, model: Any, token: str, name: str) -> None:
    """Let the token be a control token of the tokenizer, with a row in the embeddings: their mean where it is new."""
    known = tokenizer.get_vocab()
    tokenizer.add_special_tokens({"additional_special_tokens": [token]}, replace_extra_special_tokens=False)
    number = tokenizer.convert_tokens_to_ids(token)
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if ids != [number]:
        raise UsageError(f"image_token: {token!r} is {len(ids)} tokens of {name}: choose another")
    rows = model.get_input_embeddings().weight.shape[0]
    if number >= rows:
        model.resize_token_embeddings(number + 1, mean_resizing=False)
    if token in known:
        return
    with torch.no_grad():
        for table in {id(t): t for t in (model.get_input_embeddings(), model.get_output_embeddings())}.values():
            table.weight[number] = table.weight[: min(rows, number)].float().mean(dim=0).to(table.weight.dtype)


@torch.no_grad()
def check(base: Base) -> None:
    """Raises DataError unless processor and tower agree on the tokens of an image, and on all of them."""
    from PIL import Image

    model, processor = base.model, base.processor
    batch = processor(images=Image.new("RGB", (40, 30)), text=processor.image_token, return_tensors="pt")
    shown = int((batch["input_ids"] == base.image.number).sum())
    mode = model.training
    features = model.eval().get_image_features(pixel_values=batch["pixel_values"].to(model.dtype)).pooler_output
    model.train(mode)
    made = sum(len(one) for one in features)
    if not shown == made == base.image.times:
        raise DataError(
            f"{base.name}: an image is {shown} tokens by its processor, {base.image.times} by its settings and {made} "
            "by its tower: correct num_additional_image_tokens and vision_feature_select_strategy"
        )
    if model.config.vision_feature_select_strategy != processor.vision_feature_select_strategy:
        raise DataError(f"{base.name}: model and processor have different vision_feature_select_strategy")
