"""Several data sets of conversations as one."""

from .build import MixConfig, build

__all__ = ["MixConfig", "build"]
