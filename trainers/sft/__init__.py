"""Supervised fine-tuning on TRL's SFTTrainer: conversations, with or without tools, in; a model out.

Data:
- `messages` or `conversations` (+ `tools`): every assistant turn is supervised, tool calls and end of turn included,
  nothing else, and no turn of `weight: 0`;
- `prompt` + `completion`, as text or turns: the completion alone is supervised.

Turns may be in any form that `inference.conversations` reads; what it changes or refuses is counted.

Every row is accounted for: cut ones and ones without a supervised token are counted, and the run is refused where
there are too many of the latter. Killed at any moment and started again, a run ends with the same bytes.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from .._lib.config import LoraSettings, StreamingConfig, TrainingConfig
from .._lib.launch import run

__all__ = ["LoraSettings", "SFTConfig", "train"]


class SFTConfig(TrainingConfig, StreamingConfig):
    """Settings of supervised fine-tuning; names as in `trl.SFTConfig`."""

    arguments_class: ClassVar[str] = "trl:SFTConfig"
    refused_arguments: ClassVar[dict[str, str]] = {"label_smoothing_factor": ""}

    packing: bool = Field(False, description="Fill sequences of max_length with several rows, kept apart.")
    assistant_only_loss: bool = Field(True, description="With messages: supervise assistant turns only (TRL: false).")
    completion_only_loss: bool = Field(True, description="With prompt + completion: supervise the completion only.")
    loss_type: Literal["nll", "dft"] = Field(
        "nll", description="nll: cross-entropy; dft: Dynamic Fine-Tuning (arXiv:2508.05629)."
    )
    max_unsupervised_share: float = Field(
        0.05, ge=0, le=1,
        description="Refuse to train where more of the rows than this have no supervised token; "
        "fewer are left out and counted. Our choice.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_process_reads_a_stream(self) -> Self:
        if self.streaming and self.dataset_num_proc > 1:
            raise ValueError("streaming reads rows in the training's own process: drop dataset_num_proc")
        return self


def train(
    config: SFTConfig, context: StepContext, fit: Callable[..., Any] | str = "hubwright.trainers.sft.trainer:fit"
) -> None:
    """Fine-tune `context.inputs["model"]` on `context.inputs["dataset"]`.

    Checkpoints go to `context.workdir/checkpoints`; the model (safetensors) and its tokenizer to `context.output`;
    losses, rates and counts to `context.report`.

    Args:
        fit: one process's training, as of `_lib.launch.run`, for a method that trains with a class of its own.

    Raises UsageError (settings that do not fit model or data), DataError (rows without anything to learn).
    """
    run(fit, config, context)
