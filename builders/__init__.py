"""Data set builders: sources in, rows out. One folder per data set.

Each has a config class and `build(config, context=None) -> DatasetDict`. Without a context it works in a temporary
folder; with one from `local_context()` the counts, tables and rejected records are in `context.report` afterwards.
"""

from ._lib.context import local_context

__all__ = ["local_context"]
