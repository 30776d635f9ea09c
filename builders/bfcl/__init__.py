"""The Berkeley Function-Calling Leaderboard as a data set, from its own package."""

from .build import BFCLConfig, build

__all__ = ["BFCLConfig", "build"]
