"""Executed call graphs: multi-turn function calling, composed of typed calls that run, and checked."""

from .build import CallGraphsConfig, build

__all__ = ["CallGraphsConfig", "build"]
