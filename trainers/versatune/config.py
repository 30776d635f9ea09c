"""Settings of training on domains by weights. No torch: a recipe is validated in milliseconds."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.step import Preview
from .._lib.arguments import STREAMED
from .._lib.config import BaseTrainingConfig
from .._lib.launch import run
from ..pretrain import FSDP
from ..pretrain.config import PretrainConfig
from ..sft import SFTConfig

# What each strategy takes, with its value for null. The paper's values are not known to us: all of them are ours.
OPTIONS: dict[str, dict[str, Any]] = {
    "static": {},
    "versatune": {"sigma": 0.5, "delta": 0.05, "floor": 0.01, "smoothing": 0.0},
    "exponentiated": {"floor": 0.01, "smoothing": 0.0, "eta": 1.0},
    "doremi": {"floor": 0.01, "smoothing": 1e-3, "eta": 1.0, "normaliser": "domain"},
    "odm": {"decay": 0.5},
}


class DomainSettings(BaseTrainingConfig):
    """Which domains are trained on, and how their weights move."""

    refused_arguments: ClassVar[dict[str, str]] = STREAMED

    eval_split: str | None = Field(
        "held_out", description="Split of every domain whose loss moves the weights; eval_rows is of each domain."
    )
    domains: tuple[str, ...] = Field((), description="Configs of the data set to train on; empty: all domains.")
    weights: dict[str, float] | None = Field(
        None, description="Weights by domain at the start, divided by their sum; null: those of mixture.json."
    )
    weigh_by: Literal["samples", "tokens"] | None = Field(
        None,
        description="Weights are shares of the documents or conversations drawn (as in the authors' code), or of "
        "their tokens; null: the unit of mixture.json, without one samples.",
    )
    strategy: Literal["static", "versatune", "exponentiated", "doremi", "odm"] = Field(
        "versatune",
        description="static: weights stay. versatune: by learnable potential and forgetting. exponentiated: by raw "
        "losses, as the authors' repository. doremi: by excess loss. odm: EXP3 with losses as rewards.",
    )
    update_every: int = Field(
        100, ge=1, description="Optimiser steps between updates. Our choice; the authors' repository: an epoch."
    )
    sigma: float | None = Field(
        None, ge=0, description="versatune: factor of the potential in an update; null: 0.5. Our choice."
    )
    floor: float | None = Field(
        None, ge=0, le=1, description="Least weight of a domain that has one at the start; null: 0.01. Our choice."
    )
    smoothing: float | None = Field(
        None, ge=0, le=1, description="Share of uniform weights in each update; null: 0, doremi: 0.001 (recalled)."
    )
    eta: float | None = Field(None, gt=0, description="exponentiated, doremi: step size; null: 1.")
    normaliser: Literal["domain", "all"] | None = Field(
        None,
        description="doremi: excess over the domain's tokens (the paper's, and null) or over all tokens (its code).",
    )
    decay: float | None = Field(
        None, ge=0, lt=1, description="odm: share of a reward's moving average that stays; null: 0.5. Our choice."
    )
    target: str | None = Field(None, description="versatune: the domain to expand; null: none.")
    delta: float | None = Field(None, gt=0, lt=1, description="Stride of the target's weight; null: 0.05. Our choice.")
    epsilon: float | None = Field(
        None,
        ge=0,
        description="The target grows while the mean forgetting of the others is below this; null: below the "
        "target's own potential. Our choice.",
    )
    reference_losses: dict[str, float] = Field(
        {},
        description="Held-out losses of reference models by domain, nats per token. Others are measured at the start "
        "by the inputs reference_DOMAIN, or `reference` for all domains.",
    )

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published. The data set has a config per domain, which the step looks at."""
        from .._lib.ahead import keep_tokenizer

        return keep_tokenizer(self, inputs)

    def option(self, name: str) -> Any:
        """A setting of the strategy, its default for null."""
        value = getattr(self, name)
        return OPTIONS[self.strategy].get(name) if value is None else value

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        for name in dict.fromkeys(name for options in OPTIONS.values() for name in options):
            if getattr(self, name) is not None and name not in OPTIONS[self.strategy]:
                raise ValueError(f"{name} has no meaning for strategy {self.strategy}: drop it")
        if self.target is not None and self.strategy != "versatune":
            raise ValueError(f"target has no meaning for strategy {self.strategy}: drop it, or strategy: versatune")
        for name in ("delta", "epsilon"):
            if getattr(self, name) is not None and self.target is None:
                raise ValueError(f"{name} is for domain expansion: set target, or drop it")
        if self.sigma == 0 and self.target is None:
            raise ValueError("sigma 0 moves no weight: use strategy static")
        if self.eval_split is None:
            raise ValueError("eval_split: weights move by held-out losses: name the split, such as held_out")
        if self.dataset_configs:
            raise ValueError("dataset_configs: configs are domains here: use domains")
        if getattr(self, "streaming", False):
            raise ValueError("streaming: rows are drawn by number: drop it")
        return self


class VersatunePretrainConfig(DomainSettings, PretrainConfig):
    """Settings of `versatune_pretrain`: those of `pretrain`, and of domains."""


class VersatuneSFTConfig(DomainSettings, SFTConfig):
    """Settings of `versatune_sft`: those of `sft`, and of domains."""


def pretrain(config: VersatunePretrainConfig, context: StepContext) -> None:
    """Train on documents of several domains; the rest as `trainers.pretrain.train`.

    Beside the model `schedule.parquet` goes to `context.output`: a row per update and domain. Raises as pre-training,
    and UsageError for domains, weights and references that do not fit, and for a loss that is not a number.
    """
    fsdp = ("--config_file", str(FSDP)) if config.fsdp else ()
    run("hubwright.trainers.versatune.trainer:fit_pretrain", config, context, fsdp)


def sft(config: VersatuneSFTConfig, context: StepContext) -> None:
    """Fine-tune on conversations of several domains; the rest as `pretrain` here and `trainers.sft.train`."""
    run("hubwright.trainers.versatune.trainer:fit_sft", config, context)
