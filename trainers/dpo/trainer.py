"""TRL's DPOTrainer with cut pairs accounted for and checkpoints that prove themselves."""

from __future__ import annotations

import copy
from typing import Any

import trl

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib import loop, rows, templates
from .._lib import model as models
from .._lib.report import TOKEN_ACCURACY
from . import DPOConfig


class DPOTrainer(loop.CheckpointMixin, trl.DPOTrainer):
    """A method subclasses it and overrides TRL's hooks.

    Args:
        config: the step's settings.
        context: its report gets the counts of the pairs.
        options: of `trl.DPOTrainer`, by name.
    """

    curves = (
        TOKEN_ACCURACY,
        (
            "Reward accuracy",
            "share of pairs with chosen above rejected",
            {"train": "rewards/accuracies", "eval": "eval_rewards/accuracies"},
        ),
        (
            "Reward margin",
            "beta * log-ratio, chosen minus rejected",
            {"train": "rewards/margins", "eval": "eval_rewards/margins"},
        ),
    )
    final_metrics = ("eval_mean_token_accuracy", "eval_rewards/accuracies")

    def __init__(self, config: DPOConfig, context: StepContext, **options: Any) -> None:
        self.config, self.context = config, context
        self._model_to_train = options["model"]  # pairs are checked against it before TRL has stored it
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        whole = copy.copy(args)
        whole.max_length = None
        pairs = super()._prepare_dataset(dataset, processing_class, whole, dataset_name)
        config, counts = self.config, self.context.report.counts
        left = [config.max_length - len(ids) for ids in pairs["prompt_ids"]]
        longest = [max(len(c), len(r)) for c, r in zip(pairs["chosen_ids"], pairs["rejected_ids"], strict=True)]
        kept = [i for i, tokens in enumerate(left) if tokens > 0]
        counts |= {
            f"{dataset_name}_rows_cut_at_max_length": sum(n > m for n, m in zip(longest, left, strict=True)),
            f"{dataset_name}_rows_without_room_for_a_response": len(pairs) - len(kept),
        }
        if len(pairs) - len(kept) > config.max_cut_share * len(pairs) or not kept:
            raise UsageError(
                f"in {len(pairs) - len(kept)} of {len(pairs)} pairs of the {dataset_name} split the prompt alone "
                f"fills max_length {config.max_length}: raise max_length or max_cut_share"
            )
        counts[f"{dataset_name}_rows_used"] = len(kept)
        pairs = pairs if len(kept) == len(pairs) else pairs.select(kept)
        for column in ("chosen_ids", "rejected_ids"):
            ids = (a + b for a, b in zip(pairs["prompt_ids"], pairs[column], strict=True))
            models.check_sequences(
                ids, config.max_length, self._model_to_train, processing_class, loop.name(self.context, "model")
            )
        return pairs


def fit(config: DPOConfig, context: StepContext, trainer_class: type[DPOTrainer] = DPOTrainer) -> DPOTrainer:
    """One process's training; returns its trainer."""
    models.check(config, context)
    splits = loop.load_splits(config, context)
    columns = set(splits["train"].column_names)
    missing = {"chosen", "rejected"} - columns
    if missing:
        raise DataError(
            f"{loop.name(context, 'dataset')} lacks `{min(missing)}`: DPO reads prompt, chosen and rejected, "
            f"its columns are {', '.join(sorted(columns))}"
        )
    source_name = loop.name(context, "model")
    tokenizer = models.load_tokenizer(config, context)
    template = templates.choose(tokenizer, source_name, tools="tools" in columns)
    form = rows.Form(prompt="prompt" in columns, responses=("chosen", "rejected"))
    splits = rows.prepare(splits, form, tokenizer, config, context)
    for split, dataset in splits.items():
        same = sum(c == r for c, r in zip(dataset["chosen"], dataset["rejected"], strict=True))
        context.report.counts |= {
            f"{split}_rows": len(dataset),
            f"{split}_rows_with_equal_chosen_and_rejected": same,
        }
        if same == len(dataset):
            raise DataError(f"chosen and rejected are equal in every row of the {split} split")
    model = models.read_model(config, context)
    models.stop_at_end_of_turn(model, tokenizer, config)
    trainer = trainer_class(
        config,
        context,
        model=model,
        args=trl.DPOConfig(
            **loop.training_arguments(config, context, "eval" in splits),
            max_length=config.max_length,
            beta=config.beta,
            loss_type=[config.loss_type],
            label_smoothing=config.label_smoothing,
            precompute_ref_log_probs=config.precompute_ref_log_probs,
        ),
        train_dataset=splits["train"],
        eval_dataset=splits.get("eval"),
        processing_class=tokenizer,
        peft_config=models.peft_config(config, model, source_name),
    )
    tokenizer.chat_template = template
    loop.fit(trainer, config, context)
    return trainer
