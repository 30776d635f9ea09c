"""StepAgent (arXiv:2411.03817): step-wise learning from an expert, in cycles of inspection and reflection."""

from .inspection import InspectConfig, inspect
from .optim import OptimConfig, train

__all__ = ["InspectConfig", "OptimConfig", "inspect", "train"]
