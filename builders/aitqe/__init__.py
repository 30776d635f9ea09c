"""Samples that teach a model to score image-text pairs and to rewrite the bad ones (see README.md)."""

from .build import SamplesConfig, build

__all__ = ["SamplesConfig", "build"]
