"""What the configs of a merge's parents say: whether their weights mean the same, and whether they are numbers.

Only JSON and headers of weights are read here, so that parents that do not go together are refused before any work.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import yaml

from ...hub_sync.errors import DataError
from .checkpoint import Checkpoint
from .config import Acceptable

CONFIG = "config.json"
_FIELDS = yaml.safe_load((Path(__file__).parent / "config_fields.yaml").read_text(encoding="utf-8"))
# Types of codes, and last parts of the names under which codes of other types are stored.
_CODES = ("U8", "I8", "F8_E4M3", "F8_E5M2")
_PACKED = ("weight", "qweight", "qzeros", "weight_packed")
_BLOCK = 1 << 20  # bytes compared at a time
# Keys of a config that change nothing in what trained weights compute.
_INERT = re.compile(
    r"^_|_token_ids?$|dropout|version|dtype|use_cache|^init|_init$|initializer|vocab_size|^tie_|_implementation$|_coef$|pdrop$"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


@dataclass(frozen=True)
class Parent:
    """A model folder and its config.

    Attributes:
        called: how errors name it.
        config: of config.json; empty if there is none.
    """

    called: str
    folder: Path
    config: Mapping[str, Any]

    @property
    def text(self) -> Mapping[str, Any]:
        """The config of the language model: of a model with several parts, that part's."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) else self.config

    @property
    def ties(self) -> bool | None:
        """Whether the output layer is the embeddings; None if config and transformers do not say, or parts differ."""
        stated = [of["tie_word_embeddings"] for of in (self.config, self.text) if "tie_word_embeddings" in of]
        if stated:
            return stated[0] if stated[0] == stated[-1] and isinstance(stated[0], bool) else None
        model_type = self.text.get("model_type")
        if not isinstance(model_type, str):
            return None
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        if model_type not in CONFIG_MAPPING:
            return None
        default = getattr(CONFIG_MAPPING[model_type](), "tie_word_embeddings", None)
        return default if isinstance(default, bool) else None

    @property
    def causal(self) -> bool:
        """Whether it is a language model with an output layer, by the class that wrote it."""
        named = self.config.get("architectures") or ()
        return any(str(one).endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for one in named)


def parent(folder: Path, called: str) -> Parent:
    """The parent in a model folder. Raises DataError for a config that is not a JSON object."""
    path = folder / CONFIG
    if not path.is_file():
        return Parent(called, folder, {})
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{called}: {CONFIG} is not valid JSON ({error}): download the model again") from error
    if not isinstance(config, dict):
        raise DataError(f"{called}: {CONFIG} is not a JSON object: download the model again")
    return Parent(called, folder, config)


def compare_configs(donor: Parent, others: Sequence[Parent], accept: Sequence[Acceptable]) -> list[str]:
    """The accepted differences between the donor's config, which the merged model gets, and the others': a line each.

    Args:
        accept: fields in which they may differ.

    Raises DataError naming both models, the field and both values for any other difference that changes what equal
    weights compute. A parent without config is not compared.
    """
    accepted = []
    for other in others:
        if not other.config or not donor.config or other.folder == donor.folder:
            continue
        ours, theirs = _fields(donor), _fields(other)
        if ours != theirs:  # perhaps one config leaves out what the other writes down
            ours, theirs = _fields(_complete(donor)), _fields(_complete(other))
        for key in _compared(donor.text, other.text):
            ours[key], theirs[key] = donor.text[key], other.text[key]
        if not donor.text.get("auto_map"):
            ours, theirs = ours | _switches(donor, other), theirs | _switches(other, donor)
        for field in ours:
            if ours[field] == theirs[field]:
                continue
            shown = [json.dumps(fields[field], sort_keys=True)[:200] for fields in (ours, theirs)]
            values = f"{field} is {shown[0]} in {donor.called} and {shown[1]} in {other.called}"
            if field not in get_args(Acceptable):
                raise DataError(f"{values}: equal weights mean other things there; merge models of one architecture")
            if field not in accept:
                raise DataError(f"{values}: write accept: [{field}] to take the value of {donor.called}")
            accepted.append(f"{values}: the value of {donor.called} is used.")
    return accepted


def _fields(of: Parent) -> dict[str, Any]:
    """Fields that change what weights of one shape compute, in one form for all versions of transformers."""
    text = of.text
    heads = _first(text, "num_attention_heads", "n_head")
    width = _first(text, "hidden_size", "n_embd")
    head_dim = text.get("head_dim")
    if head_dim is None and isinstance(heads, int) and isinstance(width, int) and heads:
        head_dim = width // heads
    return {
        "model_type": [of.config.get("model_type"), text.get("model_type")] if text is not of.config else
        of.config.get("model_type"),
        "num_attention_heads": heads,
        "num_key_value_heads": _first(text, "num_key_value_heads") or heads,
        "head_dim": head_dim,
        "activation": _first(text, *_FIELDS["activations"]),
        "rope": _rope(text),
        "sliding_window": text.get("sliding_window") if text.get("use_sliding_window", True) else None,
        "max_position_embeddings": _first(text, "max_position_embeddings", "n_positions"),
        "norm_eps": _first(text, "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
        "experts_per_token": _first(text, "num_experts_per_tok"),
    }  # fmt: skip


def _complete(of: Parent) -> Parent:
    """The parent with the values that transformers takes for keys its config leaves out."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if of.text.get("model_type") not in CONFIG_MAPPING:
        return of
    try:
        # It changes nested values in place.
        whole = CONFIG_MAPPING[of.text["model_type"]](**copy.deepcopy(dict(of.text))).to_dict()
    except Exception:  # a config that transformers does not take is compared as it is written
        return of
    return replace(of, config=whole if of.text is of.config else {**of.config, "text_config": whole})


def _switches(of: Parent, other: Parent) -> dict[str, Any]:
    """The factors and switches that two configs write differently, with transformers' values for what is left out."""
    keys = [key for key in _FIELDS["factors"] if of.text.get(key) != other.text.get(key)]
    whole = _complete(of).text if keys else {}
    return {key: whole.get(key) for key in keys}


def _compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Further keys that both configs have: of models with code of their own, all that may mean something."""
    plain = [key for key in ours if isinstance(ours[key], str | int | float | bool) and not _INERT.search(key)]
    apart = {*_FIELDS["activations"], *_FIELDS["compared_apart"]}
    keys = [key for key in plain if key not in apart] if ours.get("auto_map") else []
    return [key for key in keys if ours.get(key) is not None and theirs.get(key) is not None]


def _first(config: Mapping[str, Any], *names: str) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def _rope(text: Mapping[str, Any]) -> dict[str, Any] | None:
    """Base and scaling of rotary positions, from `rope_parameters` or `rope_theta` and `rope_scaling`."""
    new = text.get("rope_parameters")
    if isinstance(new, dict) and new and all(isinstance(one, dict) for one in new.values()):
        return new  # by kind of layer
    rope: dict[str, Any] = {}
    for one in (text.get("rope_scaling"), new):
        rope |= one if isinstance(one, dict) else {}
    kind = rope.pop("type", None)
    rope["rope_type"] = rope.get("rope_type") or kind or "default"
    older = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}  # GPT-NeoX
    for name in ("rope_theta", "partial_rotary_factor"):
        value = _first(text, name, older[name])
        if rope.get(name) is None and value is not None:
            rope[name] = value
    if rope.get("partial_rotary_factor") == 1:
        del rope["partial_rotary_factor"]
    if rope == {"rope_type": "default"}:
        return None
    return {key: float(value) if isinstance(value, int) else value for key, value in sorted(rope.items())}


def refuse_quantised(models: Sequence[tuple[Checkpoint, Parent]]) -> None:
    """Raise DataError if a model's weights are quantised: they are codes, of which there is no mean and no difference.

    Models are quantised whose config says so, whose matrices are stored in 8 bits or packed integers, and in which a
    tensor of two or more dimensions that is not floating differs from the first model's.
    """
    for model, of in models:
        for config in (of.config, of.text):
            for key in filter(config.get, _FIELDS["quantised"]):
                method = config[key].get("quant_method") if isinstance(config[key], dict) else None
                raise _quantised(model, f"{CONFIG} has {key}{f' ({method})' if method else ''}")
        for name, kind in model.kinds.items():
            if kind.floating or len(kind.shape) < 2:
                continue
            if kind.dtype in _CODES or name.rpartition(".")[2] in _PACKED:
                raise _quantised(model, f"{name} is {kind.dtype}")
    first = models[0][0]
    for other, _ in models[1:]:
        for name, kind in first.kinds.items():
            if kind.floating or len(kind.shape) < 2 or other.kinds.get(name) != kind:
                continue
            step = max(1, _BLOCK // max(1, kind.row))
            for start in range(0, kind.rows, step):
                rows = start, min(start + step, kind.rows)
                if (first.raw(name, *rows) != other.raw(name, *rows)).any():
                    raise _quantised(other, f"{name} is {kind.dtype} and differs from that of {first.called}")


def _quantised(model: Checkpoint, why: str) -> DataError:
    return DataError(
        f"{model.called} is quantised: {why}: take the unquantised model, or dequantise it (`model.dequantize()` of "
        "transformers) and save it"
    )


def all_layers(model: Checkpoint, of: Parent) -> None:
    """Raise DataError if a checkpoint lacks layers that its config counts: each load would draw them at random."""
    count = _first(of.text, "num_hidden_layers", "n_layer", "num_layers")
    stored = {int(match[1]) for name in model.kinds if (match := _LAYER.search(name))}
    if isinstance(count, int) and stored and (missing := sorted(set(range(count)) - stored)):
        raise DataError(
            f"{model.called} has no weights of layer {missing[0]}, and {CONFIG} counts {count} layers: download the "
            "model anew"
        )
