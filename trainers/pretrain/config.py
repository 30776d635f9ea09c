"""Settings of pre-training. Nothing heavy is imported: a recipe is checked in milliseconds."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.errors import DataError
from ...hub_sync.settings import Settings
from ...hub_sync.step import Preview, Size
from .._lib.config import Schedule, StreamingConfig

# Follow from the tokenizer or have settings of their own.
TAKEN = {
    "vocab_size": "the tokenizer",
    "bos_token_id": "the tokenizer",
    "eos_token_id": "the tokenizer",
    "pad_token_id": "the tokenizer",
    "dtype": "`dtype`",
    "attn_implementation": "`attn_implementation`",
}
BPE_SIZE = 32000


class TokenizerSettings(Settings):
    """Where the tokenizer comes from. One that is trained here sees the train split only."""

    kind: Literal["words", "bpe", "reuse"] = Field(
        "reuse",
        description="words: one token per whitespace-separated word. bpe: byte-level BPE, trained here. reuse: the "
        "one of the `tokenizer` input, or else of the `model` input.",
    )
    vocab_size: int | None = Field(
        None, ge=8, description="Tokens, special ones included; null: every word (words), 32,000 (bpe)."
    )

    @model_validator(mode="after")
    def _size_is_used(self) -> Self:
        if self.kind == "reuse" and self.vocab_size is not None:
            raise ValueError("tokenizer kind reuse has its own size: drop vocab_size")
        if self.kind == "bpe" and self.vocab_size is not None and self.vocab_size < 260:
            raise ValueError("tokenizer kind bpe has 256 bytes and 4 special tokens: vocab_size must be 260 or more")
        return self


class PretrainConfig(StreamingConfig):
    """Settings of pre-training; names as in `transformers.TrainingArguments`.

    Optimiser defaults are those of the pre-training runs of arXiv 2411.19574: AdamW(0.9, 0.95),
    weight decay 0.1, and after warm-up a constant rate, 2e-4 for all its sizes but one (8e-4 for 2.9 billion).
    """

    refused_arguments: ClassVar[dict[str, str]] = {
        "logging_nan_inf_filter": "a loss that is no number ends the training: drop it"
    }

    # Model
    architecture: dict[str, Any] | None = Field(
        None,
        description="A model from random weights: `model_type` and fields of its transformers configuration "
        "(hidden_size, ...); null: training goes on from the `model` input.",
    )
    retrofit: dict[str, Any] | None = Field(
        None, description="Change the `model` input's architecture first: `model_type`, one of ours, and its options."
    )
    tokenizer: TokenizerSettings = Field(
        TokenizerSettings(kind="reuse", vocab_size=None), description="Where the tokenizer comes from."
    )

    # Data
    max_length: int = Field(2048, ge=8, description="Tokens per packed row; longer documents are read in windows.")
    packing: bool | None = Field(
        None,
        description="Fill rows with several documents, isolated from one another; null: yes for documents, no for "
        "rows with `targets`, which are padded to the longest of their batch.",
    )
    add_bos: bool = Field(False, description="Begin documents with the tokenizer's bos token; they always end in eos.")

    # Optimisation
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate (the paper's).")
    lr_scheduler_type: Schedule = Field("constant_with_warmup", description="Learning rate schedule (the paper's).")
    warmup_steps: float = Field(
        0.02, ge=0, description="A number of steps, or below 1 a share of all. Our choice; the paper's: 600 to 3,000."
    )
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay (the paper's).")
    adam_beta2: float = Field(0.95, ge=0, lt=1, description="AdamW's second moment decay (the paper's).")
    no_decay: tuple[str, ...] = Field(
        (), description="No weight decay for parameters whose name contains one of these, besides biases and norms."
    )
    learning_rate_factors: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {},
        description="Times learning_rate for parameters whose name contains the key, such as 10 for new scalars in a "
        "retrofitted model, which a small rate hardly moves. Our choice.",
    )

    # Running
    torch_compile: bool = Field(False, description="Compile the model with torch.compile before training.")
    fsdp: bool = Field(
        False, description="Shard weights, gradients and optimiser over the accelerators (FSDP2, fsdp.yaml)."
    )

    @model_validator(mode="after")
    def _every_setting_acts(self) -> Self:
        self._check_architecture()
        if self.fsdp and (self.use_cpu or self.device == "cpu"):
            raise ValueError("fsdp shards over accelerators: drop fsdp or use_cpu (device: cpu)")
        if self.fsdp and self.sharded:
            raise ValueError("fsdp: accelerate_config or trainer_args shard the weights: keep one of them")
        if self.fsdp and self.save_dtype not in (None, "as_trained"):
            raise ValueError("fsdp publishes the weights as trained: drop save_dtype, or set dtype")
        return self

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published; its tokenizer is known if none is trained here. Raises DataError for a
        data set without texts."""
        from .._lib.ahead import train_columns

        dataset = inputs["dataset"]
        known = train_columns(self, dataset)
        if known is not None and "text" not in known:
            raise DataError(f"{dataset.name} has no column `text`: its columns are {', '.join(sorted(known))}")
        role = "tokenizer" if "tokenizer" in inputs else "model"
        reused = inputs[role] if self.tokenizer.kind == "reuse" and role in inputs else Preview()
        return super().preview({"model": reused})

    def model_size(self, inputs: Mapping[str, Size]) -> int:
        """Of the `model` input, else about those of a Llama of these sizes: attention, a gated net, embeddings."""
        if self.architecture is None:
            return super().model_size(inputs)
        names = ("hidden_size", "num_hidden_layers", "intermediate_size")
        width, layers, inner = (n if isinstance(n := self.architecture.get(name), int) else 0 for name in names)
        if not (width and layers and inner):
            return 0
        embeddings = 1 if self.architecture.get("tie_word_embeddings") else 2
        vocabulary = self.tokenizer.vocab_size or BPE_SIZE
        return layers * (4 * width * width + 3 * width * inner) + embeddings * vocabulary * width

    def _check_architecture(self) -> None:
        for field, value in (("architecture", self.architecture), ("retrofit", self.retrofit)):
            if value is not None and not isinstance(value.get("model_type"), str):
                raise ValueError(f"{field} needs model_type, such as llama")
        if self.architecture is not None:
            if self.retrofit is not None:
                raise ValueError("retrofit changes a trained model: drop it, or architecture")
            for name in TAKEN.keys() & self.architecture.keys():
                raise ValueError(f"architecture.{name} follows from {TAKEN[name]}: drop it")
            window = self.architecture.get("max_position_embeddings")
            if isinstance(window, int) and window < self.max_length:
                raise ValueError(
                    f"architecture.max_position_embeddings {window} is below max_length {self.max_length}: raise it"
                )
        elif self.tokenizer.kind != "reuse":
            raise ValueError(f"tokenizer kind {self.tokenizer.kind} needs architecture: a trained model has its own")
