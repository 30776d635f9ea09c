"""TRL's SFTTrainer with every row accounted for and checkpoints that prove themselves."""

import copy
from typing import Any

import numpy as np
import trl
from datasets import Dataset

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib import chat, loop, rows
from .._lib import model as models
from .._lib.config import processes_of
from .._lib.report import TOKEN_ACCURACY
from . import SFTConfig


class SFTTrainer(chat.ChatMixin, trl.SFTTrainer):
    """A method subclasses it and overrides TRL's hooks, such as `compute_loss`. Arguments as of `ChatMixin`."""

    curves = (TOKEN_ACCURACY,)
    final_metrics = ("eval_mean_token_accuracy",)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *rest: Any) -> Any:
        # Once without cutting and packing, to count; the second pass finds the rows tokenized.
        whole = copy.copy(args)
        whole.max_length, whole.shuffle_dataset = None, False
        tokenized = super()._prepare_dataset(dataset, processing_class, whole, False, *rest)
        tokenized = rows.weigh(tokenized, loop.name(self.context, "dataset"), args.dataset_num_proc)
        checked = account(tokenized, str(rest[-1]), self.config, self.context)
        models.check_extremes(
            *_extremes(checked, self.config.max_length), self._model_to_train, processing_class,
            loop.name(self.context, "model"),
        )  # fmt: skip
        # Cutting or packing would read and write the conversations once more each time.
        checked = checked.select_columns(["input_ids", "labels"])
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

    def form_of(columns: set[str]) -> rows.Form:
        whole = next((c for c in ("messages", "conversations") if c in columns), None)
        if whole is None and not {"prompt", "completion"} <= columns:
            raise DataError(
                f"{loop.name(context, 'dataset')} has neither `messages` nor `prompt` + `completion`: "
                f"its columns are {', '.join(sorted(columns))}"
            )
        marked = whole is not None and config.assistant_only_loss
        return rows.Form(whole, responses=() if whole else ("completion",), weighted=marked)

    def select(dataset: Dataset, split: str, form: rows.Form) -> Dataset:
        return _with_assistant_turn(dataset, split, context, config) if form.weighted else dataset

    def arguments(form: rows.Form, **common: Any) -> trl.SFTConfig:
        return trl.SFTConfig(
            **common,
            packing=config.packing,
            eval_packing=False,
            assistant_only_loss=form.weighted,
            completion_only_loss=config.completion_only_loss and form.messages is None,
            loss_type=config.loss_type,
        )

    trainer: SFTTrainer = chat.fit(config, context, trainer_class, arguments, form_of, select)
    return trainer


def _with_assistant_turn(dataset: Dataset, split: str, context: StepContext, config: SFTConfig) -> Dataset:
    """Leave out conversations without an assistant turn: TRL would stop at the first of them."""
    spoken = dataset.filter(
        lambda turns: any(turn["role"] == "assistant" for turn in turns),
        input_columns="messages",
        num_proc=processes_of(config),
    )
    context.report.counts[f"{split}_rows_without_assistant_turn"] = len(dataset) - len(spoken)
    if not len(spoken):
        raise DataError(f"no row of the {split} split has an assistant turn: nothing to learn from")
    return spoken


def _extremes(dataset: Dataset, limit: int) -> tuple[int, int]:
    """The largest token id, and the number of tokens of the longest row, within the first `limit` of every row."""
    largest, longest = -1, 0
    for ids, lengths in rows.spans(dataset, "input_ids"):
        largest = max(largest, int(ids[rows.within(lengths, limit)].max(initial=-1)))
        longest = max(longest, int(np.minimum(lengths, limit).max(initial=0)))
    return largest, longest


def account(dataset: Dataset, split: str, config: SFTConfig, context: StepContext) -> Dataset:
    """Count cut and unsupervised rows of a tokenized split, and leave out the latter.

    Args:
        dataset: columns `input_ids` and `labels`, each a list of token ids; -100 marks unsupervised tokens.
    """
    limit = config.max_length
    cut = tokens = supervised = first = 0
    usable: list[int] = []
    for labels, lengths in rows.spans(dataset, "labels"):  # as many as input_ids
        learnt = (labels != -100) & rows.within(lengths, limit)
        row_of = np.repeat(np.arange(len(lengths)), lengths)
        cut += int((lengths > limit).sum())
        tokens += int(np.minimum(lengths, limit).sum())
        supervised += int(learnt.sum())
        usable += (first + np.unique(row_of[learnt])).tolist()
        first += len(lengths)
    idle = len(dataset) - len(usable)
    context.report.counts |= {
        f"{split}_rows": len(dataset),
        f"{split}_rows_cut_at_max_length": cut,
        f"{split}_rows_without_supervised_token": idle,
        f"{split}_rows_used": len(usable),
        f"{split}_tokens": tokens,
        f"{split}_supervised_tokens": supervised,
    }
    if not usable:
        raise DataError(
            f"no row of the {split} split has a supervised token within max_length {limit}: "
            "raise max_length, or look at the chat template"
        )
    if idle > config.max_unsupervised_share * len(dataset):
        raise UsageError(
            f"{idle} of {len(dataset)} rows of the {split} split have no supervised token within max_length "
            f"{limit}, more than max_unsupervised_share {config.max_unsupervised_share}: raise one of the two"
        )
    return dataset if not idle else dataset.select(usable)
