"""StepAgent-Inverse's policy (arXiv:2411.03817): reinforcement learning on single steps, rewarded by a discriminator.

In each state s the policy draws G actions a_1 ... a_G. With the discriminator's logit as reward, which is
log D - log(1 - D), and the same state's other actions as baseline:

    r_j = f(s, a_j)
    grpo   A_j = r_j - mean(r)
           L = -1/(G N) sum_j sum_k min(w A_j, clip(w, 1 - eps, 1 + eps) A_j) - beta w KL_k      (dr_grpo)
           KL_k = ref/pi - log(ref/pi) - 1
    rloo   A_j = R_j - mean of the other R,  R_j = r_j - beta sum_k log(pi/ref)
           L = -1/G sum_j min(w A_j, clip(w, 1 - eps, 1 + eps) A_j)

k are the tokens of an action, N is max_completion_length, w the ratio of the policy to the one that drew the action,
per token in grpo and per action in rloo, and ref the policy at the start of the step. One step of a trajectory is one
row, so that credit is given to the step: with the expert's states it is a contextual bandit without a value model.

The paper's method section was not available: inverse reinforcement learning with a discriminator is from its abstract
and its reviews, the form is our reconstruction, and all settings are our choice.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from .._lib.config import TrainingConfig
from .._lib.launch import run


class InverseConfig(TrainingConfig):
    """Settings of the policy's training; names as in `trl.GRPOConfig`. Defaults are our choice.

    `per_device_train_batch_size` counts completions. They are drawn once for all of an optimiser step's batches, and
    used in `num_iterations` steps; checkpoints lie between two draws.
    """

    arguments_class: ClassVar[str] = "trl:GRPOConfig"
    refused_arguments: ClassVar[dict[str, str]] = dict.fromkeys(
        ("use_vllm", "steps_per_generation", "generation_batch_size", "reward_weights", "num_generations_eval"),
        "completions are drawn by this step: drop it",
    )

    dataset_configs: tuple[str, ...] = Field(("steps",), description="Configs of the data set with the states.")
    max_length: int = Field(1024, ge=8, description="Tokens of state and action; states without room are left out.")
    max_cut_share: float = Field(
        0.05, ge=0, le=1, description="Refuse where more of the states than this leave no room for an action."
    )
    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate (TRL's).")
    algorithm: Literal["grpo", "rloo"] = Field("grpo", description="grpo (arXiv:2402.03300) or rloo (2402.14740).")
    num_generations: int = Field(8, ge=2, description="G: actions drawn per state.")
    num_iterations: int = Field(1, ge=1, description="Optimiser steps on the same completions.")
    beta: float = Field(0.05, ge=0, description="Weight of the KL divergence from the policy at the start; 0: none.")
    epsilon: float = Field(0.2, gt=0, lt=1, description="eps: clipping of the ratio.")
    loss_type: Literal["dr_grpo", "grpo", "bnpo", "dapo"] = Field("dr_grpo", description="grpo: sum of tokens.")
    scale_rewards: Literal["none", "group", "batch"] = Field(
        "none", description="grpo: divide advantages by the rewards' standard deviation."
    )
    max_completion_length: int = Field(64, ge=1, description="Tokens of an action, its end of turn among them.")
    temperature: float = Field(1.0, gt=0, description="Of sampling, and of the probabilities in the loss.")

    @model_validator(mode="after")
    def _every_setting_acts(self) -> Self:
        drawn = self.per_device_train_batch_size * self.num_processes * self.gradient_accumulation_steps
        if drawn % self.num_generations:
            raise ValueError(
                f"num_generations: {drawn} completions per step (per_device_train_batch_size * num_processes * "
                f"gradient_accumulation_steps) are not a multiple of {self.num_generations}: change one of them"
            )
        if self.quantization is not None:
            raise ValueError("quantization: the reference would be another model: drop it")
        if self.save_steps % self.num_iterations:
            raise ValueError(
                f"save_steps: {self.save_steps} is not a multiple of num_iterations {self.num_iterations}, and "
                "completions that are still used are in no checkpoint: change one of them"
            )
        if self.algorithm == "rloo" and (self.loss_type, self.scale_rewards) != ("dr_grpo", "none"):
            raise ValueError("loss_type and scale_rewards are for algorithm: grpo: drop them")
        if self.max_completion_length >= self.max_length:
            raise ValueError(
                f"max_completion_length: {self.max_completion_length} leaves no room for a state within max_length "
                f"{self.max_length}: raise max_length"
            )
        if self.eval_split is not None:
            raise ValueError("eval_split: a policy has no loss on held-out rows: drop it, and evaluate with a task")
        if self.lora is not None and self.lora.dropout:
            raise ValueError("lora.dropout: dropout is off, so that the policy starts as its reference: drop it")
        return self


def train(config: InverseConfig, context: StepContext) -> None:
    """Train `context.inputs["model"]` on the states of `context.inputs["dataset"]`, rewarded by
    `context.inputs["discriminator"]`.

    Checkpoints go to `context.workdir/checkpoints`; the model (safetensors) and its tokenizer to `context.output`;
    rewards, KL divergence and counts to `context.report`.

    Raises UsageError (settings that do not fit model or data), DataError (discriminator or states of no use).
    """
    run("hubwright.trainers.stepagent.inverse_trainer:fit", config, context)
