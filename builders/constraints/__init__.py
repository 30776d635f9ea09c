"""Benchmarks of instructions with constraints, CFBench, SysBench and FollowBench: conversations and their criteria."""

from .build import ConstraintsConfig, build

__all__ = ["ConstraintsConfig", "build"]
