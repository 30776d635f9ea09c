"""AITQE's scorer with a head: six regressions on the last token, and a margin between twins.

With outputs z_a in units of the scale (0 is a score of 1, 1 of 10), targets y_a the same, and twins (g, b) of a good
and a bad text for one image,

    L = 1/2 sum_(r in {g, b}) sum_a w_a (z_a(r) - y_a(r))^2  +  m_w max(0, m - (z_o(g) - z_o(b)))       o: overall

as means over the pairs of a batch; an aspect without a target carries no loss, and a sample without a twin no margin.
UniFilter (EMNLP 2025 Findings) trains one regression in this way; the paper's model writes its scores instead. Scoring
takes one pass, and nothing is written. All settings are our choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.step import Preview
from ...inference.media.images import ImageSettings
from .._lib.config import TrainingConfig
from .._lib.launch import run
from .samples import COLUMNS, check_columns


class HeadConfig(ImageSettings, TrainingConfig):
    """Settings of a scorer with a head; rows are pairs of twins."""

    trained: Literal["head", "projector", "language_model", "all"] | None = Field(
        None, description="head: it alone; projector: that and the projector; language_model: those and the "
        "language model; all: the tower, too. null: language_model, or with lora head, projector and adapters.",
    )  # fmt: skip
    margin: float = Field(0.3, ge=0, le=1, description="m: how far apart twins are pushed; 1 is the whole scale.")
    margin_weight: float = Field(1.0, ge=0, description="m_w: weight of the margin; 0: none.")
    aspect_weight: float = Field(0.2, ge=0, description="w of the five aspects; the overall score has 1.")
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="Refuse to train where more of the samples than this cannot be used."
    )

    @model_validator(mode="after")
    def _every_setting_acts(self) -> Self:
        if self.lora is not None and not self.merge_adapter:
            raise ValueError("lora: the new head has no base that could be named: set merge_adapter: true")
        if self.lora is not None and self.trained is not None:
            raise ValueError("lora trains head, projector and adapters in the language model: drop trained, or lora")
        if self.quantization is not None:
            raise ValueError("quantization: a new head is trained with the weights under it: drop it")
        if self.margin and not self.margin_weight and "margin" in self.model_fields_set:
            raise ValueError("margin: margin_weight 0 leaves it out: drop one of them")
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError without a model."""
        if "model" not in set(names):
            raise UsageError("aitqe_head needs the input `model`: a vision-language model, such as vision_sft's")

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published. Raises DataError for a data set that is not of samples."""
        from .._lib import ahead, image_columns
        from ..vision_sft import VisionSFTConfig, look

        look.check_models(VisionSFTConfig.model_validate({}), inputs)
        known = ahead.train_columns(self, inputs["dataset"])
        if known is not None:
            check_columns(known, inputs["dataset"].name, COLUMNS)
            image_columns.check_image_column(known, inputs["dataset"].name)
        return replace(ahead.keep_tokenizer(self, inputs), kind="llava_scorer")


def train(config: HeadConfig, context: StepContext) -> None:
    """Train a head on `context.inputs["model"]`, a vision-language model, with the samples of `dataset`.

    Raises UsageError (settings that do not fit model or data), DataError (samples that cannot be used).
    """
    run("hubwright.trainers.aitqe.head_trainer:fit", config, context)
