"""Seeded synthetic sequences with exactly scorable positions (see README.md)."""

from .arithmetic import ArithmeticConfig
from .arithmetic import build as build_arithmetic
from .hop_k import HopKConfig
from .hop_k import build as build_hop_k
from .induction import InductionConfig
from .induction import build as build_induction
from .ngram import NgramConfig
from .ngram import build as build_ngram

__all__ = [
    "ArithmeticConfig",
    "HopKConfig",
    "InductionConfig",
    "NgramConfig",
    "build_arithmetic",
    "build_hop_k",
    "build_induction",
    "build_ngram",
]
