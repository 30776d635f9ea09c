"""A vision-language model from a vision tower and a language model, on transformers' LLaVA classes.

    tower's hidden layer -> linear, activation, linear -> in place of the image tokens of the language model

The projector is drawn at random, everything else is read from files. All tokens of the tower are used, its class token
and registers included, so that none is dropped in silence.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, first_line
from ...inference import loading as language
from ...inference.media import loading
from .._lib import loop, templates
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
    _check(base)
    return base


def _given(config: VisionSFTConfig, context: StepContext) -> Base:
    """The model of the `model` input."""
    source = context.inputs.get("model.base", context.inputs["model"])
    name = loop.name(context, "model")
    model = loading.input_image_text_model(
        context.inputs, "model", config.dtype, attn_implementation=config.attn_implementation
    )
    if not isinstance(model, LlavaForConditionalGeneration):
        raise UsageError(f"model: {name} is a {type(model).__name__}, and vision_sft trains LLaVA's classes")
    processor = loading.processor(source.path, str(source.ref))
    if not isinstance(processor, LlavaProcessor):
        raise DataError(f"{name} has a {type(processor).__name__}, and no LlavaProcessor")
    if config.chat_template == "chatml_tools":
        templates.install_chatml_tools(processor.tokenizer)
        processor.tokenizer.chat_template = with_images(processor.tokenizer.chat_template, processor.image_token)
    else:
        processor.tokenizer.chat_template = processor.chat_template or processor.tokenizer.chat_template
    processor.chat_template = processor.tokenizer.chat_template
    size = _image_size(processor.image_processor, name)
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
    size = config.image_size or _image_size(image_processor, tower_name)
    if size % tower.config.patch_size:
        raise UsageError(
            f"image_size: {size} is no multiple of the {tower.config.patch_size} pixels of a patch of {tower_name}: "
            "set image_size"
        )
    _set_image_size(image_processor, size, tower_name)
    tower = _resized(tower, size, tower_name)
    tokenizer = models.read_tokenizer(context, "language_model")
    model = models.read_model(config, context, "language_model")
    if config.chat_template == "chatml_tools":
        templates.install_chatml_tools(tokenizer)
    template = templates.choose(tokenizer, name, tools=False)
    _add_image_token(tokenizer, model, config.image_token, name)
    tokenizer.chat_template = with_images(tokenizer.chat_template, config.image_token)
    layer = -2 if config.feature_layer is None else config.feature_layer
    tokens = _tokens(tower, size, layer, tower_name)
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


def _image_size(image_processor: Any, source_name: str) -> int:
    """The side of the square that an image processor makes. Raises UsageError if it makes none."""
    size = _plain(getattr(image_processor, "crop_size", None) if _crops(image_processor) else None)
    size = size or _plain(image_processor.size)
    sides = {size.get("height"), size.get("width")}
    if len(sides) != 1 or None in sides:
        raise UsageError(f"vision_tower: {source_name} does not prepare images as squares: {size}")
    return int(sides.pop())


def _plain(size: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(size or {}).items() if value is not None}


def _crops(image_processor: Any) -> bool:
    return bool(getattr(image_processor, "do_center_crop", False))


def _set_image_size(image_processor: Any, side: int, source_name: str) -> None:
    """Let a tower's image processor make squares of another side; its margin around a crop keeps its proportion."""
    size = _plain(image_processor.size)
    if not _crops(image_processor):
        image_processor.size = {"height": side, "width": side}
    else:
        before = _image_size(image_processor, source_name)
        edges = {key: round(value * side / before) for key, value in size.items()}
        image_processor.size = edges
        image_processor.crop_size = {"height": side, "width": side}
    image_processor.do_resize = True


def _resized(tower: Any, size: int, source_name: str) -> Any:
    """The tower for images of another size. One that does not interpolate its position embeddings by itself gets them
    interpolated once and for all, by its own function. Raises UsageError if it has none."""
    if _reads(tower, size):
        return tower
    try:
        embeddings = next(module for module in tower.modules() if hasattr(module, "interpolate_pos_encoding"))
        patches = torch.zeros(1, (size // tower.config.patch_size) ** 2, tower.config.hidden_size, dtype=tower.dtype)
        one = 1 if hasattr(embeddings, "class_embedding") or hasattr(embeddings, "cls_token") else 0
        patches = torch.cat([patches[:, :one], patches], dim=1)
        with torch.no_grad():
            positions = embeddings.interpolate_pos_encoding(patches, size, size)[0]
        weights = tower.state_dict()
        key = next(key for key in weights if key.endswith(("position_embedding.weight", "position_embeddings")))
        weights[key] = positions.reshape(positions.shape if weights[key].dim() == 2 else (1, *positions.shape))
        settings = type(tower.config).from_dict(tower.config.to_dict() | {"image_size": size})
        settings._attn_implementation = tower.config._attn_implementation
        resized = AutoModel.from_config(settings, dtype=tower.dtype)
        resized.load_state_dict(weights)
    except (StopIteration, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"image_size: {source_name} reads images of {tower.config.image_size} pixels alone: write that "
            f"({first_line(error)})"
        ) from error
    return resized.train(tower.training)


def _reads(tower: Any, size: int) -> bool:
    """Whether a tower makes as many tokens more than there are patches as at its own size. The position embeddings of
    several patches may be added to a single one without an error."""
    patch = tower.config.patch_size
    if size == tower.config.image_size:
        return True
    with torch.device("meta"):
        like = AutoModel.from_config(tower.config)
        own = like(torch.empty(1, 3, *[tower.config.image_size] * 2)).last_hidden_state.shape[1]
    try:
        tokens = _tokens(tower, size, -1, "")
    except (ValueError, RuntimeError):
        return False
    return tokens - (size // patch) ** 2 == int(own) - (tower.config.image_size // patch) ** 2


@torch.no_grad()
def _tokens(tower: Any, size: int, layer: int | tuple[int, ...], source_name: str) -> int:
    """Tokens of an image, by looking at one. Raises UsageError for a layer that the tower does not have."""
    mode = tower.training
    try:
        states = tower.eval()(
            torch.zeros(1, 3, size, size, dtype=tower.dtype), output_hidden_states=True
        ).hidden_states
    finally:
        tower.train(mode)
    for one in (layer,) if isinstance(layer, int) else layer:
        if not -len(states) <= one < len(states):
            raise UsageError(f"feature_layer: {source_name} has the layers 0 to {len(states) - 1}, and no {one}")
    return int(states[-1].shape[1])


@torch.no_grad()
def _check(base: Base) -> None:
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
