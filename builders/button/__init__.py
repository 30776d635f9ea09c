"""BUTTON (arXiv 2410.12952): a teacher model composes tasks bottom-up and plays them out top-down."""

from .build import ButtonConfig, build

__all__ = ["ButtonConfig", "build"]
