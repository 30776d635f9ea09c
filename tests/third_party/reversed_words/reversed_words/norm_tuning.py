"""SFT in which the norms alone are trained."""

from hubwright.hub_sync.context import StepContext
from hubwright.trainers.sft import SFTConfig
from hubwright.trainers.sft import train as sft


class NormTuningConfig(SFTConfig):
    """Settings of `sft`."""


def train(config: NormTuningConfig, context: StepContext) -> None:
    """Train the norms of `context.inputs["model"]` on `dataset`. Raises as `sft`."""
    sft(config, context, fit)


def fit(config: NormTuningConfig, context: StepContext) -> None:
    """One process's training; every process of a run imports this function."""
    from hubwright.trainers.sft.trainer import fit

    from .trainer import NormTrainer

    fit(config, context, NormTrainer)
