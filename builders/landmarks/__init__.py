"""Landmarks at several granularities: photographs with names, kinds and questions (see README.md)."""

from .build import build
from .config import LandmarksConfig

__all__ = ["LandmarksConfig", "build"]
