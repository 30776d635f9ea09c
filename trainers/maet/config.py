"""Settings of MAET's steps. No torch: a recipe is validated in milliseconds.

Constants that the paper's method section would give were not available: defaults marked "recalled" are ours.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.settings import Settings
from ..merge.config import OutputSettings
from ..pretrain.config import PretrainConfig


class AbilitySettings(Settings):
    """R(A) = alpha (ability_NAME - base) - beta (general_NAME - base), Eq. 2."""

    alpha: float = Field(default=0.8, description="Factor of the ability corpus's change. Recalled, not confirmed.")
    beta: float = Field(
        default=0.2, description="Factor of the general corpus's change, taken away; 0: none. Recalled, not confirmed."
    )
    gamma: float = Field(default=0.2, description="Factor of the ability when it is added, Eq. 3. Recalled.")


class LanguageSettings(Settings):
    """One language's part of R_Lang."""

    mu: float = Field(default=1.0, description="Factor of the change by the language's corpus. Our choice.")


class SelectSettings(Settings):
    """Which tensors are related to the ability, by the cosine of R(A) and R_Lang."""

    keep: Literal["lowest", "highest", "random", "all"] = Field(
        default="lowest",
        description="lowest: the ability's own tensors (inferred from the paper's aim); others are for comparison.",
    )
    fraction: float = Field(
        default=0.8, ge=0, le=1, description="Share of tensors that R(A) touches. Recalled (0.6 for science)."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Parts of names of tensors never taken. Our choice.")
    seed: int = Field(default=0, ge=0, description="random: of the draw.")

    @model_validator(mode="after")
    def _every_setting_acts(self) -> Self:
        if self.keep == "all" and "fraction" in self.model_fields_set:
            raise ValueError("keep: all takes every tensor: drop fraction")
        if self.keep != "random" and "seed" in self.model_fields_set:
            raise ValueError(f"seed has no meaning for keep: {self.keep}")
        return self


class TransferConfig(OutputSettings):
    """How abilities and languages are added to the base. Inputs: `base`, an `ability_NAME` and a `general_NAME` for
    each ability, a `language_NAME` for each language, and `mask_NAME` where an ability was trained without a mask."""

    abilities: dict[str, AbilitySettings] = Field({}, description="Settings by NAME of an input `ability_NAME`.")
    languages: dict[str, LanguageSettings] = Field({}, description="Settings by NAME of an input `language_NAME`.")
    eta: float = Field(
        1.0, description="Factor of R_Lang in tensors that an ability takes; elsewhere it is 1, as in Eq. 3. Recalled."
    )
    select: SelectSettings = Field(SelectSettings(), description="Which tensors an ability is added to.")


class ExtractConfig(PretrainConfig):
    """Training on one corpus in which only the weights of the input `masks` move; settings as of `pretrain`."""

    @model_validator(mode="after")
    def _the_models_own(self) -> Self:
        for field in ("architecture", "retrofit"):
            if getattr(self, field) is not None:
                raise ValueError(f"{field}: the masks belong to the model as it is: drop it")
        if self.fsdp or self.sharded:
            raise ValueError("fsdp: masks are of whole tensors: shard nothing")
        return self


class LocateConfig(ExtractConfig):
    """A short run on a part of the ability corpus, and which weights it calls for."""

    importance: Literal["change", "gradient", "fisher", "activation"] = Field(
        "change",
        description="change: |weight after the run - before| (the paper's). Without any training: gradient: sum of "
        "|g| over steps; fisher: sum of g squared; activation: |weight| times the norm of its input.",
    )
    granularity: Literal["element", "row", "column", "ffn_channel"] = Field(
        "element",
        description="What a neuron is: a weight, an output unit, an input unit, or a channel of the feed-forward net "
        "(rows of gate and up, column of down); the larger ones by their mean importance. Our choice.",
    )
    fraction: float = Field(0.05, gt=0, le=1, description="Share of the weights looked at in the mask. Recalled.")
    scope: Literal["global", "tensor"] = Field(
        "global", description="The share is of all weights together, or of each tensor. Our choice."
    )
    exclude: tuple[str, ...] = Field((), description="Parts of names of tensors not looked at. Our choice.")

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        if self.importance != "change" and "optim" in self.trainer_args:
            raise ValueError(f"trainer_args.optim: importance {self.importance} moves no weight: drop it")
        if self.importance == "activation" and self.num_processes > 1:
            raise ValueError("importance: activation is summed in one process: drop num_processes")
        return self
