"""Rows that one already has, as a data set to train on (see README.md)."""

from .build import RowsConfig, build

__all__ = ["RowsConfig", "build"]
