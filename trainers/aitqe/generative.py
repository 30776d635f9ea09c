"""AITQE's scorer as its authors have it: a vision-language model that writes its scores as JSON (arXiv:2410.16166).

    L = - 1/|y| sum_t log p(y_t | y_<t, image, prompt)         y: the JSON of a sample; prompt and image carry no loss

`uses: aitqe_generative` is `vision_sft` on the samples of `aitqe_samples`, whose prompts and replies
`inference/media/pair_scores.py` writes.
Learning rate, batch and epochs of the paper are not known: all settings are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.step import Preview
from ..vision_sft import VisionSFTConfig
from ..vision_sft import train as vision_train
from .samples import COLUMNS, check_columns


class GenerativeConfig(VisionSFTConfig):
    """Settings of `vision_sft`. Data are samples: their images, texts, scores and recaptions."""

    @model_validator(mode="after")
    def _prompt_is_fixed(self) -> Self:
        if self.prompt is not None:
            raise ValueError("prompt: a scorer has a prompt of its own, the same when it scores: drop it")
        return self

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published. Raises UsageError or DataError as of `vision_sft`."""
        from .._lib import ahead

        known = ahead.train_columns(self, inputs["dataset"])
        if known is not None:
            check_columns(known, inputs["dataset"].name, COLUMNS)
        columns = ("image", "prompt", "completion", *self.where) if known is None or "image" in known else tuple(known)
        return super().preview({**inputs, "dataset": Preview(inputs["dataset"].name, columns=columns)})


def train(config: GenerativeConfig, context: StepContext) -> None:
    """Train `context.inputs["model"]`, or a model made of `language_model` and `vision_tower`, on `dataset`.

    Raises UsageError (settings that do not fit models or data), DataError (samples that cannot be used).
    """
    vision_train(config, context, "hubwright.trainers.aitqe.generative_trainer:fit")
