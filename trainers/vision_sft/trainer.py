"""TRL's SFTTrainer on rows with images, every row and every image accounted for."""

import re
from collections.abc import Sequence
from typing import Any

import trl
from torch import nn
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from .._lib import loop, rows
from .._lib import model as models
from .._lib.arguments import build
from .._lib.config import processes_of
from .._lib.images import AT, ImageColumn, take_images
from ..sft.trainer import SFTTrainer
from .assemble import Base, read
from .config import VisionSFTConfig, columns_of
from .rows import VisionReader, VisionTokens

PROJECTOR = "multi_modal_projector"
LANGUAGE_MODEL = "language_model"


class VisionSFTTrainer(SFTTrainer):
    """A method subclasses it and overrides TRL's hooks, such as `compute_loss`. Arguments as of `ChatMixin`."""

    base_roles = ("model.base", "model", f"{LANGUAGE_MODEL}.base", LANGUAGE_MODEL)

    def card_tags(self) -> list[str]:
        return [*super().card_tags(), "vision"]

    @classmethod
    def read_base(cls, config: Any, context: StepContext) -> Base:
        """The model that is trained, before its rows are read."""
        return read(config, context)

    @classmethod
    def make_collator(
        cls, base: Base, splits: dict[str, Any], columns: list[ImageColumn], config: Any, context: StepContext
    ) -> Any:
        """What makes batches of rows, before they are prepared: `splits` still have the other columns. A method may
        give the model a part of its own here, by what they hold."""
        return Collator(base.processor, columns, base.model.dtype)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns or []
        self._signature_columns = columns if AT in columns else [*columns, AT]  # type: ignore[assignment]


class Collator:
    """Batches of rows: tokens and labels padded, and the pixels of their images in the order of their tokens.

    Args:
        processor: of the model.
        columns: of images, by the first number in `AT`.
        dtype: of the pixels, that of the tower.
    """

    def __init__(self, processor: Any, columns: Sequence[ImageColumn], dtype: Any = None) -> None:
        self._text = DataCollatorForLanguageModeling(pad_token_id=pad_token_id(processor.tokenizer))
        self._processor, self._columns, self._dtype = processor, columns, dtype

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`input_ids`, `labels`, `attention_mask` (rows, length), and if there is an image `pixel_values` (images, 3,
        side, side)."""
        batch: dict[str, Any] = self._text([{key: row[key] for key in ("input_ids", "labels")} for row in examples])
        images = [image for row in examples if row[AT] for image in self._columns[row[AT][0]].read(row[AT][1])]
        if images:
            pixels = self._processor.image_processor(images, return_tensors="pt")["pixel_values"]
            batch["pixel_values"] = pixels if self._dtype is None else pixels.to(self._dtype)
        return batch


def pad_token_id(tokenizer: Any) -> int:
    """The id that fills up rows. Raises UsageError for a tokenizer with neither pad nor eos token."""
    for number in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if number is not None:
            return int(number)
    raise UsageError("the tokenizer has neither a pad nor an eos token to fill up rows with: set one")


def fit(
    config: VisionSFTConfig, context: StepContext, trainer_class: type[VisionSFTTrainer] = VisionSFTTrainer
) -> VisionSFTTrainer:
    """One process's training; returns its trainer."""
    models.check(config, context)
    source_name = loop.name(context, "dataset")
    splits = trainer_class.load_splits(config, context)
    train = next(iter(splits.values()))
    form_name = columns_of(train.column_names, source_name)
    config.check_form(form_name)
    splits, columns = take_images(splits, config.image_limits(), context.inputs["dataset"].path, source_name)
    base = trainer_class.read_base(config, context)
    encoder = VisionTokens(_reader(next(iter(splits.values())), form_name, base, columns, config, context))
    common = loop.training_arguments(config, context, "eval" in splits)
    common |= {
        "max_length": None,  # rows come cut, and none with half an image
        "dataset_num_proc": processes_of(config),
        "loss_type": config.loss_type,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    args = build(config, trl.SFTConfig, common)
    collator = trainer_class.make_collator(base, splits, columns, config, context)
    # One process prepares the rows; the others find them cached.
    with args.main_process_first(local=False):
        for split in splits:
            splits[split], account = rows.prepare(splits[split], split, encoder, context)
            if most := account["most"]:
                models.check_extremes(most["id"], most["length"], base.model, base.processor.tokenizer, base.name)
    splits = trainer_class.join(splits)
    if config.chat_template == "chatml_tools":  # its end of turn is the tokenizer's eos token: the model stops there
        base.model.generation_config.eos_token_id = base.processor.tokenizer.eos_token_id
        base.model.config.text_config.eos_token_id = base.processor.tokenizer.eos_token_id
    set_trained(base.model, config)
    trainer = trainer_class(
        config,
        context,
        model=base.model,
        args=args,
        data_collator=collator,
        train_dataset=splits["train"],
        eval_dataset=splits.get("eval"),
        processing_class=base.processor,
        peft_config=peft_config(config, base),
    )
    base.model.config.use_cache = True  # as it is published; training never caches
    loop.fit(trainer, config, context)
    if trainer.accelerator.is_main_process:
        describe(trainer, base, config, context)
    return trainer


def _reader(
    train: Any, form_name: str, base: Base, columns: list[ImageColumn], config: VisionSFTConfig, context: StepContext
) -> VisionReader:
    """What reads the rows by their columns."""
    whole = form_name if form_name in ("messages", "conversations") else None
    marked = whole is not None and config.assistant_only_loss
    form = rows.Form(whole, responses=() if whole else ("completion",), weighted=marked)
    return VisionReader(train, form, base, columns, form_name == "text", config, context)


def set_trained(model: Any, config: VisionSFTConfig) -> None:
    """Let the parameters of `config.part` be trained, and no others; of adapters PEFT sees to that."""
    if config.part == "all" or config.lora is not None:
        return
    parts = (PROJECTOR,) if config.part == "projector" else (PROJECTOR, LANGUAGE_MODEL, "lm_head")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(f"{part}." in name for part in parts))


def peft_config(config: VisionSFTConfig, base: Base) -> Any:
    """`peft.LoraConfig` of adapters in the language model beside a projector that is trained in full; None without
    lora. Raises UsageError for target modules that the model does not have."""
    settings = models.peft_config(config, base.model, base.name)
    if settings is None:
        return None
    if settings.target_modules == "all-linear":
        pattern = re.compile(rf"(.*\.)?{LANGUAGE_MODEL}\..*")
        linear = {
            name.rpartition(".")[2]
            for name, module in base.model.named_modules()
            if isinstance(module, nn.Linear) and pattern.fullmatch(name)
        }
        settings.target_modules = rf"(.*\.)?{LANGUAGE_MODEL}\..*\.({'|'.join(sorted(linear))})"
    settings.modules_to_save = [PROJECTOR]
    return settings


def describe(trainer: Any, base: Base, config: VisionSFTConfig, context: StepContext) -> None:
    """What the card says beyond any training: the parts, and what an image is to the model."""
    report, model = context.report, trainer.accelerator.unwrap_model(trainer.model)
    settings, processor = model.config, base.processor
    sizes = dict.fromkeys(("vision tower", "projector", "language model"), 0)
    for name, parameter in model.named_parameters():
        places = {"vision tower": "vision_tower.", "projector": PROJECTOR, "language model": LANGUAGE_MODEL}
        part = next((part for part, place in places.items() if place in name), None)
        part = "language model" if part is None and "lm_head" in name else part
        if part is not None:
            sizes[part] += parameter.numel()
    crop = getattr(processor.image_processor, "crop_size", None) or processor.image_processor.size
    report.table(
        "Model",
        ["", ""],
        [
            ["class", type(base.model).__name__],
            ["vision tower", f"{settings.vision_config.model_type}, {sizes['vision tower']:,} parameters"],
            ["projector", f"two linear layers, {sizes['projector']:,} parameters"],
            ["language model", f"{settings.text_config.model_type}, {sizes['language model']:,} parameters"],
            ["image", f"{crop['height']} x {crop['width']} pixels, {base.image.times} tokens"],
            ["token of an image", f"`{base.image.text}`"],
            ["hidden layer of the tower", str(settings.vision_feature_layer)],
            ["trained", "projector, adapters" if config.lora else config.part.replace("_", " ")],
        ],
    )
    report.metrics["tokens_per_image"] = base.image.times
    adapter = config.lora is not None and not config.merge_adapter
    names = list(base.source_names)
    report.card |= {
        "base_model": names if len(names) > 1 else names[0],
        "base_model_relation": "adapter" if adapter else "finetune",
        "pipeline_tag": "image-text-to-text",
    }
