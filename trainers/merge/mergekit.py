"""A mergekit configuration as a recipe: the methods that both have, with mergekit's own defaults written out.

What would merge differently here is refused by name: slices of layers, settings that change from layer to layer or by
tensor, and methods that only mergekit has. The form is that of mergekit 0.1.5.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from ...hub_sync.errors import UsageError
from ...hub_sync.refs import ArtifactRef
from .config import MergeConfig, Method, check_models

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
    settings = _read(text, source)
    method = settings["merge_method"]
    base = _reference(settings["base_model"], f"{source}: base_model") if settings.get("base_model") else None
    if base is None and method != "linear":
        raise UsageError(f"{source}: base_model is missing: {method} counts changes from a base")
    common = _parameters(settings.get("parameters"), method, f"{source}: parameters", warn)
    named, models = _models(settings.get("models"), method, base, common, source, warn)
    with_: dict[str, Any] = {"method": method} | _method_settings(method, common, source)
    if method not in ("slerp", "model_stock"):
        with_["models"] = models
    with_ |= _output(settings, base, source)
    with_["accept"] = list(_ACCEPTED)
    donor = base or next(iter(named.values()))
    warn(f"{source}: mergekit compares no configs: another rope, sliding window or position limit is accepted, and "
         f"that of {donor} is used; drop `accept` to have it refused")  # fmt: skip
    try:
        check_models(MergeConfig(**with_), list(named), base is not None)
    except ValidationError as error:
        first = error.errors()[0]
        place, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{source}: {place}: {message} (found {first['input']!r:.60})") from error
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from error
    inputs = ({"base": base} if base else {}) | {f"model_{short}": reference for short, reference in named.items()}
    step = {"uses": "merge", "inputs": inputs, "with": with_, "publish": {"model": name, "tag": "v1.0.0"}}
    return {"name": name, "steps": {"merged": step}}


def _read(text: str, source: str) -> dict[str, Any]:
    """The configuration's keys, of which the values are not checked yet but for the method."""
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {str(error).splitlines()[0]}") from error
    if len(documents) > 1:
        raise UsageError(f"{source}: {len(documents)} YAML documents: write one configuration a file")
    settings = documents[0] if documents else None
    if not isinstance(settings, dict) or "merge_method" not in settings:
        raise UsageError(f"{source}: no merge_method: is this a mergekit configuration?")
    if unknown := sorted(str(key) for key in settings if key not in _KNOWN):
        raise UsageError(f"{source}: {unknown[0]}: not known to mergekit 0.1.5")
    method = settings["merge_method"]
    if method not in get_args(Method):
        raise UsageError(f"{source}: merge_method: {method}: not here; there are {', '.join(get_args(Method))}")
    for part in ("slices", "modules"):
        if settings.get(part):
            raise UsageError(f"{source}: {part}: layers of several models cannot be stacked here; use `models`")
    if settings.get("chat_template"):
        raise UsageError(f"{source}: chat_template: the base's is taken; change it in the published model")
    return settings


def _models(
    models: Any, method: str, base: str | None, common: Parameters, source: str, warn: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Short name -> reference, and short name -> settings, of the models that are merged."""
    if not isinstance(models, list) or not models:
        raise UsageError(f"{source}: models: write a list of entries, each with `model: org/name`")
    entries: dict[str, Any] = {}
    for number, entry in enumerate(models, 1):
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
    settings: dict[str, Any] = {"normalize": common.get("normalize", method in ("linear", "ties"))}
    if common.get("lambda", 1.0) != 1.0:
        settings["scale"] = common["lambda"]
    if method.startswith("dare"):
        settings["rescale"] = "l1" if common.get("rescale", True) else "none"
    elif common.get("rescale"):
        raise UsageError(f"{source}: parameters: rescale: only dare rescales here; leave it out")
    return settings


def _output(settings: Mapping[str, Any], base: str | None, source: str) -> dict[str, Any]:
    output: dict[str, Any] = {}
    dtype = settings.get("out_dtype") or settings.get("dtype")
    if dtype is not None:
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise UsageError(f"{source}: dtype: {dtype}: write one of {', '.join(_DTYPES)}")
        output["dtype"] = dtype
    tokens, tokenizer = settings.get("tokenizer"), settings.get("tokenizer_source")
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
        output["vocabulary"] = "align"
    return output


def _reference(model: Any, where: str) -> str:
    """`org/name@revision` of a model as mergekit writes it."""
    if isinstance(model, dict):
        if model.get("lora"):
            raise UsageError(f"{where}: model: {_ADAPTER}")
        if model.get("override_architecture"):
            raise UsageError(f"{where}: override_architecture: not known here; correct the model's config")
        inner = model.get("model", model)
        if isinstance(inner, dict):
            path, revision = inner.get("path"), inner.get("revision")
            model = f"{path}@{revision}" if path and revision else path
        else:
            model = inner
    if not isinstance(model, str) or not model.strip():
        raise UsageError(f"{where}: a model without a name: write `model: org/name`")
    model = model.strip()
    if "+" in model:
        raise UsageError(f"{where}: model: {model}: {_ADAPTER}")
    if model.startswith((".", "/", "~")) or Path(model).is_dir() or model.partition("@")[0].count("/") != 1:
        raise UsageError(f"{where}: model: {model}: recipes read models from a hub: upload the folder, name org/name")
    try:
        ArtifactRef.parse(model, "model")
    except UsageError as error:
        raise UsageError(f"{where}: model: {error}") from error
    return model


def _short(reference: str, others: Mapping[str, str]) -> str:
    """A name for a model that no other has: its repository's, in lower case."""
    stem = re.sub(r"[^a-z0-9]+", "_", reference.partition("@")[0].split("/")[1].lower()).strip("_") or "model"
    name, n = stem, 2
    while name in others:
        name, n = f"{stem}_{n}", n + 1
    return name


def _parameters(parameters: Any, method: str, where: str, warn: Callable[[str], None]) -> Parameters:
    """Parameters that the method reads, numbers and switches, also where they are written as text."""
    if parameters is not None and not isinstance(parameters, dict):
        raise UsageError(f"{where}: write `name: value` pairs, not {parameters!r:.60}")
    read: Parameters = {}
    for key, value in (parameters or {}).items():
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
            read[key] = TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            form = "true or false" if kind is bool else "a number"
            raise UsageError(f"{where}: {key}: {value!r:.60} is not {form}") from error
    return read


def _constant(value: Any, where: str) -> Any:
    """The one value of a setting, also where it is written as a list for all tensors or all layers."""
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        first = value[0]
        if "value" in first and set(first) <= {"value", "filter"} and first.get("filter") in (None, "*"):
            return _constant(first["value"], where)
    elif isinstance(value, list) and value and all(one == value[0] and not isinstance(one, list) for one in value):
        return value[0]
    if isinstance(value, list):
        raise UsageError(f"{where}: changes from layer to layer or by tensor, which is not done here")
    return value
