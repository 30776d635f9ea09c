"""Seeded two-turn feedback drills with exact answers (see README.md)."""

from .build import FeedbackDrillsConfig, build

__all__ = ["FeedbackDrillsConfig", "build"]
