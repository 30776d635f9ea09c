"""What can be told of image-text pairs without a trained scorer: lengths, rules, cosines (see README.md)."""

from .build import SignalsConfig, build

__all__ = ["SignalsConfig", "build"]
