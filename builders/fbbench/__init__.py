"""FB-Bench (arXiv:2410.09412): two-turn dialogues with human feedback and a checklist per row, as typed rows."""

from .build import FBBenchConfig, build

__all__ = ["FBBenchConfig", "build"]
