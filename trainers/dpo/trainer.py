"""TRL's DPOTrainer with cut pairs accounted for and checkpoints that prove themselves."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import trl

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib import chat, loop, rows
from .._lib import model as models
from .._lib.report import TOKEN_ACCURACY
from . import DPOConfig


class DPOTrainer(chat.ChatMixin, trl.DPOTrainer):
    """A method subclasses it and overrides TRL's hooks. Arguments as of `ChatMixin`."""

    curves = (
        TOKEN_ACCURACY,
        ("Reward accuracy", "share of pairs with chosen above rejected",
         {"train": "rewards/accuracies", "eval": "eval_rewards/accuracies"}),
        ("Reward margin", "beta * log-ratio, chosen minus rejected",
         {"train": "rewards/margins", "eval": "eval_rewards/margins"}),
    )  # fmt: skip
    final_metrics = ("eval_mean_token_accuracy", "eval_rewards/accuracies")

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        whole = copy.copy(args)
        whole.max_length = None
        pairs = super()._prepare_dataset(dataset, processing_class, whole, dataset_name)
        # What comes after would read and write the texts once more each time.
        pairs = pairs.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"])
        config, counts = self.config, self.context.report.counts
        cut, largest, longest, usable = 0, -1, 0, []
        for batch in pairs.with_format("arrow").iter(1000):
            prompts, *answers = (_spans(batch.column(name)) for name in pairs.column_names)
            left = config.max_length - prompts[1]
            usable.append(left > 0)
            cut += int((np.maximum(*(lengths for _, lengths in answers)) > left).sum())
            for ids, lengths in (prompts, *answers):  # all of a prompt that leaves room for an answer is shown
                room = prompts[1] if ids is prompts[0] else left
                shown = _within(lengths, np.where(left > 0, room, 0))
                largest = max(largest, int(ids[shown].max(initial=-1)))
            for _, lengths in answers:
                tokens = np.minimum(prompts[1] + lengths, config.max_length)[left > 0]
                longest = max(longest, int(tokens.max(initial=0)))
        rows_used = np.flatnonzero(np.concatenate(usable))
        full = len(pairs) - len(rows_used)
        counts |= {
            f"{dataset_name}_rows_cut_at_max_length": cut,
            f"{dataset_name}_rows_without_room_for_a_response": full,
        }
        if full > config.max_cut_share * len(pairs) or not len(rows_used):
            raise UsageError(
                f"in {full} of {len(pairs)} pairs of the {dataset_name} split the prompt alone "
                f"fills max_length {config.max_length}: raise max_length or max_cut_share"
            )
        counts[f"{dataset_name}_rows_used"] = len(rows_used)
        models.check_extremes(
            largest, longest, self._model_to_train, processing_class, loop.name(self.context, "model")
        )
        return pairs.select(rows_used) if full else pairs


class Pairs(rows.Encoder):
    """A pair as it is read, counted."""

    names = ("rows", "rows_with_equal_chosen_and_rejected")

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any]:
        account["sums"].update(
            {"rows": 1, "rows_with_equal_chosen_and_rejected": columns["chosen"] == columns["rejected"]}
        )
        return columns

    def check(self, sums: Mapping[str, int], split: str) -> None:
        if sums["rows"] == sums.get("rows_with_equal_chosen_and_rejected"):
            raise DataError(f"chosen and rejected are equal in every row of the {split} split")


def _spans(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """(all values, values per row) of a column of lists. [[5, 6], [], [7]]: ([5, 6, 7], [2, 0, 1])"""
    lists = column.combine_chunks()
    return lists.flatten().to_numpy(zero_copy_only=False), lists.value_lengths().to_numpy(zero_copy_only=False)


def _within(lengths: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """For every value of `_spans`, whether it is among the first so many of its row."""
    starts = np.cumsum(lengths) - lengths
    return np.asarray(np.arange(lengths.sum()) - np.repeat(starts, lengths) < np.repeat(limits, lengths))


def fit(config: DPOConfig, context: StepContext, trainer_class: type[DPOTrainer] = DPOTrainer) -> DPOTrainer:
    """One process's training; returns its trainer."""

    def form_of(columns: set[str]) -> rows.Form:
        if missing := {"chosen", "rejected"} - columns:
            raise DataError(
                f"{loop.name(context, 'dataset')} lacks `{min(missing)}`: DPO reads prompt, chosen and rejected, "
                f"its columns are {', '.join(sorted(columns))}"
            )
        return rows.Form(prompt="prompt" in columns, responses=("chosen", "rejected"))

    def arguments(_: rows.Form, **common: Any) -> trl.DPOConfig:
        return trl.DPOConfig(
            **common,
            beta=config.beta,
            loss_type=[config.loss_type],
            label_smoothing=config.label_smoothing,
            precompute_ref_log_probs=config.precompute_ref_log_probs,
        )

    trainer: DPOTrainer = chat.fit(config, context, trainer_class, arguments, form_of, Pairs)
    return trainer
