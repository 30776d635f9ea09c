"""A mergekit configuration as a recipe: the methods that both have, with mergekit's own defaults written out.

What would merge differently here is refused by name: slices of layers, settings that change from layer to layer or by
tensor, and methods that only mergekit has. The form is that of mergekit 0.1.5.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import yaml

from ...hub_sync.errors import UsageError
from .config import Method

_DTYPES = ("float32", "bfloat16", "float16")
_SETTINGS = {"weight": "weight", "density": "density", "gamma": "gamma"}  # of a model
_COMMON = ("normalize", "lambda", "rescale", "int8_mask", "t", "filter_wise")
_ADAPTER = "in a recipe an adapter is an input model_NAME of its own beside its base"
_KNOWN = {"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "tokenizer_source", "tokenizer",
          "name", "chat_template", "slices", "modules"}  # fmt: skip


def recipe_of(text: str, source: str, name: str = "merged") -> dict[str, Any]:
    """The recipe, as a mapping to be written as YAML, that does what a mergekit configuration says.

    Args:
        text: the configuration, YAML.
        source: what errors call it.
        name: of the recipe, its step and the repository it publishes.

    Raises UsageError, in one line, for what cannot be translated.
    """
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(said, dict) or "merge_method" not in said:
        raise UsageError(f"{source}: no merge_method: is this a mergekit configuration?")
    if unknown := sorted(set(said) - _KNOWN):
        raise UsageError(f"{source}: {unknown[0]}: not known to mergekit 0.1.5")
    method = said["merge_method"]
    if method not in get_args(Method):
        raise UsageError(f"{source}: merge_method: {method}: not here; there are {', '.join(get_args(Method))}")
    for part in ("slices", "modules"):
        if said.get(part):
            raise UsageError(f"{source}: {part}: layers of several models cannot be stacked here; use `models`")
    if said.get("chat_template"):
        raise UsageError(f"{source}: chat_template: the base's is taken; change it in the published model")

    base = _reference(said.get("base_model"), source) if said.get("base_model") else None
    common = _scalars(said.get("parameters"), f"{source}: parameters")
    named: dict[str, str] = {}
    settings: dict[str, dict[str, float]] = {}
    for entry in said.get("models") or ():
        reference = _reference(entry.get("model"), source)
        if reference == base and method != "linear":
            continue
        short = _short(reference, named)
        named[short] = reference
        own = _scalars(entry.get("parameters"), f"{source}: models: {reference}")
        if unknown := sorted(set(own) - set(_SETTINGS) - set(_COMMON)):
            raise UsageError(f"{source}: models: {reference}: {unknown[0]}: not known here")
        settings[short] = {key: (common | own)[key] for key in _SETTINGS if key in common | own}
        if "weight" not in settings[short] and method not in ("slerp", "model_stock"):
            raise UsageError(f"{source}: models: {reference}: weight is missing")
    with_: dict[str, Any] = {"method": method} | _method_settings(method, common, source)
    if method not in ("slerp", "model_stock"):
        with_["models"] = settings
    with_ |= _output(said, source)
    inputs = {f"model_{short}": reference for short, reference in named.items()}
    if base and method != "linear":
        inputs = {"base": base} | inputs
    step = {"uses": "merge", "inputs": inputs, "with": with_, "publish": {"model": name, "tag": "v1.0.0"}}
    return {"name": name, "namespace": "hubwright", "steps": {"merged": step}}


def _method_settings(method: str, common: dict[str, Any], source: str) -> dict[str, Any]:
    """mergekit's common parameters under our names; what it takes by default is written out where ours differs."""
    if unknown := sorted(set(common) - set(_SETTINGS) - set(_COMMON)):
        raise UsageError(f"{source}: parameters: {unknown[0]}: not known here")
    if common.get("filter_wise"):
        raise UsageError(f"{source}: parameters: filter_wise: a whole tensor is one layer here; leave it out")
    if method == "slerp":
        if "t" not in common:
            raise UsageError(f"{source}: parameters: t is missing")
        return {"t": common["t"]}
    if method == "model_stock":
        return {}
    found: dict[str, Any] = {"normalize": bool(common.get("normalize", method in ("linear", "ties")))}
    if common.get("lambda", 1.0) != 1.0:
        found["scale"] = common["lambda"]
    if method.startswith("dare"):
        found["rescale"] = "l1" if common.get("rescale", True) else "none"
    elif common.get("rescale"):
        raise UsageError(f"{source}: parameters: rescale: only dare rescales here; leave it out")
    return found


def _output(said: dict[str, Any], source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    dtype = said.get("out_dtype") or said.get("dtype")
    if dtype is not None:
        if dtype not in _DTYPES:
            raise UsageError(f"{source}: dtype: {dtype}: write one of {', '.join(_DTYPES)}")
        found["dtype"] = dtype
    tokens = said.get("tokenizer") or {}
    if set(tokens) - {"source"}:
        raise UsageError(f"{source}: tokenizer: {sorted(set(tokens) - {'source'})[0]}: only `source` is known here")
    tokenizer = said.get("tokenizer_source") or tokens.get("source")
    if tokenizer not in (None, "base"):
        raise UsageError(f"{source}: tokenizer: {tokenizer!r}: only the base's can be taken: write `base`")
    if tokenizer == "base":
        found["vocabulary"] = "align"
    return found


def _reference(said: Any, source: str) -> str:
    """`org/name@revision` of a model as mergekit writes it."""
    if isinstance(said, dict):
        if said.get("lora"):
            raise UsageError(f"{source}: model: {_ADAPTER}")
        inner = said.get("model", said)
        path, revision = inner.get("path"), inner.get("revision")
        said = f"{path}@{revision}" if revision else path
    if not isinstance(said, str) or not said:
        raise UsageError(f"{source}: a model without a name")
    if "+" in said:
        raise UsageError(f"{source}: model: {said}: {_ADAPTER}")
    if said.startswith((".", "/", "~")) or Path(said).is_dir() or said.partition("@")[0].count("/") != 1:
        raise UsageError(f"{source}: model: {said}: recipes read models from a hub: upload the folder, name org/name")
    return said


def _short(reference: str, taken: dict[str, str]) -> str:
    """A name for a model that no other has: its repository's, in lower case."""
    stem = re.sub(r"[^a-z0-9]+", "_", reference.partition("@")[0].split("/")[1].lower()).strip("_")
    found, n = stem, 2
    while found in taken:
        found, n = f"{stem}_{n}", n + 1
    return found


def _scalars(said: Any, where: str) -> dict[str, Any]:
    """Parameters that are one number or one switch each."""
    found: dict[str, Any] = {}
    for key, value in (said or {}).items():
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and set(value[0]) == {"value"}:
            value = value[0]["value"]
        if isinstance(value, list | dict):
            raise UsageError(f"{where}: {key}: changes from layer to layer or by tensor, which is not done here")
        found[key] = value
    return found
