"""Settings that every training method shares. Names and meanings are transformers' and TRL's own.

This module imports neither torch nor transformers: a recipe is validated in milliseconds.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ...hub_sync.errors import UsageError
from ...hub_sync.settings import SPEED, Settings, added
from ...hub_sync.step import Preview, Size
from ...inference.accelerate_config import AccelerateSettings

Schedule = Literal[
    "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr", "warmup_stable_decay",
    "cosine_with_restarts", "cosine_warmup_with_min_lr", "polynomial", "inverse_sqrt",
]  # fmt: skip
SaveDtype = Literal["float32", "bfloat16", "as_trained"]


class LoraSettings(Settings):
    """Low-rank adapters (arXiv:2106.09685) through PEFT; names as in `peft.LoraConfig`."""

    r: int = Field(16, ge=1, description="Rank. Our choice.")
    alpha: int = Field(32, ge=1, description="Scale numerator: updates are scaled by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: str | tuple[str, ...] = Field(
        "all-linear", description="PEFT's target_modules; all-linear leaves out the output head."
    )


class QuantizationSettings(Settings):
    """Frozen weights in 4 or 8 bits under adapters (QLoRA, arXiv:2305.14314), by bitsandbytes; names as in
    `transformers.BitsAndBytesConfig`. They are computed with in `dtype`."""

    load_in_4bit: bool = Field(False, description="Weights in 4 bits.")
    load_in_8bit: bool = Field(False, description="Weights in 8 bits (LLM.int8, arXiv:2208.07339).")
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = Field("nf4", description="Type of 4 bits (transformers: fp4).")
    bnb_4bit_use_double_quant: bool = Field(False, description="4 bits: the scales are quantised too.")
    llm_int8_threshold: float = Field(6.0, gt=0, description="8 bits: larger activations are computed in 16 bits.")

    @model_validator(mode="after")
    def _one_width(self) -> Self:
        if self.load_in_4bit == self.load_in_8bit:
            raise ValueError("set one of load_in_4bit and load_in_8bit to true")
        other = "llm_int8" if self.load_in_4bit else "bnb_4bit"
        for name, field in type(self).model_fields.items():
            if name.startswith(other) and getattr(self, name) != field.default:
                raise ValueError(f"{name} is for the other number of bits: drop it")
        return self


class ModelSettings(Settings):
    """How a model is loaded and where it runs."""

    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description="Attention kernel of transformers."
    )
    seed: int = Field(42, ge=0, description="Seed of all that is drawn.")
    deterministic: bool = Field(True, description="torch.use_deterministic_algorithms; a warning where there is none.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: CUDA, else MPS, else CPU.")
    use_cpu: bool = Field(False, description="The same as device: cpu.")
    threads: int | None = Field(None, ge=1, description="torch.set_num_threads; null: torch's choice.")

    @model_validator(mode="after")
    def _one_device(self) -> Self:
        if self.use_cpu and self.device not in ("auto", "cpu"):
            raise ValueError(f"use_cpu means device: cpu: drop it, or device: {self.device}")
        return self


class BaseTrainingConfig(AccelerateSettings, ModelSettings):
    """What every method has. Defaults are transformers' unless the description says otherwise.

    Attributes:
        arguments_class: "module:Class" whose fields `trainer_args` takes.
        refused_arguments: name -> why this method refuses it, with the remedy; "" for what it takes and others refuse.
    """

    arguments_class: ClassVar[str] = "transformers:TrainingArguments"
    refused_arguments: ClassVar[Mapping[str, str]] = {}

    # Data
    dataset_configs: tuple[str, ...] = Field(
        (), description="Configs of the data set, one after another, for both splits; empty: its default config."
    )
    train_split: str = Field("train", description="Split of the data set that is trained on.")
    where: dict[str, tuple[bool | int | float | str, ...]] = Field(
        {}, description="Train on the rows that have one of these values in each column, or hold one in a column of "
        "lists; the evaluation split stays whole.",
    )  # fmt: skip
    eval_split: str | None = Field(None, description="Split whose loss is measured; null: none.")
    eval_rows: int | None = Field(None, ge=1, description="Use only the first so many rows of eval_split; null: all.")
    max_length: int = Field(1024, ge=8, description="Tokens per sequence; longer ones are cut.")

    # Model
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights while they are trained.")
    bf16: bool | None = Field(None, description="bfloat16 autocast over float32 weights; null: if the device has it.")
    save_dtype: SaveDtype | None = Field(
        None, description="Type of the published weights; null or as_trained: `dtype`."
    )

    # Optimisation
    learning_rate: float = Field(2e-5, gt=0, description="Peak learning rate.")
    num_train_epochs: float = Field(1.0, gt=0, description="Passes over the train split.")
    max_steps: int = Field(-1, ge=-1, description="Optimiser steps; -1: as num_train_epochs says.")
    per_device_train_batch_size: int = Field(8, ge=1, description="Sequences per device and pass.")
    per_device_eval_batch_size: int = Field(8, ge=1, description="Sequences per device, evaluation.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Passes per optimiser step.")
    lr_scheduler_type: Schedule = Field("linear", description="Learning rate schedule.")
    warmup_steps: float = Field(0.0, ge=0, description="Warm-up: a number of steps, or below 1 a share of all steps.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's first moment decay.")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW's second moment decay.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradient clipping, L2; 0: none.")
    activation_checkpointing: bool = Field(False, description="Recompute activations to save memory (TRL: true).")

    # Randomness
    seed: int = Field(42, ge=0, description="Seed of weights, dropout and packing.")
    data_seed: int | None = Field(None, ge=0, description="Seed of the row order; null: seed.")

    # Running
    logging_steps: int = Field(5, ge=1, description="Optimiser steps between two curve points.")
    eval_steps: int | None = Field(None, ge=1, description="Optimiser steps between evaluations; null: at the end.")
    save_steps: int = Field(100, ge=1, description="Optimiser steps between checkpoints.")
    save_total_limit: int = Field(2, ge=2, description="Checkpoints kept: one is whole while the next is written.")
    num_processes: int = Field(1, ge=1, description="1: in this process; more: data parallel, by accelerate launch.")
    report_to: tuple[Literal["trackio", "tensorboard", "wandb"], ...] = Field(
        (),
        json_schema_extra=SPEED,
        description="Trackers that get the curves as well, each a package; none by default.",
    )
    trainer_args: dict[str, Any] = added(
        {},
        description="Any other field of the installed argument class of TRL or transformers, such as {optim: "
        "adafactor}; a file's path is replaced by its content.",
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) and value else value

    @field_validator("trainer_args")
    @classmethod
    def _known_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            return value
        from .arguments import check

        return check(cls, value)

    @model_validator(mode="after")
    def _arguments_fit(self) -> Self:
        if self.trainer_args:
            from .arguments import check_together

            check_together(self)
        return self

    @property
    def sharded(self) -> bool:
        """Whether weights are spread over processes."""
        return self.accelerate_shards or bool({"fsdp", "deepspeed"} & {k for k, v in self.trainer_args.items() if v})

    def lacks(self) -> str:
        """What these settings need and this machine has not, with the remedy; "" if there is nothing."""
        if absent := super().lacks() or lacking_device(self):
            return absent
        if not self.trainer_args and not self.report_to:
            return ""
        from .arguments import lacks

        return lacks(self)

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published; its tokenizer is the `model` input's."""
        from .ahead import keep_tokenizer

        return keep_tokenizer(self, inputs)

    def work(self) -> int | None:
        """Sequences that are trained on, if `max_steps` says how many."""
        per_step = self.per_device_train_batch_size * self.gradient_accumulation_steps * self.num_processes
        return self.max_steps * per_step if self.max_steps > 0 else None

    def model_size(self, inputs: Mapping[str, Size]) -> int:
        """Numbers in the model's tensors, as far as it can be told before it is there; 0: not at all."""
        return inputs["model"].weights if "model" in inputs else 0

    def disk(self, inputs: Mapping[str, Size]) -> tuple[int, Size] | None:
        """(bytes below the run's folder at most, size of what is published); None where the model is not known yet.

        A checkpoint holds each trained weight and AdamW's two moments; one more than `save_total_limit` are there
        while the oldest goes. Tokenized rows are taken as ten times their data set, which is compressed text.
        """
        if not (weights := self.model_size(inputs)):
            return None
        width, adapter = (4 if self.dtype == "float32" else 2), adapter_of(self)
        trained = weights * adapter.r // 800 if adapter else weights  # 0.6 to 1.8 % at rank 16 of 7 to 0.5 billion
        whole = adapter is None or (isinstance(self, TrainingConfig) and self.merge_adapter)
        checkpoints = self.save_total_limit + 1
        if self.max_steps > 0:
            checkpoints = min(checkpoints, -(-self.max_steps // self.save_steps))
        saved = self.dtype if self.save_dtype in (None, "as_trained") else self.save_dtype
        output = (weights if whole else trained) * (4 if saved == "float32" else 2)
        rows = 10 * inputs["dataset"].bytes if "dataset" in inputs and not getattr(self, "streaming", False) else 0
        return 3 * width * trained * checkpoints + output + rows, Size(output, weights if whole else trained)

    @model_validator(mode="after")
    def _one_precision(self) -> Self:
        if self.dtype == "bfloat16" and self.bf16:
            raise ValueError("bf16 is autocast over float32 weights: with dtype bfloat16 set bf16: false")
        return self


def lacking_device(config: ModelSettings) -> str:
    """What settings of devices and precision need and this machine has not, with the remedy; "" if there is nothing.

    torch is imported only for settings that are not the defaults.
    """
    flash = config.attn_implementation == "flash_attention_2"
    bf16, fp16 = getattr(config, "bf16", None), getattr(config, "trainer_args", {}).get("fp16")
    if config.use_cpu or config.device == "cpu":
        if flash:
            return "attn_implementation: flash_attention_2 runs on CUDA alone: write sdpa, or drop device: cpu"
        return "trainer_args.fp16: it runs on accelerators alone: drop it, or device: cpu" if fp16 else ""
    if config.device == "auto" and not (flash or bf16 or fp16):
        return ""
    if find_spec("torch") is None:
        return ""  # the step's extra names it
    from ...inference import device

    try:
        chosen = device.choose(config.device)
    except UsageError as error:
        return str(error)
    if flash and chosen != "cuda":
        return f"attn_implementation: flash_attention_2 runs on CUDA alone, and this machine has {chosen}: write sdpa"
    if flash and find_spec("flash_attn") is None:
        return "attn_implementation: flash_attn is not installed: pip install flash-attn, or write sdpa"
    if fp16 and chosen == "cpu":
        return "trainer_args.fp16: it runs on accelerators alone, and this machine has none: drop it"
    if bf16 and chosen != "cpu" and not device.has_bfloat16(chosen):
        return f"bf16: device {chosen} does not compute in bfloat16: drop bf16, or set it to false"
    return ""


class StreamingConfig(BaseTrainingConfig):
    """What methods that can train on a stream have in common."""

    streaming: bool = Field(False, description="Tokenise and pack while training, without a copy; needs max_steps.")
    shuffle_block: int | None = Field(
        None, ge=1, description="Streaming: rows are shuffled in blocks of so many; 1: not at all; null: 1,000 (ours)."
    )

    @model_validator(mode="after")
    def _stream_ends(self) -> Self:
        if self.streaming and self.max_steps < 1:
            raise ValueError("streaming has no end of its own: set max_steps")
        if self.streaming and self.where:
            raise ValueError("where chooses among rows that are all there: drop it, or streaming")
        if self.streaming and self.num_train_epochs != 1:
            raise ValueError("streaming runs for max_steps, however many passes that is: drop num_train_epochs")
        if self.shuffle_block is not None and not self.streaming:
            raise ValueError("shuffle_block is for streaming: without it all rows are shuffled; drop it")
        return self


class TrainingConfig(BaseTrainingConfig):
    """What SFT and DPO have in common: a trained chat model is the start, and adapters are a choice."""

    chat_template: Literal["keep", "chatml_tools"] = Field(
        "keep",
        description="keep: the model's own. chatml_tools: ours, which renders tools and is saved with "
        "the model; needs the tokens <|im_start|> and <|im_end|>.",
    )
    max_refused_share: float = Field(
        0.05, ge=0, le=1,
        description="Refuse to train where more of the rows than this cannot be read as what they should be; fewer "
        "are left out and counted by reason. Our choice.",
    )  # fmt: skip
    allow_control_tokens: tuple[str, ...] = Field(
        (),
        description="Control tokens of the model that texts of rows may spell, and then become. Reasoning tags always "
        "may, and assistant turns what the chat template writes within them.",
    )
    dataset_num_proc: int = Field(
        1, ge=1, json_schema_extra=SPEED, description="Processes that read and tokenize rows; the rows are the same."
    )
    lora: LoraSettings | None = Field(None, description="Train adapters only; null: all weights.")
    save_dtype: SaveDtype | None = Field(
        None,
        description="Type of the published weights; null: the one in which most of the base model's are stored, and "
        "for adapters and sharded weights as trained; as_trained: `dtype`.",
    )
    quantization: QuantizationSettings | None = added(
        None, description="Load the frozen weights under adapters in 4 or 8 bits, such as {load_in_4bit: true}."
    )
    merge_adapter: bool = Field(False, description="Publish the full model with the adapter merged in. Needs lora.")

    @model_validator(mode="after")
    def _something_to_merge(self) -> Self:
        if self.merge_adapter and self.lora is None:
            raise ValueError("merge_adapter needs lora: there is no adapter to merge")
        if self.quantization is not None and self.lora is None:
            raise ValueError("quantization needs lora: weights in 4 or 8 bits cannot be trained")
        if self.quantization is not None and self.merge_adapter:
            raise ValueError(
                "merge_adapter: quantised weights would be published: publish the adapter, and `merge` it"
            )
        return self

    def lacks(self) -> str:
        if self.quantization is not None and find_spec("bitsandbytes") is None:
            return "quantization: bitsandbytes is not installed: pip install bitsandbytes"
        return super().lacks()


def processes_of(config: TrainingConfig) -> int | None:
    """`num_proc` of `Dataset.map`, where a pool of one process costs more than none."""
    return config.dataset_num_proc if config.dataset_num_proc > 1 else None


def adapter_of(config: BaseTrainingConfig) -> LoraSettings | None:
    """The adapter's settings; None where all weights are trained, as in methods that have no adapters."""
    return config.lora if isinstance(config, TrainingConfig) else None
