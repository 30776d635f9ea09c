"""Settings, and what is known before a run works. Nothing heavy is imported: a recipe is checked in milliseconds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.step import Preview, Size
from ...inference.media.images import ImageSettings
from .._lib.config import BaseTrainingConfig
from .._lib.launch import run

_TOWERS = {"vision_tower", "text_tower"}


class DualEncoderConfig(ImageSettings, BaseTrainingConfig):
    """Settings of the training of a dual encoder."""

    trained: Literal["projections", "all"] = Field(
        "projections",
        description="projections: two linear layers and the temperature, on features of the towers that are computed "
        "once; all: the towers, too. Our choice.",
    )
    projection_dim: int | None = Field(
        None, ge=2, description="Numbers of a vector, of a model that is made of two towers; null: 512, transformers' "
        "default.",
    )  # fmt: skip
    image_size: int | None = Field(
        None, ge=8, description="Side of the square that the vision tower sees, in pixels, of a model that is made of "
        "two towers; null: the tower's own.",
    )  # fmt: skip
    max_length: int = Field(64, ge=4, description="Tokens per text; longer ones are cut, and counted. Our choice.")
    max_refused_share: float = Field(
        0.05, ge=0, le=1, description="Refuse to train where more of the rows than this cannot be used. Our choice."
    )
    per_device_eval_batch_size: int = Field(
        32, ge=1, description="Images, or texts, per pass where features and recalls are computed. Our choice."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate; our choice, for projections.")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay; our choice.")
    per_device_train_batch_size: int = Field(
        128, ge=2, description="Pairs per pass: the others of a batch are the negatives. Our choice."
    )

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        if self.num_processes > 1 or self.accelerate_config is not None:
            raise ValueError("num_processes: the negatives of a pair are those of one process: drop it")
        if self.dtype != "float32" or (self.bf16 and self.trained == "projections"):
            raise ValueError("dtype: the temperature needs float32: drop dtype and, with projections alone, bf16")
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError unless the inputs are one dual encoder, or the two towers of one."""
        names = set(names)
        if ("model" in names) == bool(names & _TOWERS) or ("model" not in names and not names >= _TOWERS):
            raise UsageError("inputs: name a dual encoder as `model`, or `vision_tower` and `text_tower`")
        for field in ("image_size", "projection_dim"):
            if "model" in names and getattr(self, field) is not None:
                raise UsageError(f"{field} is for a model that is made of towers; `model` has its own: drop it")

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published. Raises UsageError or DataError for inputs that cannot be trained on."""
        from .._lib import ahead, image_columns

        self.check_inputs(name for name in inputs if name != "dataset")
        known = ahead.train_columns(self, inputs["dataset"])
        if known is not None:
            image_columns.check_image_column(known, inputs["dataset"].name)
            check_text_column(known, inputs["dataset"].name)
        result = ahead.keep_tokenizer(self, {**inputs, "model": inputs.get("model") or inputs["text_tower"]})
        return result if "model" in inputs else replace(result, kind="vision-text-dual-encoder")

    def model_size(self, inputs: Mapping[str, Size]) -> int:
        return sum(inputs[name].weights for name in ("model", *sorted(_TOWERS)) if name in inputs)


def check_text_column(columns: Iterable[str], source_name: str) -> None:
    """Raises DataError in one line without a column `text`."""
    if "text" not in columns:
        raise DataError(f"{source_name} has no column `text`: its columns are {', '.join(sorted(columns))}")


def train(
    config: DualEncoderConfig,
    context: StepContext,
    fit: Callable[..., Any] | str = "hubwright.trainers.dual_encoder.trainer:fit",
) -> None:
    """Train `context.inputs["model"]`, or the dual encoder that `vision_tower` and `text_tower` make, on `dataset`.

    Checkpoints and the towers' features go to `context.workdir`; the model (safetensors) and its processor to
    `context.output`; losses, recalls and counts to `context.report`.

    Args:
        fit: one process's training, as of `_lib.launch.run`, for a method that trains with a class of its own.

    Raises UsageError (settings that do not fit models or data), DataError (rows that cannot be used).
    """
    config.check_inputs(name for name in context.inputs if name != "dataset")
    run(fit, config, context)
