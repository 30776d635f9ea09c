"""The model to train: from random weights by its architecture, or a trained one, perhaps retrofitted."""

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, set_seed
from transformers.modeling_rope_utils import RopeParameters
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError, did_you_mean
from ...inference import loading
from .. import architectures
from .._lib import loop as _loop
from .._lib import model as _model
from .config import PretrainConfig


def check(config: PretrainConfig, context: StepContext) -> Any:
    """What can be known before any data is read: the transformers configuration of `architecture`, or None. Raises
    UsageError where there are both or neither of `architecture` and a `model` input, or the architecture cannot be."""
    architectures.register()
    has_model = "model" in context.inputs
    if has_model and config.architecture is not None:
        raise UsageError(
            f"step {context.step}: architecture is for random weights, and there is a `model:` input: drop one of "
            "them (the input `tokenizer:` gives a tokenizer alone)"
        )
    if not has_model and config.retrofit is not None:
        raise UsageError(f"step {context.step}: retrofit changes a trained model: add a `model:` input")
    if not has_model and config.architecture is None:
        raise UsageError(f"step {context.step}: give architecture, for random weights, or a `model:` input")
    return None if config.architecture is None else model_config(config.architecture, config.max_length)


def load(config: PretrainConfig, context: StepContext, new_config: Any, tokenizer: Any) -> Any:
    """The model in `config.dtype`. Random weights follow from the architecture, the vocabulary's size and the seed.

    Args:
        new_config: what `check` returned; it gets the vocabulary's size and the special tokens' ids.

    Raises UsageError where the model cannot read rows of `max_length`.
    """
    if new_config is not None:
        # Ids may have holes: the largest one counts, not their number.
        new_config.vocab_size = max(tokenizer.get_vocab().values()) + 1
        for token in ("pad_token_id", "bos_token_id", "eos_token_id"):
            setattr(new_config, token, getattr(tokenizer, token))
        set_seed(config.seed)  # whatever was drawn before: the weights follow from the seed alone
        kernel = config.attn_implementation
        try:
            return AutoModelForCausalLM.from_config(
                new_config, dtype=getattr(torch, config.dtype), attn_implementation=kernel
            )
        except (ValueError, ImportError) as error:
            message = str(error).splitlines()[0].split(". ")[0]
            raise UsageError(
                f"attn_implementation {kernel}, {new_config.model_type}: {message}; try eager or sdpa"
            ) from error
    model = _model.read_model(config, context)
    window = loading.window(model.config)
    if window is not None and window < config.max_length:
        raise UsageError(
            f"max_length {config.max_length} is more than the {window} positions of {_loop.name(context, 'model')}: "
            "lower it"
        )
    if config.retrofit is None:
        return model
    options = dict(config.retrofit)
    return architectures.retrofit(model, options.pop("model_type"), options)


def model_config(architecture: dict[str, Any], window: int) -> Any:
    """The transformers configuration of an architecture.

    Args:
        architecture: `model_type` and fields of its configuration class.
        window: `max_position_embeddings` where the architecture does not set it.

    transformers takes unknown fields without a word, so a slip of the pen would be a setting that does nothing. Raises
    UsageError in one line, with what is near.
    """
    fields = dict(architecture)
    kind = fields.pop("model_type")
    causal = AutoModelForCausalLM._model_mapping
    if kind not in CONFIG_MAPPING or CONFIG_MAPPING[kind] not in causal:
        # Names alone: to look at every configuration class is to import them all, which takes seconds.
        known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *CONFIG_MAPPING._extra_content}
        raise UsageError(
            f"architecture.model_type {kind!r} is no causal language model{did_you_mean(kind, known, '')}"
        )
    cls = CONFIG_MAPPING[kind]
    shared = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    allowed = {field.name for field in dataclasses.fields(cls)} - shared | set(cls.attribute_map)
    if "vocab_size" not in allowed:
        raise UsageError(f"architecture.model_type {kind!r} is made of several models: use one for text alone")
    for name in fields:
        if name not in allowed:
            inner = name in RopeParameters.__annotations__ and "rope_parameters" in allowed
            hint = f"; write rope_parameters: {{{name}: ...}}" if inner else did_you_mean(name, allowed, "")
            raise UsageError(f"architecture.{name}: {kind} has no such field{hint}")
    _check_rope(fields.get("rope_parameters"))
    if "max_position_embeddings" in allowed:
        fields.setdefault("max_position_embeddings", window)
    try:
        return cls(**fields)
    except Exception as error:  # huggingface_hub's strict dataclasses wrap what their validators say
        message = str(error.__cause__ or error).splitlines()[-1].strip()
        raise UsageError(f"architecture: {kind} cannot be made so: {message}") from error


def _check_rope(rope: Any) -> None:
    """Unknown keys of `rope_parameters` are logged by transformers and then do nothing."""
    if isinstance(rope, dict) and not any(isinstance(value, dict) for value in rope.values()):
        known = RopeParameters.__annotations__
        for name in rope:
            if name not in known:
                raise UsageError(
                    f"architecture.rope_parameters.{name}: there is no such key{did_you_mean(name, known, '')}"
                )


def check_labels(model: Any, source_name: str) -> None:
    """Refuse a model whose loss does not take labels that are aligned with its logits, as its own would be wrong.

    Two sets of labels over the same logits: the difference of the model's losses must be that of the cross-entropies
    (what else is in the loss, such as a router's, cancels). Raises UsageError.
    """
    generator = torch.Generator().manual_seed(0)
    size = min(model.config.get_text_config().vocab_size, 1000)
    ids, *labels = (torch.randint(size, (1, 9), generator=generator).to(model.device) for _ in range(3))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            outputs = [model(input_ids=ids, labels=x, shift_labels=x, use_cache=False) for x in labels]
    except TypeError as error:
        raise UsageError(
            f"{source_name} takes no shift_labels, so what it is to predict cannot be said: {error}"
        ) from error
    finally:
        model.train(was_training)
    theirs = (outputs[0].loss - outputs[1].loss).item()
    ours = [cross_entropy(out.logits[0].float(), x[0]).item() for out, x in zip(outputs, labels, strict=True)]
    if not abs(theirs - (ours[0] - ours[1])) <= 1e-2 * max(1.0, abs(theirs)):
        raise UsageError(
            f"{source_name} computes its loss in a way of its own (shift_labels are not used): use another model"
        )


def architecture_table(model: Any, config: PretrainConfig) -> dict[str, Any]:
    """A table for the card: the model's shape and size."""
    text = model.config.get_text_config()
    named = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "max_position_embeddings", "vocab_size", "tie_word_embeddings",
    )  # fmt: skip
    shown = dict.fromkeys([*named, *(config.architecture or {}), *(config.retrofit or {})])
    shown.pop("model_type", None)
    rows: list[list[Any]] = [["model_type", text.model_type]]
    rows += [[name, _plain(getattr(text, name))] for name in shown if getattr(text, name, None) is not None]
    total = sum(p.numel() for p in model.parameters())
    tables = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding))
    rows += [["parameters", total], ["parameters without token embeddings", total - tables]]
    return {"title": "Architecture", "columns": ["field", "value"], "rows": rows}


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool) else str(value)
