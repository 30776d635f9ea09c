"""AITQE (arXiv:2410.16166): score image-text pairs, and rewrite only the bad texts."""

from .generative import GenerativeConfig
from .head import HeadConfig

__all__ = ["GenerativeConfig", "HeadConfig"]
