"""GiGPO (arXiv:2505.10978), a baseline beside StepAgent: PPO on a model's own episodes, credited step by step.

With A the advantage of a step (`advantages.py`), pi_0 the model as it came in, and every token of the step's action:

    w = pi(token) / pi_0(token)
    L = - E[ min(w A, clip(w, 1 - epsilon, 1 + epsilon) A) ] + beta E[ 1/w - 1 + log w ]

The second term is the k3 estimator of KL(pi || pi_0). The policy that played is also the reference: its
log-probabilities are computed once, before the first step. In that step w = 1 and the loss is -mean(A), except for a
model with dropout.

Data: config `trajectories` of `agent_rollouts` with `samples` of 2 or more: `messages`, `rewards`, `states`, `policy`,
and `cut` where there is one: a reply that ended for want of tokens has no end of turn that could be learnt.
A group is the episodes of one `env`, `options`, `task` and `seed`.

The two levels of advantages, and the groups of equal states, are the paper's; the formulas are our reading. That the
episodes are stored, played once per step of a recipe, the KL to pi_0 and all defaults are our choice.
"""

from typing import ClassVar, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from .._lib.config import TrainingConfig
from .._lib.launch import run


class GiGPOConfig(TrainingConfig):
    """Settings of GiGPO's training on stored episodes."""

    arguments_class: ClassVar[str] = "trl:SFTConfig"
    refused_arguments: ClassVar[dict[str, str]] = dict.fromkeys(
        ("packing", "padding_free", "loss_type", "completion_only_loss", "assistant_only_loss"),
        "an episode's steps are trained on one by one: drop it",
    )

    dataset_configs: tuple[str, ...] = Field(("trajectories",), description="Configs of the data set with episodes.")
    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate.")
    gamma: float = Field(0.95, gt=0, le=1, description="Discount of later rewards, in the step advantage.")
    omega: float = Field(1.0, ge=0, description="Weight of the step advantage; 0: episode advantages alone, as GRPO.")
    scale: Literal["std", "none"] = Field("std", description="What deviations from a group's mean are divided by.")
    epsilon: float = Field(0.2, gt=0, lt=1, description="The ratio of probabilities is clipped this far from 1.")
    beta: float = Field(0.01, ge=0, description="Weight of the KL divergence from the model as it came in.")
    length_normalised: bool = Field(True, description="Mean over the tokens of an action; false: their sum.")
    temperature: float = Field(
        1.0, gt=0, description="Temperature at which the episodes were played; logits are divided by it."
    )
    allow_off_policy: bool = Field(
        False, description="Accept episodes of another policy, or of another commit of the model, as its own."
    )
    max_cut_share: float = Field(
        0.05, ge=0, le=1,
        description="Refuse if more of the steps than this are longer than max_length; fewer are left out, counted.",
    )  # fmt: skip


def train(config: GiGPOConfig, context: StepContext) -> None:
    """Train `context.inputs["model"]` on its own episodes, `context.inputs["dataset"]`.

    Raises UsageError (settings that do not fit model or data), DataError (episodes that cannot be used, or none that
    differ in their returns).
    """
    run("hubwright.trainers.stepagent.gigpo_trainer:fit", config, context)
