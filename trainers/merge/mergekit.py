"""A mergekit configuration as a recipe: the methods that both have, with mergekit's own defaults written out.

What would merge differently here is refused by name: slices of layers, settings that change from layer to layer or by
tensor, and methods that only mergekit has. The form is that of mergekit 0.1.5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from ...hub_sync.errors import UsageError
from ...hub_sync.refs import ArtifactRef
from .config import MergeConfig, Method

_DTYPES = ("float32", "bfloat16", "float16")
# Settings that mergekit's methods read; it passes over those that a method does not have.
_DARE = {"weight", "density", "normalize", "lambda", "rescale", "int8_mask"}
_READS: dict[str, set[str]] = {
    "linear": {"weight", "normalize"},
    "slerp": {"t"},
    "task_arithmetic": {"weight", "normalize", "lambda", "int8_mask"},
    "ties": _DARE,
    "dare_linear": _DARE,
    "dare_ties": _DARE,
    "breadcrumbs": _DARE | {"gamma"},
    "breadcrumbs_ties": _DARE | {"gamma"},
    "model_stock": {"filter_wise"},
}
_OF_A_MODEL = ("weight", "density", "gamma")  # of the others mergekit reads those of `parameters` alone
_SWITCHES = ("normalize", "rescale", "int8_mask", "filter_wise")
_PARAMETERS = set().union(*_READS.values())
_ADAPTER = "in a recipe an adapter is an input model_NAME of its own beside its base"
_KNOWN = {"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "tokenizer_source", "tokenizer",
          "name", "chat_template", "slices", "modules"}  # fmt: skip
_ACCEPTED = ["rope", "sliding_window", "max_position_embeddings"]  # mergekit compares no configs
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")

Parameters = dict[str, float | bool]


def recipe_of(
    text: str, source: str, name: str = "merged", warn: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """The recipe, as a mapping to be written as YAML, that does what a mergekit configuration says.

    Args:
        text: the configuration, YAML.
        source: what errors call it.
        name: of the recipe, its step and the repository it publishes.
        warn: called with each line that the user has to know of: settings that mergekit passes over, differences of
            the models' configs that it does not look at.

    Raises UsageError, in one line, for what cannot be translated.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: use lower-case letters, digits, '_' and '-', at most 40")
    said = _read(text, source)
    method = said["merge_method"]
    base = _reference(said["base_model"], f"{source}: base_model") if said.get("base_model") else None
    if base is None and method != "linear":
        raise UsageError(f"{source}: base_model is missing: {method} counts changes from a base")
    common = _parameters(said.get("parameters"), method, f"{source}: parameters", warn)
    named, settings = _models(said.get("models"), method, base, common, source, warn)
    with_: dict[str, Any] = {"method": method} | _method_settings(method, common, source)
    if method not in ("slerp", "model_stock"):
        with_["models"] = settings
    with_ |= _output(said, base, source)
    with_["accept"] = list(_ACCEPTED)
    donor = base or next(iter(named.values()))
    warn(f"{source}: mergekit compares no configs: another rope, sliding window or position limit is accepted, and "
         f"that of {donor} is used; drop `accept` to have it refused")  # fmt: skip
    _check(with_, method, len(named), source)
    inputs = ({"base": base} if base else {}) | {f"model_{short}": reference for short, reference in named.items()}
    step = {"uses": "merge", "inputs": inputs, "with": with_, "publish": {"model": name, "tag": "v1.0.0"}}
    return {"name": name, "namespace": "hubwright", "steps": {"merged": step}}


def _read(text: str, source: str) -> dict[str, Any]:
    """The configuration's keys, of which the values are not checked yet but for the method."""
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {str(error).splitlines()[0]}") from error
    if len(documents) > 1:
        raise UsageError(f"{source}: {len(documents)} YAML documents: write one configuration a file")
    said = documents[0] if documents else None
    if not isinstance(said, dict) or "merge_method" not in said:
        raise UsageError(f"{source}: no merge_method: is this a mergekit configuration?")
    if unknown := sorted(str(key) for key in said if key not in _KNOWN):
        raise UsageError(f"{source}: {unknown[0]}: not known to mergekit 0.1.5")
    method = said["merge_method"]
    if method not in get_args(Method):
        raise UsageError(f"{source}: merge_method: {method}: not here; there are {', '.join(get_args(Method))}")
    for part in ("slices", "modules"):
        if said.get(part):
            raise UsageError(f"{source}: {part}: layers of several models cannot be stacked here; use `models`")
    if said.get("chat_template"):
        raise UsageError(f"{source}: chat_template: the base's is taken; change it in the published model")
    return said


def _models(
    said: Any, method: str, base: str | None, common: Parameters, source: str, warn: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Short name -> reference, and short name -> settings, of the models that are merged."""
    if not isinstance(said, list) or not said:
        raise UsageError(f"{source}: models: write a list of entries, each with `model: org/name`")
    entries: dict[str, Any] = {}
    for number, entry in enumerate(said, 1):
        where = f"{source}: models: entry {number}"
        if not isinstance(entry, dict) or set(entry) - {"model", "parameters"}:
            shown = sorted(map(str, entry)) if isinstance(entry, dict) else entry
            raise UsageError(f"{where}: {shown!r:.60}: write `model: org/name` and, below it, `parameters`")
        reference = _reference(entry.get("model"), where)
        if reference in entries:
            raise UsageError(f"{where}: {reference} is listed twice: give each model one weight")
        entries[reference] = entry.get("parameters")
    if method == "linear" and base is not None:
        entries.setdefault(base, None)  # mergekit adds the base as the last model
    named: dict[str, str] = {}
    settings: dict[str, dict[str, float]] = {}
    for reference, parameters in entries.items():
        if reference == base and method != "linear":
            continue
        short = _short(reference, named)
        named[short] = reference
        where = f"{source}: models: {reference}"
        own = _parameters(parameters, method, where, warn)
        for key in [key for key in own if key not in _OF_A_MODEL]:
            warn(f"{where}: {key}: passed over, as by mergekit, which reads it in the common `parameters` alone")
        both = common | own
        settings[short] = {key: float(both[key]) for key in _OF_A_MODEL if key in both}
        if "density" in settings[short]:
            settings[short]["density"] = min(1.0, settings[short]["density"])  # mergekit keeps all from 1 on
        if "weight" in _READS[method] and "weight" not in settings[short]:
            raise UsageError(f"{where}: weight is missing")
    return named, settings


def _method_settings(method: str, common: Parameters, source: str) -> dict[str, Any]:
    """mergekit's common parameters under our names; what it takes by default is written out where ours differs."""
    if common.get("filter_wise"):
        raise UsageError(f"{source}: parameters: filter_wise: a whole tensor is one layer here; leave it out")
    if method == "slerp":
        if "t" not in common:
            raise UsageError(f"{source}: parameters: t is missing")
        return {"t": common["t"]}
    if method == "model_stock":
        return {}
    found: dict[str, Any] = {"normalize": common.get("normalize", method in ("linear", "ties"))}
    if common.get("lambda", 1.0) != 1.0:
        found["scale"] = common["lambda"]
    if method.startswith("dare"):
        found["rescale"] = "l1" if common.get("rescale", True) else "none"
    elif common.get("rescale"):
        raise UsageError(f"{source}: parameters: rescale: only dare rescales here; leave it out")
    return found


def _output(said: Mapping[str, Any], base: str | None, source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    dtype = said.get("out_dtype") or said.get("dtype")
    if dtype is not None:
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise UsageError(f"{source}: dtype: {dtype}: write one of {', '.join(_DTYPES)}")
        found["dtype"] = dtype
    tokens, tokenizer = said.get("tokenizer"), said.get("tokenizer_source")
    if tokens is not None:
        if not isinstance(tokens, dict):
            raise UsageError(f"{source}: tokenizer: {tokens!r:.60}: write `tokenizer_source: {tokens!s:.60}`")
        if tokenizer is not None:
            raise UsageError(f"{source}: tokenizer and tokenizer_source: give one of them")
        if unknown := sorted(str(key) for key in tokens if key != "source"):
            raise UsageError(f"{source}: tokenizer: {unknown[0]}: only `source` is known here")
        tokenizer = tokens.get("source", "union")  # mergekit's default
    if tokenizer not in (None, "base") and (tokenizer == "union" or _reference(tokenizer, source) != base):
        raise UsageError(f"{source}: tokenizer: {tokenizer!r:.60}: only the base's can be taken: write `base`")
    if tokenizer is not None:
        found["vocabulary"] = "align"
    return found


def _check(with_: dict[str, Any], method: str, count: int, source: str) -> None:
    """Raise UsageError for settings and numbers of models that `run` would refuse."""
    fewest = {"linear": 2, "model_stock": 2}.get(method, 1)
    if count < fewest or (method == "slerp" and count > 1):
        wanted = "one model" if method == "slerp" else f"{fewest} or more models"
        beside = "" if method == "linear" else " beside the base"
        raise UsageError(f"{source}: models: {method} takes {wanted}{beside}, and {count} are given")
    try:
        config = MergeConfig(**with_)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{source}: {place}: {first['msg'].removeprefix('Value error, ')} (found {first['input']!r:.60})"
        ) from error
    weights = [one.weight for one in config.models.values()]
    if method == "linear" and config.normalized and len(weights) == count and not math.fsum(weights):
        raise UsageError(
            f"{source}: the weights {', '.join(f'{one:g}' for one in weights)} have the sum 0, by which linear "
            "divides: write `normalize: false`, or other weights"
        )


def _reference(said: Any, where: str) -> str:
    """`org/name@revision` of a model as mergekit writes it."""
    if isinstance(said, dict):
        if said.get("lora"):
            raise UsageError(f"{where}: model: {_ADAPTER}")
        if said.get("override_architecture"):
            raise UsageError(f"{where}: override_architecture: not known here; correct the model's config")
        inner = said.get("model", said)
        if isinstance(inner, dict):
            path, revision = inner.get("path"), inner.get("revision")
            said = f"{path}@{revision}" if path and revision else path
        else:
            said = inner
    if not isinstance(said, str) or not said.strip():
        raise UsageError(f"{where}: a model without a name: write `model: org/name`")
    said = said.strip()
    if "+" in said:
        raise UsageError(f"{where}: model: {said}: {_ADAPTER}")
    if said.startswith((".", "/", "~")) or Path(said).is_dir() or said.partition("@")[0].count("/") != 1:
        raise UsageError(f"{where}: model: {said}: recipes read models from a hub: upload the folder, name org/name")
    try:
        ArtifactRef.parse(said, "model")
    except UsageError as error:
        raise UsageError(f"{where}: model: {error}") from error
    return said


def _short(reference: str, taken: Mapping[str, str]) -> str:
    """A name for a model that no other has: its repository's, in lower case."""
    stem = re.sub(r"[^a-z0-9]+", "_", reference.partition("@")[0].split("/")[1].lower()).strip("_") or "model"
    found, n = stem, 2
    while found in taken:
        found, n = f"{stem}_{n}", n + 1
    return found


def _parameters(said: Any, method: str, where: str, warn: Callable[[str], None]) -> Parameters:
    """Parameters that the method reads, numbers and switches, also where they are written as text."""
    if said is not None and not isinstance(said, dict):
        raise UsageError(f"{where}: write `name: value` pairs, not {said!r:.60}")
    found: Parameters = {}
    for key, value in (said or {}).items():
        if key not in _PARAMETERS:
            raise UsageError(f"{where}: {key}: not known here")
        if key not in _READS[method]:
            warn(f"{where}: {key}: passed over, as by mergekit: {method} does not read it")
            continue
        value = _constant(value, f"{where}: {key}")
        if value is None:
            continue
        kind: type = bool if key in _SWITCHES else float
        try:
            found[key] = TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            wanted = "true or false" if kind is bool else "a number"
            raise UsageError(f"{where}: {key}: {value!r:.60} is not {wanted}") from error
    return found


def _constant(said: Any, where: str) -> Any:
    """The one value of a setting, also where it is written as a list for all tensors or all layers."""
    if isinstance(said, dict):
        said = [said]
    if isinstance(said, list) and said and isinstance(said[0], dict):
        first = said[0]
        if "value" in first and set(first) <= {"value", "filter"} and first.get("filter") in (None, "*"):
            return _constant(first["value"], where)
    elif isinstance(said, list) and said and all(one == said[0] and not isinstance(one, list) for one in said):
        return said[0]
    if isinstance(said, list):
        raise UsageError(f"{where}: changes from layer to layer or by tensor, which is not done here")
    return said
