"""TRL's DPOTrainer with cut pairs accounted for and checkpoints that prove themselves."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import trl
from datasets import List, Value
from trl.trainer.dpo_trainer import DataCollatorForPreference

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib import chat, loop, rows
from .._lib import model as models
from .._lib.arguments import build
from .._lib.report import TOKEN_ACCURACY, Curve
from . import DPOConfig, check_columns

MASKS = ("chosen_mask", "rejected_mask")
"""Columns of a row: 1 for each token of the response that is learnt."""


class DPOTrainer(chat.ChatMixin, trl.DPOTrainer):
    """A method subclasses it and overrides TRL's hooks. Arguments as of `ChatMixin`."""

    curves: tuple[Curve, ...] = (
        TOKEN_ACCURACY,
        ("Reward accuracy", "share of pairs with chosen above rejected",
         {"train": "rewards/accuracies", "eval": "eval_rewards/accuracies"}),
        ("Reward margin", "beta * log-ratio, chosen minus rejected",
         {"train": "rewards/margins", "eval": "eval_rewards/margins"}),
    )  # fmt: skip
    final_metrics = ("eval_mean_token_accuracy", "eval_rewards/accuracies")

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = dict.fromkeys([*(self._signature_columns or ()), *MASKS])
        self._signature_columns = cast(Any, list(columns))

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # it comes with tokens


class MaskedCollator(DataCollatorForPreference):
    """TRL's collator, with turns of others left out of the completions."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super().torch_call(examples)
        masks = [example[name] for name in MASKS for example in examples]
        starts = [len(example["prompt_ids"]) for _ in MASKS for example in examples]
        for row, start, mask in zip(output["completion_mask"], starts, masks, strict=True):
            part = row[start : start + len(mask)]
            part *= part.new_tensor(mask[: len(part)])
        return output


class Pairs(rows.Encoder):
    """Tokens of a pair, as TRL's preparation gives them; a pair whose prompt fills `max_length` is left out."""

    features = dict.fromkeys(("prompt_ids", "chosen_ids", "rejected_ids"), List(Value("int32")))
    names: tuple[str, ...] = ("rows", "rows_with_equal_chosen_and_rejected", "rows_cut_at_max_length",
             "rows_without_room_for_a_response", "rows_used")  # fmt: skip

    def __init__(self, reader: rows.Reader) -> None:
        super().__init__(reader)
        self.config = cast(DPOConfig, reader.config)
        self.key = self.config.max_length, reader.form.others
        if reader.form.others:
            if reader.plain:
                raise UsageError("assistant_only_loss: the rows are text, which has no turns to tell apart: drop it")
            self.features = self.features | dict.fromkeys(MASKS, List(Value("int8")))

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any] | None:
        sums, most, limit = account["sums"], account["most"], self.config.max_length
        start, pair = self.reader.continued(columns, sums)
        tokens = max(map(len, pair))
        sums.update({
            "rows": 1, "rows_with_equal_chosen_and_rejected": columns["chosen"] == columns["rejected"],
            "rows_cut_at_max_length": tokens > limit, "rows_without_room_for_a_response": start >= limit,
            "rows_used": start < limit,
        })  # fmt: skip
        if start >= limit:
            return None
        most["id"] = max(most.get("id", -1), *(max(ids[:limit]) for ids in pair))
        most["length"] = max(most.get("length", 0), min(tokens, limit))
        chosen, rejected = pair
        row = {"prompt_ids": chosen[:start], "chosen_ids": chosen[start:], "rejected_ids": rejected[start:]}
        return row | (self._masks(columns, start) if self.reader.form.others else {})

    def _masks(self, columns: dict[str, Any], start: int) -> dict[str, list[int]]:
        """Which tokens of the responses are the assistant's."""
        options: dict[str, Any] = {"return_assistant_tokens_mask": True}
        texts = [columns["prompt"] + columns[name] for name in self.reader.form.responses]
        encoded = [self.reader.tokens(text, columns["tools"], **options)["assistant_masks"] for text in texts]
        return {name: mask[start:] for name, mask in zip(MASKS, encoded, strict=True)}

    def check(self, sums: Mapping[str, int], split: str) -> None:
        total, full = sums["rows"], sums.get("rows_without_room_for_a_response", 0)
        if total == sums.get("rows_with_equal_chosen_and_rejected"):
            raise DataError(f"chosen and rejected are equal in every row of the {split} split")
        if full > self.config.max_cut_share * total or full == total:
            raise UsageError(
                f"in {full} of {total} pairs of the {split} split the prompt alone "
                f"fills max_length {self.config.max_length}: raise max_length or max_cut_share"
            )


def fit(
    config: DPOConfig, context: StepContext, trainer_class: type[DPOTrainer] = DPOTrainer,
    encoder_class: type[Pairs] = Pairs,
) -> DPOTrainer:  # fmt: skip
    """One process's training; returns its trainer."""

    def form_of(columns: set[str]) -> rows.Form:
        check_columns(columns, loop.name(context, "dataset"))
        return rows.Form(
            prompt="prompt" in columns, responses=("chosen", "rejected"), others=config.assistant_only_loss
        )

    def arguments(_: rows.Form, **common: Any) -> Any:
        own = config.model_dump(include={"beta", "label_smoothing", "precompute_ref_log_probs"})
        own["loss_type"] = [config.loss_type, "sft"] if config.sft_weight else [config.loss_type]
        own["loss_weights"] = [1.0, config.sft_weight] if config.sft_weight else None
        return build(config, trl.DPOConfig, common | own)

    options: dict[str, Any] = {"ref_model": reference(config, context)}
    if config.assistant_only_loss:
        tokenizer = models.read_tokenizer(context)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        options["data_collator"] = MaskedCollator(pad, config.max_length)
    make = partial(trainer_class, **options)
    trainer: DPOTrainer = chat.fit(config, context, make, arguments, form_of, encoder_class)
    return trainer


def reference(config: DPOConfig, context: StepContext) -> Any:
    """The model of the input `reference`; None without one: the policy at the start. Raises DataError if its tokens
    are not the policy's."""
    if "reference" not in context.inputs:
        return None
    vocabularies = [models.read_tokenizer(context, role).get_vocab() for role in ("model", "reference")]
    if vocabularies[0] != vocabularies[1]:
        raise DataError(
            f"{loop.name(context, 'reference')} has another vocabulary than {loop.name(context, 'model')}: their "
            "log-probabilities cannot be compared; take a reference of the same family"
        )
    return models.read_model(config, context, "reference")
