"""The base of every step's settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of a step: an unknown name is refused, and nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True)
