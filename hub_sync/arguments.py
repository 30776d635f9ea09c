"""Arguments of other packages in a recipe: their names, types and files, checked before anything is loaded."""

import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from .errors import did_you_mean

_SECRET_NAME = re.compile(
    r"(hf_|hub_|auth_|use_auth_|access_|bearer_)?token|.*(api_?key|password|passwd|secret|credential).*|authorization",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,}|(bearer|basic) \S+|\w+://[^/\s]*:[^/\s]*@.*", re.I
)


def check_arguments(
    values: Mapping[str, Any], hints: Mapping[str, Any], owner: str, refused: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments as their annotations want them: numbers for YAML's `1e-8`, which is text, and a mapping for the
    path of a JSON file. The rest stays as it is.

        >>> check_arguments({"adam_epsilon": "1e-7"}, {"adam_epsilon": float}, "SFTConfig", {})
        {'adam_epsilon': 1e-07}

    Args:
        values: by name.
        hints: annotation by name.
        owner: class that takes them, in messages.
        refused: name -> why it cannot be set, with the remedy.

    Raises ValueError in one line for the first name that is unknown or refused, value of another type, secret, or
    file that cannot be read.
    """
    result = {}
    for name, value in values.items():
        if _SECRET_NAME.fullmatch(name):
            refuse_secrets({name: value})
        if name in refused:
            raise ValueError(f"{name}: {refused[name]}")
        if name not in hints:
            raise ValueError(f"{name}: {owner} has no such argument{did_you_mean(name, hints, '')}")
        result[name] = _typed(name, value, hints[name])
    refuse_secrets(result)
    return result


def _typed(name: str, value: Any, hint: Any) -> Any:
    parts = set(_parts(hint))
    if isinstance(value, str):
        enums = [part for part in parts if isinstance(part, type) and issubclass(part, Enum)]
        known = [member.value for part in enums for member in part]
        if known and value not in known:
            raise ValueError(f"{name}: {value!r} is unknown{did_you_mean(value, known)}")
        if dict in parts:
            return read_mapping(name, value)
    try:
        # Text is read as a number where one is wanted; true is no number, and 1 is not true.
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        checked = adapter.validate_python(value, strict=not isinstance(value, str))
    except ValidationError as error:
        messages = dict.fromkeys(one["msg"].removeprefix("Input should be ") for one in error.errors())
        raise ValueError(f"{name}: {value!r:.60} should be {', or '.join(messages)}") from error
    return checked if isinstance(checked, bool | int | float | str) and not isinstance(checked, Enum) else value


def _parts(hint: Any) -> Iterator[Any]:
    """The types of a union and of what it holds, without their parameters."""
    yield get_origin(hint) or hint
    for inner in get_args(hint):
        yield from _parts(inner)


def read_mapping(name: str, source: str) -> dict[str, Any]:
    """A mapping as JSON or YAML text, or from the file of that path, so that its content is recorded and no path.

    Raises ValueError in one line.
    """
    text = source
    if not source.lstrip().startswith("{"):
        try:
            text = Path(source).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ValueError(f"{name}: file {source!r} cannot be read ({reason}); give a path from here") from error
    try:
        value = json.loads(text)
    except ValueError:  # YAML reads JSON too, but 1e-8 as text
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{name}: {source!r:.60} is neither JSON nor YAML") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name}: {source!r:.60} holds no mapping of names to values")
    return value


def refuse_secrets(value: Any, name: str = "") -> None:
    """Raises ValueError for a key or a text, at any depth, that is a secret or a path below the user's home: settings
    are published."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if _SECRET_NAME.fullmatch(str(key)) and inner is not None:
                raise ValueError(f"{key}: it holds a secret, and settings are published: use an environment variable")
            refuse_secrets(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            refuse_secrets(inner, name)
    elif isinstance(value, str) and value.startswith(("~/", f"{Path.home()}/")):
        raise ValueError(f"{name}: {value!r} is below your home folder, and settings are published: use another path")
    elif isinstance(value, str) and _SECRET_TEXT.fullmatch(value.strip()):
        raise ValueError(
            f"{name}: its text looks like a secret, and settings are published: use an environment variable"
        )
