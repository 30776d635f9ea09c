"""Direct Preference Optimization (Rafailov et al., arXiv:2305.18290) on TRL's DPOTrainer.

With policy pi, reference pi_ref (the model as it came in), chosen y_w and rejected y_l, equation 7 of the paper:

    L = -log sigmoid( beta * [ log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x) ] )

With an input `reference` that model is pi_ref. It never changes, so its log-probabilities are computed once, before
the first step: the losses are the same and the reference model need not stay in memory. TRL switches dropout layers
off for DPO, but not a model's `attention_dropout`, which acts on the policy only; the models in use have none.

Data: `prompt`, `chosen`, `rejected` (+ `tools`), as text or turns. A prompt that the responses repeat is taken out of
them; without a column `prompt` it is what the responses have in common.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from .._lib.config import LoraSettings, TrainingConfig
from .._lib.launch import run

__all__ = ["DPOConfig", "LoraSettings", "train"]


class DPOConfig(TrainingConfig):
    """Settings of DPO; names as in `trl.DPOConfig`."""

    arguments_class: ClassVar[str] = "trl:DPOConfig"
    refused_arguments: ClassVar[dict[str, str]] = {
        "padding_free": "TRL's DPOTrainer pads all the same for now: drop it",
        "label_smoothing_factor": "write the setting `label_smoothing` instead",
    }

    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate (the paper's, 6.2).")
    beta: float = Field(0.1, gt=0, description="Strength of the pull to the reference (TRL's).")
    loss_type: Literal["sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "apo_zero", "apo_down"] = Field(
        "sigmoid", description="Loss on the reward margin; sigmoid is the paper's."
    )
    assistant_only_loss: bool = Field(
        False, description="Responses may hold turns of users and tools, such as an agent's episode: not learnt."
    )
    sft_weight: float = Field(
        0.0, ge=0, description="Weight of the chosen response's mean negative log-likelihood, added to the loss."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Share of pairs labelled the wrong way round.")
    precompute_ref_log_probs: bool = Field(
        True, description="Reference log-probabilities before training (TRL: false)."
    )
    max_cut_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Refuse where more of the pairs than this have a prompt that fills max_length; "
        "fewer are left out and counted. Our choice.",
    )


def train(
    config: DPOConfig, context: StepContext, fit: Callable[..., Any] | str = "hubwright.trainers.dpo.trainer:fit"
) -> None:
    """Align `context.inputs["model"]` with the preferences of `context.inputs["dataset"]`.

    Checkpoints go to `context.workdir/checkpoints`; the model (safetensors) and its tokenizer to `context.output`;
    losses, rewards and counts to `context.report`.

    Args:
        fit: one process's training, as of `_lib.launch.run`, for a method that trains with a class of its own.

    Raises UsageError (settings that do not fit model or data), DataError (columns or pairs that cannot be used).
    """
    run(fit, config, context)
