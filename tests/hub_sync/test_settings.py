"""Settings of speed are found at any depth and leave the rest as it is."""

from __future__ import annotations

from pydantic import BaseModel, Field

from hubwright.hub_sync.settings import SPEED, split_speed


class Source(BaseModel):
    source: str
    timeout: float = Field(60.0, json_schema_extra=SPEED)


class Config(BaseModel):
    name: str
    workers: int = Field(1, json_schema_extra=SPEED)
    one: Source | None = None
    many: tuple[Source, ...] = ()
    named: dict[str, Source] = Field(default_factory=dict)
    free: dict[str, int] = Field(default_factory=dict, json_schema_extra={"examples": [{}]})


def test_settings_of_speed_are_split_off_at_any_depth() -> None:
    config = Config.model_validate(
        {
            "name": "x", "workers": 4, "one": {"source": "a", "timeout": 1}, "many": [{"source": "b"}, {"source": "c"}],
            "named": {"d": {"source": "d", "timeout": 2}}, "free": {"workers": 7},
        }
    )  # fmt: skip
    result, speed = split_speed(config, config.model_dump(mode="json"))
    assert result == {
        "name": "x", "one": {"source": "a"}, "many": [{"source": "b"}, {"source": "c"}], "named": {"d": {"source": "d"}},
        "free": {"workers": 7},
    }  # fmt: skip
    assert speed == {
        "workers": 4, "one": {"timeout": 1.0}, "many": [{"timeout": 60.0}, {"timeout": 60.0}],
        "named": {"d": {"timeout": 2.0}},
    }  # fmt: skip


def test_without_settings_of_speed_nothing_changes() -> None:
    config = Config(name="x")
    recorded = config.model_dump(mode="json") | {"extra": [1, {"a": None}]}
    result, speed = split_speed(config, recorded)
    assert result == {k: v for k, v in recorded.items() if k != "workers"} and speed == {"workers": 1}
