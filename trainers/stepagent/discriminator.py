"""StepAgent-Inverse's discriminator (arXiv:2411.03817): is an action in a state the expert's or the agent's?

With logit f(s, a), D = sigmoid(f), expert actions a_E and agent actions a_A of the same states (GAIL,
arXiv:1606.03476, with the expert labelled 1):

    L = -E[ (1 - e/2) log D(s, a_E) + e/2 log(1 - D(s, a_E)) ] - E[ (1 - e/2) log(1 - D(s, a_A)) + e/2 log D(s, a_A) ]
        + g/2 E |d f / d x|^2                              e label smoothing, g gradient penalty, x input embeddings

At its optimum D = rho_E / (rho_E + rho_A), so that f = log D - log(1 - D) = log rho_E - log rho_A, which is what
`stepagent_inverse` takes as reward. Equal actions of expert and agent (ties) are kept: they pull D to 1/2.

The paper's method section was not available: the adversarial form is from its abstract and its reviews, the rest is
our reconstruction, and all settings are our choice.

Rows are read as GRPOTrainer reads them when it asks for rewards: the chat template over state and action, nothing
added and nothing cut. Trajectories are held out whole, chosen by a hash of `traj_id` that is the same in every cycle.
"""

from typing import Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from .._lib.config import TrainingConfig
from .._lib.launch import run


class DiscriminatorConfig(TrainingConfig):
    """Settings of a cycle's discriminator. Defaults are our choice."""

    dataset_configs: tuple[str, ...] = Field(("pairs",), description="Configs of the data sets with the pairs.")
    max_length: int = Field(1024, ge=8, description="Tokens of state and action; longer rows are left out.")
    max_cut_share: float = Field(
        0.05, ge=0, le=1, description="Refuse where more of the rows than this are longer than max_length."
    )
    eval_share: float = Field(0.1, ge=0, lt=1, description="Share of trajectories held out to measure on.")
    replay_share: float = Field(
        0.25, ge=0, lt=1, description="Share of the agent's actions that comes from inputs `replay_NAME`, at most."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="e: labels are 1 - e/2 and e/2.")
    gradient_penalty: float = Field(0.0, ge=0, description="g: weight of the logit's squared gradient; 0: none.")

    @model_validator(mode="after")
    def _every_setting_acts(self) -> Self:
        if self.lora is not None and not self.merge_adapter:
            raise ValueError("lora: the new head has no base that could be named: set merge_adapter: true")
        if self.gradient_penalty and self.attn_implementation == "flash_attention_2":
            raise ValueError("gradient_penalty needs second derivatives: set attn_implementation: sdpa")
        if self.quantization is not None:
            raise ValueError("quantization: a new head is trained with the weights under it: drop it")
        if self.eval_split is not None and self.eval_share:
            raise ValueError("eval_split and eval_share both hold rows out: set eval_share: 0, or drop eval_split")
        return self


def train(config: DiscriminatorConfig, context: StepContext) -> None:
    """Train a discriminator on the pairs of `context.inputs["dataset"]`.

    It starts from the body of `context.inputs["model"]`, a causal language model, with a new head, or from the
    input `discriminator` of an earlier cycle. Agent actions of earlier cycles' pairs, inputs `replay_NAME`, are added.

    Raises UsageError (settings that do not fit model or data), DataError (columns or pairs that cannot be used).
    """
    run("hubwright.trainers.stepagent.discriminator_trainer:fit", config, context)
