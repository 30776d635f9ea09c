"""Ability corpora: mathematics and science by language, kept apart from their tests (see README.md)."""

from .build import AbilityConfig, build
from .read import AbilitySource

__all__ = ["AbilityConfig", "AbilitySource", "build"]
