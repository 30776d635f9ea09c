"""The model that a training starts from, its tokenizer, and what it cannot do, known before anything is trained."""

import re
from typing import Any

import torch
from peft import LoraConfig
from transformers import BitsAndBytesConfig

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError, did_you_mean
from ...inference import loading
from . import loop as _loop
from .config import ModelSettings, QuantizationSettings, TrainingConfig


def check(config: TrainingConfig, context: StepContext) -> None:
    """Refuse what the inputs do not allow. Raises UsageError. A new adapter would name its base, and an adapter that
    was folded in is in no repository's weights."""
    if "model.base" in context.inputs and config.lora is not None and not config.merge_adapter:
        raise UsageError(
            f"step {context.step}: {_loop.name(context, 'model')} is an adapter, and a new adapter on top of it has "
            "no base that could be named: set merge_adapter: true, or drop lora"
        )
    if "model.base" in context.inputs and config.quantization is not None:
        raise UsageError(
            f"step {context.step}: {_loop.name(context, 'model')} is an adapter, which cannot be folded into "
            "quantised weights: drop quantization, or `merge` the adapter into its base first"
        )


def load_tokenizer(config: TrainingConfig, context: StepContext) -> Any:
    """The tokenizer of the `model` input, with the chosen chat template."""
    from .templates import install_chatml_tools

    tokenizer = read_tokenizer(context)
    if config.chat_template == "chatml_tools":
        install_chatml_tools(tokenizer)
    return tokenizer


def read_tokenizer(context: StepContext, role: str = "model") -> Any:
    """The tokenizer of an input; an adapter without one has its base's. Raises DataError in one line."""
    return loading.input_tokenizer(context.inputs, role)


def read_model(config: ModelSettings, context: StepContext, role: str = "model") -> Any:
    """The causal language model in `config.dtype`, every weight from its files; an adapter is folded into its base.
    Only safetensors are read and no code from a repository is run. Raises DataError in one line."""
    from ..architectures import register

    register()
    _loop.name(context, role)
    options: dict[str, Any] = {"attn_implementation": config.attn_implementation}
    if (settings := getattr(config, "quantization", None)) is not None:
        options["quantization_config"] = quantization(settings, config.dtype)
    return loading.input_model(context.inputs, role, config.dtype, **options)


def quantization(settings: QuantizationSettings, dtype: str) -> BitsAndBytesConfig:
    """How transformers loads weights in 4 or 8 bits, which are computed with in `dtype`."""
    compute = {"bnb_4bit_compute_dtype": dtype} if settings.load_in_4bit else {}
    return BitsAndBytesConfig(**settings.model_dump(), **compute)


def check_isolation(model: Any, source_name: str) -> None:
    """Refuse packing where tokens of one packed row reach the next one's.

    The first of two packed documents is changed; the second's logits must not move at all, in any dtype. Works for
    every model class and attention kernel, because it runs the model itself. FlashAttention alone is not tried: it
    runs on GPUs only, and separates rows by the lengths that TRL's collator hands it. Raises UsageError.
    """
    if model.config._attn_implementation == "flash_attention_2":
        return
    generator = torch.Generator().manual_seed(0)
    size = min(model.config.get_text_config().vocab_size, 1000)
    first, other, second = (torch.randint(size, (1, n), generator=generator) for n in (7, 7, 9))
    other[0, -1] = (first[0, -1] + 1) % size
    positions = torch.cat([torch.arange(7), torch.arange(9)])[None].to(model.device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        a, b = (
            model(
                input_ids=torch.cat([head, second], dim=1).to(model.device), position_ids=positions, use_cache=False
            ).logits[0, 7:]
            for head in (first, other)
        )
    model.train(was_training)
    difference = (a.float() - b.float()).abs().max().item()
    if not difference <= 1e-5:
        raise UsageError(
            f"packing: {source_name} with attention {model.config._attn_implementation} lets packed rows see "
            f"one another (logits move by {difference:.2g}): set packing: false"
        )


def check_extremes(largest: int, longest: int, model: Any, tokenizer: Any, source_name: str) -> None:
    """Refuse sequences that the model cannot read: ids beyond its embeddings, more tokens than it has positions.

    Args:
        largest: highest token id, of what `max_length` leaves.
        longest: tokens of the longest sequence, the same.

    Raises DataError and UsageError.
    """
    largest = max(largest, tokenizer.pad_token_id or -1)
    loading.check_ids([largest], model.get_input_embeddings().weight.shape[0], tokenizer, source_name)
    loading.check_window([longest], model.config, source_name)


def peft_config(config: TrainingConfig, model: Any, source_name: str) -> Any:
    """`peft.LoraConfig`, or None for full training. Raises UsageError for target modules that the model does not have;
    PEFT passes over all but the last of them."""
    if config.lora is None:
        return None

    lora = config.lora
    modules = lora.target_modules
    names = [name for name, _ in model.named_modules() if name]
    short = sorted({last for name in names if not (last := name.rpartition(".")[2]).isdigit()})
    for target in (modules,) if isinstance(modules, str) else modules:
        if target == "all-linear":
            continue
        if isinstance(modules, str):
            try:
                matches = any(re.fullmatch(target, name) for name in names)
            except re.error as error:
                raise UsageError(f"lora.target_modules: {target!r} is not a regular expression ({error})") from error
        else:
            matches = any(name == target or name.endswith(f".{target}") for name in names)
        if not matches:
            hint = did_you_mean(target, short, f"; its modules are {', '.join(short)}")
            raise UsageError(f"lora.target_modules: {source_name} has no module {target!r}{hint}")
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
    )
