"""TRL's SFTTrainer with every row accounted for and checkpoints that prove themselves."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import trl

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib import loop, rows, templates
from .._lib import model as models
from .._lib.report import TOKEN_ACCURACY
from . import SFTConfig

if TYPE_CHECKING:
    from datasets import Dataset


class SFTTrainer(loop.CheckpointMixin, trl.SFTTrainer):
    """A method subclasses it and overrides TRL's hooks, such as `compute_loss`.

    Args:
        config: the step's settings.
        context: its report gets the counts of the rows.
        options: of `trl.SFTTrainer`, by name.
    """

    curves = (TOKEN_ACCURACY,)
    final_metrics = ("eval_mean_token_accuracy",)

    def __init__(self, config: SFTConfig, context: StepContext, **options: Any) -> None:
        self.config, self.context = config, context
        self._model_to_train = options["model"]  # rows are checked against it before TRL has stored it
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *rest: Any) -> Any:
        # Once without cutting and packing, to count; the second pass finds the rows tokenized.
        whole = copy.copy(args)
        whole.max_length, whole.shuffle_dataset = None, False
        tokenized = super()._prepare_dataset(dataset, processing_class, whole, False, *rest)
        tokenized = rows.weigh(tokenized, loop.name(self.context, "dataset"))
        checked = account(tokenized, str(rest[-1]), self.config, self.context)
        models.check_sequences(
            checked["input_ids"], self.config.max_length, self._model_to_train, processing_class,
            loop.name(self.context, "model"),
        )  # fmt: skip
        return super()._prepare_dataset(checked, processing_class, args, packing, *rest)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        # Without Triton TRL's fused head projects every position to the vocabulary, and twice. On CPU we project
        # once, and only positions that some row of the batch is supervised at: the same loss, 1.6 times faster.
        plain = self.config.loss_type == "nll" and not return_outputs and not self.aux_loss_enabled
        if self.accelerator.device.type != "cpu" or not plain:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loop.loss_of_supervised(self, model, inputs, num_items_in_batch)


def fit(config: SFTConfig, context: StepContext, trainer_class: type[SFTTrainer] = SFTTrainer) -> SFTTrainer:
    """One process's training; returns its trainer."""
    models.check(config, context)
    splits = loop.load_splits(config, context)
    columns = set(splits["train"].column_names)
    whole = next((c for c in ("messages", "conversations") if c in columns), None)
    if whole is None and not {"prompt", "completion"} <= columns:
        raise DataError(
            f"{loop.name(context, 'dataset')} has neither `messages` nor `prompt` + `completion`: "
            f"its columns are {', '.join(sorted(columns))}"
        )
    source_name = loop.name(context, "model")
    tokenizer = models.load_tokenizer(config, context)
    template = templates.choose(tokenizer, source_name, tools="tools" in columns)
    marked = whole is not None and config.assistant_only_loss
    form = rows.Form(whole, responses=() if whole else ("completion",), weighted=marked)
    splits = rows.prepare(splits, form, tokenizer, config, context)
    if marked:
        splits = {k: _with_assistant_turn(d, k, context) for k, d in splits.items()}
    model = models.read_model(config, context)
    models.stop_at_end_of_turn(model, tokenizer, config)
    if config.packing:
        models.check_isolation(model, source_name)
    trainer = trainer_class(
        config,
        context,
        model=model,
        args=trl.SFTConfig(
            **loop.training_arguments(config, context, "eval" in splits),
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
        peft_config=models.peft_config(config, model, source_name),
    )
    tokenizer.chat_template = template
    loop.fit(trainer, config, context)
    return trainer


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


def account(dataset: Dataset, split: str, config: SFTConfig, context: StepContext) -> Dataset:
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
