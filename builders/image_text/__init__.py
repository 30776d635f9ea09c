"""Images and texts that belong together, from wherever they are (see README.md)."""

from .build import ImageTextConfig, build

__all__ = ["ImageTextConfig", "build"]
