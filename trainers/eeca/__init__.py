"""EECA (arXiv:2411.16824): a vision-language model whose image tokens also learn classes and names of what is seen."""

from .config import EECAConfig, train

__all__ = ["EECAConfig", "train"]
