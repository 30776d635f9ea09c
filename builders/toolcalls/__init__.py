"""Function-calling conversations in TRL's tool format from glaive-style ShareGPT files (see README.md)."""

from .build import Source, ToolCallsConfig, build

__all__ = ["Source", "ToolCallsConfig", "build"]
