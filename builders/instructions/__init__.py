"""Conversations without functions, from the files in which instruction data is passed around."""

from .build import InstructionsConfig, build

__all__ = ["InstructionsConfig", "build"]
