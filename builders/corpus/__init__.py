"""Text corpora for language modelling from files, archives and Hub data sets (see README.md)."""

from .build import CorpusConfig, build
from .read import TextSource

__all__ = ["CorpusConfig", "TextSource", "build"]
