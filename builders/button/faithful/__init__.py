"""BUTTON's own way (arXiv 2410.12952): a teacher model invents tasks bottom-up, and plays them out top-down."""

from .build import FaithfulConfig, build

__all__ = ["FaithfulConfig", "build"]
