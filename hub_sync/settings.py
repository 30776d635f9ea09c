"""The base of every step's settings, and which of them change how fast a step works and nothing of its result.

Those are recorded and are no part of the fingerprint. A field says so of itself:

    class JudgeConfig(Settings):
        workers: int = Field(1, ge=1, json_schema_extra=SPEED, description="Processes.")
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SPEED: dict[str, Any] = {"speed": True}


class Settings(BaseModel):
    """Settings of a step: an unknown name is refused, and nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def added(default: Any, **options: Any) -> Any:
    """A field that a step's settings got later: at its default it is in no record, so earlier fingerprints stay.

    Args:
        options: of `pydantic.Field`.
    """
    return Field(default, exclude_if=lambda value: value == default, **options)


def split_speed(config: BaseModel, recorded: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings that decide the result, settings of speed), both as JSON.

        >>> split_speed(JudgeConfig(judge="m", workers=4), {"judge": "m", "workers": 4})
        ({'judge': 'm'}, {'workers': 4})

    Args:
        config: the settings as a model; of nested models the fields are looked at too.
        recorded: the same settings as JSON, as they are published.
    """
    result: dict[str, Any] = {}
    speed: dict[str, Any] = {}
    for name, value in recorded.items():
        field = type(config).model_fields.get(name)
        extra = field.json_schema_extra if field else None
        if isinstance(extra, dict) and extra.get("speed"):
            speed[name] = value
            continue
        result[name], inner = _split(getattr(config, name, None), value)
        if inner:
            speed[name] = inner
    return result, speed


def _split(value: Any, recorded: Any) -> tuple[Any, Any]:
    if isinstance(value, BaseModel) and isinstance(recorded, Mapping):
        return split_speed(value, recorded)
    if isinstance(value, list | tuple) and isinstance(recorded, list) and len(value) == len(recorded):
        pairs = [_split(one, other) for one, other in zip(value, recorded, strict=True)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs] if any(pair[1] for pair in pairs) else None
    if isinstance(value, Mapping) and isinstance(recorded, Mapping):
        parts = {name: _split(value.get(name), part) for name, part in recorded.items()}
        return {name: part[0] for name, part in parts.items()}, {n: p[1] for n, p in parts.items() if p[1]} or None
    return recorded, None
