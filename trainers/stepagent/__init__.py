"""StepAgent (arXiv:2411.03817): step-wise learning from an expert, in cycles of inspection and reflection."""

from .discriminator import DiscriminatorConfig
from .gigpo import GiGPOConfig
from .inspection import InspectConfig, inspect
from .inverse import InverseConfig
from .optim import OptimConfig, train

__all__ = ["DiscriminatorConfig", "GiGPOConfig", "InspectConfig", "InverseConfig", "OptimConfig", "inspect", "train"]
