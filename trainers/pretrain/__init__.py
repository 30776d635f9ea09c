"""Pre-training on transformers' Trainer: a language model from random weights, or a trained one trained on.

Data, one of two forms:
- `text`: documents. Each is tokenised, ends in the eos token, and is predicted token by token. Documents share packed
  rows, in which neither attention nor positions nor labels reach from one to another;
- `text` and `targets`: words separated by single spaces, and for each word what is to be predicted once it is read;
  "" is not scored. This is how synthetic tasks say which positions count.

Killed at any moment and started again, a run on CPU ends with the same bytes: weights, optimiser, random state and the
place in the data come back, streaming included.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...hub_sync.context import StepContext
from .._lib.launch import run
from .config import PretrainConfig, TokenizerSettings

__all__ = ["FSDP", "PretrainConfig", "TokenizerSettings", "train"]

FSDP = Path(__file__).with_name("fsdp.yaml")


def train(
    config: PretrainConfig,
    context: StepContext,
    fit: Callable[..., Any] | str = "hubwright.trainers.pretrain.trainer:fit",
) -> None:
    """Train on `context.inputs["dataset"]`, from random weights or from `context.inputs["model"]`.

    Checkpoints go to `context.workdir/checkpoints`; the model (safetensors) and its tokenizer to `context.output`;
    losses, rates, memory and counts to `context.report`.

    Args:
        fit: one process's training, as of `_lib.launch.run`, for a method that trains with a class of its own.

    Raises UsageError (settings that do not fit model or data), DataError (rows that cannot be used).
    """
    run(fit, config, context, ("--config_file", str(FSDP)) if config.fsdp else ())
