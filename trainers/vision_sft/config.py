"""Settings, and what is known before a run works. Nothing heavy is imported: a recipe is checked in milliseconds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.step import Preview, Size
from ...inference.media.images import ImageSettings
from .._lib.launch import run
from ..sft import SFTConfig, conversation_column

Part = Literal["projector", "language_model", "all"]
_PARTS = {"language_model", "vision_tower"}


class VisionSFTConfig(ImageSettings, SFTConfig):
    """Settings of `sft`, and those of an image.

    Attributes:
        kinds: values of `model_type` that the input `model` may have.
    """

    kinds: ClassVar[tuple[str, ...]] = ("llava",)

    trained: Part | None = Field(
        None, description="projector: it alone; language_model: that and the projector; all: the tower, too. null: "
        "projector, or with lora the projector and adapters in the language model. Our choice.",
    )  # fmt: skip
    image_size: int | None = Field(
        None, ge=8, description="Side of the square that a tower sees, in pixels, of a model that is assembled; null: "
        "the tower's own.",
    )  # fmt: skip
    feature_layer: int | tuple[int, ...] | None = Field(
        None, description="Hidden layer of the tower that the projector reads, of a model that is assembled; several "
        "are put side by side. null: -2, transformers' default for LLaVA.",
    )  # fmt: skip
    image_token: str = Field(
        "<image>", min_length=3, description="Control token in place of an image, which is added where it is missing."
    )
    prompt: str | None = Field(
        None, min_length=1,
        description="What rows of `text` answer, as a user's turn beside the image; null: text after the image.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_row_one_sequence(self) -> Self:
        if self.packing or self.streaming:
            raise ValueError(f"{'packing' if self.packing else 'streaming'} is for rows of text alone: drop it")
        if self.lora is not None and self.trained is not None:
            raise ValueError("lora trains the projector and adapters in the language model: drop trained, or lora")
        if self.quantization is not None:
            raise ValueError("quantization is for language models alone: drop it")
        if self.trainer_args.get("padding_free"):
            raise ValueError("trainer_args.padding_free is for rows of text alone: drop it")
        return self

    @property
    def part(self) -> Part:
        """The part of the model that is trained in full."""
        return self.trained or "projector"

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError unless the inputs are one model, or the two parts of one."""
        names = set(names)
        if ("model" in names) == bool(names & _PARTS) or ("model" not in names and not names >= _PARTS):
            raise UsageError("inputs: name a vision-language `model`, or `language_model` and `vision_tower`")
        if "model" not in names:
            if self.lora is not None and not self.merge_adapter:
                raise UsageError(
                    "lora: an adapter of a model that is assembled here has no base on the hub: set merge_adapter: "
                    "true, or publish the assembled model first and name it as `model`"
                )
            return
        for field in ("image_size", "feature_layer", "image_token"):
            if getattr(self, field) != type(self).model_fields[field].default:
                raise UsageError(f"{field} is for a model that is assembled; `model` has its own: drop it")

    def check_form(self, form: str | None) -> None:
        """Raises UsageError for settings that do not go with the columns, as `columns_of` names them."""
        if self.prompt is not None and form not in (None, "text"):
            raise UsageError(f"prompt is what rows of `text` answer, and these have `{form}`: drop it")

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published. Raises UsageError or DataError for models of another kind, and for columns
        or a template that cannot be trained on."""
        from .._lib import ahead, image_columns
        from . import look

        self.check_inputs(name for name in inputs if name != "dataset")
        look.check_models(self, inputs)
        known = ahead.train_columns(self, inputs["dataset"])
        if known is not None:
            image_columns.check_image_column(known, inputs["dataset"].name)
        chat = {**inputs, "model": inputs.get("model") or inputs["language_model"]}
        form = columns_of(known, inputs["dataset"].name) if known else None
        self.check_form(form)
        turns = known is None or ahead.holds_turns(known, "prompt", "completion")
        turns = turns or (form == "text" and self.prompt is not None)
        whole = form not in (None, "text", "prompt")
        marked = self.assistant_only_loss and (known is None or whole)
        more = ahead.check_template(self, chat, known, mask=marked) if turns or whole else ()
        result = ahead.keep_tokenizer(self, chat)
        if "model" not in inputs:
            result = replace(result, kind=look.LLAVA)
        return replace(result, warnings=(*result.warnings, *more))

    def model_size(self, inputs: Mapping[str, Size]) -> int:
        return sum(inputs[name].weights for name in ("model", *sorted(_PARTS)) if name in inputs)


def columns_of(columns: Iterable[str], source_name: str) -> str:
    """The column of whole conversations, "prompt" for prompts and completions, or "text". Raises DataError."""
    names = set(columns)
    if {"messages", "conversations"} & names or {"prompt", "completion"} <= names:
        return conversation_column(names, source_name) or "prompt"
    if "text" in names:
        return "text"
    raise DataError(
        f"{source_name} has none of `messages`, `prompt` + `completion` and `text`: its columns are "
        f"{', '.join(sorted(names))}"
    )


def train(
    config: VisionSFTConfig,
    context: StepContext,
    fit: Callable[..., Any] | str = "hubwright.trainers.vision_sft.trainer:fit",
) -> None:
    """Fine-tune `context.inputs["model"]`, or the model that `language_model` and `vision_tower` make, on `dataset`.

    Checkpoints go to `context.workdir/checkpoints`; the model (safetensors) and its processor to `context.output`;
    losses, rates and counts to `context.report`.

    Args:
        fit: one process's training, as of `_lib.launch.run`, for a method that trains with a class of its own.

    Raises UsageError (settings that do not fit models or data), DataError (rows that cannot be used).
    """
    config.check_inputs(name for name in context.inputs if name != "dataset" and not name.endswith(".base"))
    run(fit, config, context)
