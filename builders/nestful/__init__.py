"""NESTFUL: requests served by sequences of nested calls, as a data set."""

from .build import NestfulConfig, build

__all__ = ["NestfulConfig", "build"]
