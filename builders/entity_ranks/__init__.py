"""How well a vision encoder knows what images show: the rank of the true name among all (see README.md)."""

from .build import EntityRanksConfig, build

__all__ = ["EntityRanksConfig", "build"]
