"""Supervised fine-tuning on TRL's SFTTrainer: conversations, with or without tools, in; a model out.

Data:
- `messages` or `conversations` (+ `tools`): every assistant turn is supervised, tool calls and end of turn included,
  nothing else, and no turn of `weight: 0`;
- `prompt` + `completion`, as text or turns: the completion alone is supervised.

Turns may be in any form that `inference.conversations` reads; what it changes or refuses is counted.

Every row is accounted for: cut ones and ones without a supervised token are counted, and the run is refused where
there are too many of the latter. Killed at any moment and started again, a run ends with the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ..hub_sync.context import StepContext
from ..hub_sync.errors import DataError, UsageError
from ._lib.config import LoraSettings, TrainingConfig

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["LoraSettings", "SFTConfig", "train"]


class SFTConfig(TrainingConfig):
    """Settings of supervised fine-tuning; names as in `trl.SFTConfig`."""

    packing: bool = Field(
        False, description="Fill sequences of max_length with several rows, isolated from one another."
    )
    assistant_only_loss: bool = Field(
        True, description="With messages: supervise assistant turns only (TRL defaults to false)."
    )
    completion_only_loss: bool = Field(True, description="With prompt + completion: supervise the completion only.")
    loss_type: Literal["nll", "dft"] = Field(
        "nll", description="nll: cross-entropy; dft: Dynamic Fine-Tuning (arXiv:2508.05629)."
    )
    max_unsupervised_share: float = Field(
        0.05, ge=0, le=1,
        description="Refuse to train where more of the rows than this have no supervised token; "
        "fewer are left out and counted. Our choice.",
    )  # fmt: skip


def train(config: SFTConfig, context: StepContext) -> None:
    """Fine-tune `context.inputs["model"]` on `context.inputs["dataset"]`.

    Checkpoints go to `context.workdir/checkpoints`; the model (safetensors) and its tokenizer to `context.output`;
    losses, rates and counts to `context.report`.

    Raises UsageError (settings that do not fit model or data), DataError (rows without anything to learn).
    """
    from ._lib import loop as _loop

    _loop.run(_fit, config, context)


def _fit(config: SFTConfig, context: StepContext) -> None:
    """One process's training. Only ever called through `_loop.run`."""
    import trl

    from ._lib import loop as _loop
    from ._lib import model as _model
    from ._lib import rows as _rows
    from ._lib import templates as _templates

    _model.check(config, context)
    splits = _loop.load_splits(config, context)
    columns = set(splits["train"].column_names)
    whole = next((c for c in ("messages", "conversations") if c in columns), None)
    if whole is None and not {"prompt", "completion"} <= columns:
        raise DataError(
            f"{_loop.name(context, 'dataset')} has neither `messages` nor `prompt` + `completion`: "
            f"its columns are {', '.join(sorted(columns))}"
        )
    cited = _loop.name(context, "model")
    tokenizer = _model.load_tokenizer(config, context)
    template = _templates.choose(tokenizer, cited, tools="tools" in columns)
    marked = whole is not None and config.assistant_only_loss
    form = _rows.Form(whole, responses=() if whole else ("completion",), weighted=marked)
    splits = _rows.prepare(splits, form, tokenizer, config, context)
    if marked:
        splits = {k: _with_assistant_turn(d, k, context) for k, d in splits.items()}
    model = _model.read_model(config, context)
    _model.stop_at_end_of_turn(model, tokenizer, config)
    if config.packing:
        _model.check_isolation(model, cited)
    adapter = _model.peft_config(config, model, cited)

    class SFTTrainer(_loop.SafeCheckpoints, trl.SFTTrainer):
        """TRL's trainer with every row accounted for and checkpoints that prove themselves."""

        def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *rest: Any) -> Any:
            # Once without cutting and packing, to count; the second pass finds the rows tokenized.
            import copy

            whole = copy.copy(args)
            whole.max_length, whole.shuffle_dataset = None, False
            tokenized = super()._prepare_dataset(dataset, processing_class, whole, False, *rest)
            tokenized = _rows.weigh(tokenized, _loop.name(context, "dataset"))
            checked = _account(tokenized, str(rest[-1]), config, context)
            _model.check_sequences(checked["input_ids"], config.max_length, model, tokenizer, cited)
            return super()._prepare_dataset(checked, processing_class, args, packing, *rest)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            # Without Triton TRL's fused head projects every position to the vocabulary, and twice. On CPU we project
            # once, and only positions that some row of the batch is supervised at: the same loss, 1.6 times faster.
            plain = config.loss_type == "nll" and not return_outputs and not self.aux_loss_enabled
            if self.accelerator.device.type != "cpu" or not plain:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return _loop.loss_of_supervised(self, model, inputs, num_items_in_batch)

    trainer = SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            **_loop.training_arguments(config, context, "eval" in splits),
            max_length=config.max_length,
            packing=config.packing,
            eval_packing=False,
            assistant_only_loss=marked,
            completion_only_loss=config.completion_only_loss and whole is None,
            loss_type=config.loss_type,
        ),
        train_dataset=splits["train"],
        eval_dataset=splits.get("eval"),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    tokenizer.chat_template = template
    _loop.fit(trainer, config, context)


def _with_assistant_turn(dataset: Dataset, split: str, context: StepContext) -> Dataset:
    """Leave out conversations without an assistant turn: TRL would stop at the first of them."""
    kept = dataset.filter(
        lambda messages: any(turn["role"] == "assistant" for turn in messages),
        input_columns="messages",
    )
    context.report.counts[f"{split}_rows_without_assistant_turn"] = len(dataset) - len(kept)
    if not len(kept):
        raise DataError(f"no row of the {split} split has an assistant turn: nothing to learn from")
    return kept


def _account(dataset: Dataset, split: str, config: SFTConfig, context: StepContext) -> Dataset:
    """Count cut and unsupervised rows of a tokenized split, and leave out the latter.

    Args:
        dataset: columns `input_ids` and `labels`, each a list of token ids; -100 marks unsupervised tokens.
    """
    limit = config.max_length
    cut = tokens = supervised = 0
    kept: list[int] = []
    for index, (ids, labels) in enumerate(zip(dataset["input_ids"], dataset["labels"], strict=True)):
        learnt = sum(label != -100 for label in labels[:limit])
        cut += len(ids) > limit
        tokens += min(len(ids), limit)
        supervised += learnt
        if learnt:
            kept.append(index)
    idle = len(dataset) - len(kept)
    context.report.counts |= {
        f"{split}_rows": len(dataset),
        f"{split}_rows_cut_at_max_length": cut,
        f"{split}_rows_without_supervised_token": idle,
        f"{split}_rows_used": len(kept),
        f"{split}_tokens": tokens,
        f"{split}_supervised_tokens": supervised,
    }
    if not kept:
        raise DataError(
            f"no row of the {split} split has a supervised token within max_length {limit}: "
            "raise max_length, or look at the chat template"
        )
    if idle > config.max_unsupervised_share * len(dataset):
        raise UsageError(
            f"{idle} of {len(dataset)} rows of the {split} split have no supervised token within max_length "
            f"{limit}, more than max_unsupervised_share {config.max_unsupervised_share}: raise one of the two"
        )
    return dataset if not idle else dataset.select(kept)
