"""TRL's DPOTrainer with cut pairs accounted for and checkpoints that prove themselves."""

import copy
from typing import Any

import trl
from datasets import Dataset

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
        config, counts = self.config, self.context.report.counts
        left = [config.max_length - len(ids) for ids in pairs["prompt_ids"]]
        longest = [max(len(c), len(r)) for c, r in zip(pairs["chosen_ids"], pairs["rejected_ids"], strict=True)]
        usable = [i for i, tokens in enumerate(left) if tokens > 0]
        full = len(pairs) - len(usable)
        counts |= {
            f"{dataset_name}_rows_cut_at_max_length": sum(n > m for n, m in zip(longest, left, strict=True)),
            f"{dataset_name}_rows_without_room_for_a_response": full,
        }
        if full > config.max_cut_share * len(pairs) or not usable:
            raise UsageError(
                f"in {full} of {len(pairs)} pairs of the {dataset_name} split the prompt alone "
                f"fills max_length {config.max_length}: raise max_length or max_cut_share"
            )
        counts[f"{dataset_name}_rows_used"] = len(usable)
        pairs = pairs.select(usable) if full else pairs
        for column in ("chosen_ids", "rejected_ids"):
            ids = (a + b for a, b in zip(pairs["prompt_ids"], pairs[column], strict=True))
            models.check_sequences(
                ids, config.max_length, self._model_to_train, processing_class, loop.name(self.context, "model")
            )
        return pairs


def fit(config: DPOConfig, context: StepContext, trainer_class: type[DPOTrainer] = DPOTrainer) -> DPOTrainer:
    """One process's training; returns its trainer."""

    def form_of(columns: set[str]) -> rows.Form:
        if missing := {"chosen", "rejected"} - columns:
            raise DataError(
                f"{loop.name(context, 'dataset')} lacks `{min(missing)}`: DPO reads prompt, chosen and rejected, "
                f"its columns are {', '.join(sorted(columns))}"
            )
        return rows.Form(prompt="prompt" in columns, responses=("chosen", "rejected"))

    def select(dataset: Dataset, split: str, _: rows.Form) -> Dataset:
        same = sum(c == r for c, r in zip(dataset["chosen"], dataset["rejected"], strict=True))
        counts = {f"{split}_rows": len(dataset), f"{split}_rows_with_equal_chosen_and_rejected": same}
        context.report.counts |= counts
        if same == len(dataset):
            raise DataError(f"chosen and rejected are equal in every row of the {split} split")
        return dataset

    def arguments(_: rows.Form, **common: Any) -> trl.DPOConfig:
        return trl.DPOConfig(
            **common,
            beta=config.beta,
            loss_type=[config.loss_type],
            label_smoothing=config.label_smoothing,
            precompute_ref_log_probs=config.precompute_ref_log_probs,
        )

    trainer: DPOTrainer = chat.fit(config, context, trainer_class, arguments, form_of, select)
    return trainer
