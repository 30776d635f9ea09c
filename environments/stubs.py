"""Stubs of functions of which only definitions are known: typed results, and the same for the same call.

Loaded in a sandbox with `MODULES` and `code`. A stub checks its arguments; what it answers depends on the state's
seed, its name and the arguments alone. A rule says what a field of a result is (our choice):

    ["one", [values]]              one of them
    ["number", low, high, digits]  a number with so many digits behind the point; none: an integer
    ["code", "PAT-####"]           a digit for each #, a capital for each @
    ["day", first, last]           a day of 2026, by its number in the year from 0
    ["same", parameter, rule]      the argument, where it is given, else by the rule
"""

import datetime
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

STATE = {"seed": 0}
SIGNS = {"#": "123456789", "@": "ABCDEFGHJKLMNPQRSTUVWXYZ"}
Rule = Sequence[Any]
Fits = Callable[[Any, Any], str | None]


def begin(seed: int) -> None:
    """A new state."""
    STATE["seed"] = seed


def load(stubs: Sequence[Mapping[str, Any]], fits: Fits) -> dict[str, Callable[..., dict[str, Any]]]:
    """Name -> function of `{"name", "parameters": JSON Schema, "results": {field: rule}}`.

    Args:
        fits: (value, schema) -> what is wrong, or None (environments/schema.py).
    """
    return {stub["name"]: _stub(stub["name"], stub["parameters"], stub["results"], fits) for stub in stubs}


def _stub(
    name: str, schema: Mapping[str, Any], results: Mapping[str, Rule], fits: Fits
) -> Callable[..., dict[str, Any]]:
    properties, required = schema["properties"], schema.get("required", ())

    def call(**arguments: Any) -> dict[str, Any]:
        for key in required:
            if key not in arguments:
                raise ValueError(f"{name}: {key} is missing")
        for key, value in arguments.items():
            if key not in properties:
                raise ValueError(f"{name}: there is no parameter {key}: use {', '.join(properties) or 'none'}")
            if reason := fits(value, properties[key]):
                raise ValueError(f"{name}: {key} is {value!r:.40}: {reason}, expected {properties[key].get('type')}")
        # 5 and 5.0 are one value in JSON.
        plain = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in arguments.items()}
        text = json.dumps([STATE["seed"], name, plain], sort_keys=True)
        rng = random.Random(text)  # noqa: S311 - not for secrets
        return {field: value_of(rule, arguments, rng) for field, rule in results.items()}

    return call


def value_of(rule: Rule, arguments: Mapping[str, Any], rng: random.Random) -> Any:
    """What a rule gives; see the top."""
    word, *parts = rule
    if word == "same":
        return arguments[parts[0]] if parts[0] in arguments else value_of(parts[1], arguments, rng)
    if word == "one":
        return rng.choice(parts[0])
    if word == "number":
        low, high, digits = parts
        return round(rng.uniform(low, high), digits) if digits else rng.randint(low, high)
    if word == "code":
        return "".join(rng.choice(SIGNS[sign]) if sign in SIGNS else sign for sign in parts[0])
    if word == "day":
        return (datetime.date(2026, 1, 1) + datetime.timedelta(rng.randint(*parts))).isoformat()
    raise ValueError(f"there is no rule {word!r}")


def code(stubs: Sequence[Mapping[str, Any]]) -> str:
    """The code of a sandbox that has loaded the modules `MODULES` from `HERE`, in which the stubs are functions."""
    return f"globals().update(load(json.loads({json.dumps(list(stubs))!r}), violation))"


MODULES, HERE = ("schema", "stubs"), Path(__file__).parent
