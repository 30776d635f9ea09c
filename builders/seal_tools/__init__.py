"""Seal-Tools: requests and the calls that serve them, over four thousand functions, as a data set."""

from .build import SealToolsConfig, build

__all__ = ["SealToolsConfig", "build"]
