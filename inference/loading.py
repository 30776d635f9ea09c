"""Models as they are on disk: every weight read from a file, none drawn at random; an adapter folded into its base.

transformers draws missing weights at random and warns; here that is an error. torch, transformers and peft are
imported inside the functions.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from ..hub_sync.adapters import holds_adapter
from ..hub_sync.context import Input
from ..hub_sync.errors import DataError, UsageError, first_line

ADAPTER = "adapter_model.safetensors"


def causal_lm(folder: Path, source_name: str, dtype: str, new: Sequence[str] = (), **options: Any) -> Any:
    """The causal language model of a folder, from safetensors, without code of the repository.

    Args:
        folder: config and weights.
        source_name: the model's name in messages.
        dtype: of the weights, such as "float32".
        new: parts of names of parameters that may be absent.
        options: of `from_pretrained`.

    Raises DataError in one line if the model cannot be loaded, or a weight is missing or has another shape.
    """
    from transformers import AutoModelForCausalLM

    try:
        return CompleteModels(AutoModelForCausalLM, source_name, new).from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, **options
        )
    except DataError:
        raise
    except Exception as error:  # safetensors, transformers and torch raise classes of their own
        message = first_line(error).replace(str(folder), source_name)
        raise DataError(f"{source_name} cannot be loaded as a causal language model: {message}") from error


class CompleteModels:
    """An Auto class of transformers whose models are complete; arguments as in `causal_lm`.

    `from_pretrained` raises DataError for others; without a `source_name` it names what it is given.
    """

    def __init__(self, auto: Any, source_name: str = "", new: Sequence[str] = ()) -> None:
        self._auto, self._name, self._new = auto, source_name, new

    def from_pretrained(self, name: str, *args: Any, **options: Any) -> Any:
        """The model. Misshapen weights are read as missing, so that they can be named."""
        model, info = self._auto.from_pretrained(
            name, *args, **options, output_loading_info=True, ignore_mismatched_sizes=True
        )
        source_name = self._name or name
        if misshapen := sorted(info["mismatched_keys"]):
            key, stored, wanted = misshapen[0]
            raise DataError(
                f"{source_name}: {key} is {list(stored)} in the file and {list(wanted)} by config.json"
                f"{_more(misshapen)}: the two belong to different models"
            )
        missing = sorted(key for key in info["missing_keys"] if not any(part in key for part in self._new))
        if missing:
            raise DataError(
                f"{source_name}: {missing[0]} is not in its files{_more(missing)}, and would be drawn at random: "
                "save the whole model, or correct tie_word_embeddings in config.json"
            )
        return model


def _more(several: Sequence[Any]) -> str:
    return f" (and {len(several) - 1} more)" if len(several) > 1 else ""


def is_adapter(folder: Path) -> bool:
    return holds_adapter(path.name for path in folder.iterdir())


def check_adapter(folder: Path, source_name: str) -> None:
    """Raises DataError unless the adapter is stored as safetensors."""
    if not (folder / ADAPTER).is_file():
        raise DataError(f"{source_name}: no {ADAPTER}: save the adapter as safetensors")


def stored_dtype(folder: Path) -> Any:
    """The torch dtype in which most weights of a model's safetensors files are stored; None if it is not float32,
    bfloat16 or float16, as of quantised weights."""
    import torch
    from safetensors import safe_open

    sizes: Counter[str] = Counter()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                part = file.get_slice(name)
                sizes[part.get_dtype()] += prod(part.get_shape())
    stored = max(sizes, key=lambda name: sizes[name], default="")
    return {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}.get(stored)


def fold(model: Any, folder: Path, source_name: str) -> Any:
    """The model with an adapter of PEFT merged into its weights, in their dtype.

    Raises DataError in one line for an adapter that is stored as a pickle or does not fit the model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    check_adapter(folder, source_name)
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
        with safe_open(folder / ADAPTER, framework="pt") as file:
            stored = set(file.keys())
        needed = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
        if needed - stored:
            raise ValueError(f"{min(needed - stored)} is not in {ADAPTER}")
        return adapted.merge_and_unload().requires_grad_(True)  # PEFT freezes the base
    except Exception as error:
        message = first_line(error).replace(str(folder), source_name)
        raise DataError(f"{source_name} does not fit its base model: {message}") from error


def input_model(inputs: Mapping[str, Input], role: str, dtype: str, **options: Any) -> Any:
    """The causal language model of an input, every weight from its files; an adapter is folded into its base, the
    input ROLE.base, in float32 and rounded once. Raises DataError in one line.

    Args:
        dtype: of the weights, such as "float32".
        options: of `from_pretrained`.
    """
    import torch

    source, base = inputs[role], inputs.get(f"{role}.base")
    name = str(source.ref)
    if base is not None:
        model = causal_lm(base.path, str(base.ref), "float32", **options)
        return fold(model, source.path, name).to(getattr(torch, dtype))
    if is_adapter(source.path):
        raise DataError(f"{name} is an adapter, and its base was not resolved: run it through a recipe")
    return causal_lm(source.path, name, dtype, **options)


def input_tokenizer(inputs: Mapping[str, Input], role: str) -> Any:
    """The tokenizer of an input; an adapter without one has its base's. Raises DataError in one line."""
    from transformers import AutoTokenizer

    source = inputs[role]
    if f"{role}.base" in inputs and not (source.path / "tokenizer_config.json").is_file():
        source = inputs[f"{role}.base"]
    try:
        return AutoTokenizer.from_pretrained(str(source.path))
    except Exception as error:  # tokenizers raises plain Exceptions
        message = first_line(error).replace(str(source.path), str(source.ref))
        raise DataError(f"{source.ref} has no tokenizer that can be loaded: {message}") from error


def check_ids(ids: Iterable[int], embeddings: int, tokenizer: Any, source_name: str) -> None:
    """Raises DataError if a token has no row in the embeddings of the model.

    Args:
        ids: the largest of every text.
        embeddings: rows of the model's input embeddings.
    """
    largest = max(ids, default=-1)
    if largest >= embeddings:
        raise DataError(
            f"{source_name}: the token {tokenizer.convert_ids_to_tokens(largest)!r} has id {largest}, and the "
            "model has "
            f"{embeddings} embeddings: use the model's own tokenizer, or resize the model"
        )


def window(config: Any) -> int | None:
    """The number of positions that a model's config allows; None if it says none.

    With scaled rotary embeddings (YaRN, arXiv:2309.00071) `max_position_embeddings` may be the window before scaling.
    """
    config = config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    for part in (rope, *rope.values()):  # some models have one by type of layer
        if positions is not None and isinstance(part, dict):
            original, factor = part.get("original_max_position_embeddings"), part.get("factor")
            if original and factor and part.get("rope_type", "default") != "default":
                positions = max(positions, int(original * factor))
    return positions


def check_window(lengths: Collection[int], config: Any, source_name: str) -> None:
    """Raises UsageError if a sequence is longer than the positions that the model's config allows."""
    positions = window(config)
    longest = max(lengths, default=0)
    if positions is not None and longest > positions:
        raise UsageError(
            f"a sequence of {longest} tokens is longer than the {positions} positions of {source_name}: "
            f"set max_length: {positions}"
        )
