"""Trajectories of experts, of models and of other people's files in text games."""

from .build import TrajectoriesConfig, build
from .replay import Replay, check_replay, replay

__all__ = ["Replay", "TrajectoriesConfig", "build", "check_replay", "replay"]
