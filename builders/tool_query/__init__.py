"""Tool-query: requests about a to-do list, with the list itself, so that a model can be asked without the network."""

from .build import ToolQueryConfig, build

__all__ = ["ToolQueryConfig", "build"]
