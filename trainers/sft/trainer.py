"""TRL's SFTTrainer with every row accounted for and checkpoints that prove themselves."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import trl
from datasets import List, Value
from trl.chat_template_utils import is_chat_template_stop_token_trained

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib import chat, loop, rows
from .._lib.arguments import build
from .._lib.report import TOKEN_ACCURACY, Curve
from . import SFTConfig, conversation_column

UNSCORED = -100


class SFTTrainer(chat.ChatMixin, trl.SFTTrainer):
    """A method subclasses it and overrides TRL's hooks, such as `compute_loss`. Arguments as of `ChatMixin`."""

    curves: tuple[Curve, ...] = (TOKEN_ACCURACY,)
    final_metrics: tuple[str, ...] = ("eval_mean_token_accuracy",)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        # Without Triton TRL's fused head projects every position to the vocabulary, and twice. On CPU we project
        # once, and only positions that some row of the batch is supervised at: the same loss, 1.6 times faster.
        plain = self.config.loss_type == "nll" and not return_outputs and not self.aux_loss_enabled
        plain = plain and self.label_smoother is None
        if self.accelerator.device.type != "cpu" or not plain:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loop.loss_of_supervised(self, model, inputs, num_items_in_batch)


class Tokens(rows.Encoder):
    """Tokens of a row and their labels, as TRL's preparation gives them, cut at `max_length`; a row without a
    supervised token is left out."""

    names: tuple[str, ...] = ("rows", "rows_cut_at_max_length", "rows_without_supervised_token", "rows_used", "tokens",
                              "supervised_tokens")  # fmt: skip

    def __init__(self, reader: rows.Reader) -> None:
        super().__init__(reader)
        self.features = {"input_ids": List(Value("int32")), "labels": List(Value("int32"))}
        self.config = config = cast(SFTConfig, reader.config)
        self.key = config.max_length, config.completion_only_loss
        if not reader.form.weighted:
            return
        self.names = ("rows_without_assistant_turn", *self.names)
        if not is_chat_template_stop_token_trained(reader.tokenizer, chat_template=reader.template):
            loop.logger.warning(
                "the chat template leaves the end of assistant turns out of what is learnt: set chat_template: "
                "chatml_tools, or assistant_only_loss: false"
            )

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any] | None:
        sums, most, limit = account["sums"], account["most"], self.config.max_length
        if self.reader.form.weighted and not _answers(columns["messages"]):
            sums["rows_without_assistant_turn"] += 1
            return None
        ids, learnt = self._tokens(columns, sums)
        labels = [i if is_learnt else UNSCORED for i, is_learnt in zip(ids, learnt, strict=True)]
        if columns["unlearnt"]:
            labels = without_turns(labels, columns["unlearnt"], _answers(columns["messages"]), self.reader.source_name)
        cut, labels = ids[:limit], labels[:limit]
        supervised = len(labels) - labels.count(UNSCORED)
        sums.update({
            "rows": 1, "rows_cut_at_max_length": len(ids) > limit, "rows_without_supervised_token": not supervised,
            "rows_used": bool(supervised), "tokens": len(cut), "supervised_tokens": supervised,
        })  # fmt: skip
        if not supervised:
            return None
        most["id"], most["length"] = max(most.get("id", -1), max(cut)), max(most.get("length", 0), len(cut))
        return {"input_ids": cut, "labels": labels}

    def _tokens(self, columns: Mapping[str, Any], sums: Any) -> tuple[list[int], Sequence[int]]:
        """All tokens of a row, and for each 1 if it is supervised."""
        reader = self.reader
        if reader.form.messages:
            options = {"return_assistant_tokens_mask": True} if reader.form.weighted else {}
            encoded = reader.tokens(columns["messages"], columns["tools"], **options)
            return encoded["input_ids"], encoded.get("assistant_masks", [1] * len(encoded["input_ids"]))
        start, [ids] = reader.continued(columns, sums)
        return ids, [int(not self.config.completion_only_loss)] * start + [1] * (len(ids) - start)

    def check(self, sums: Mapping[str, int], split: str) -> None:
        total, limit = sums.get("rows", 0), self.config.max_length
        idle, share = sums.get("rows_without_supervised_token", 0), self.config.max_unsupervised_share
        if not total:
            raise DataError(f"no row of the {split} split has an assistant turn: nothing to learn from")
        if idle == total:
            raise DataError(
                f"no row of the {split} split has a supervised token within max_length {limit}: "
                "raise max_length, or look at the chat template"
            )
        if idle > share * total:
            raise UsageError(
                f"{idle} of {total} rows of the {split} split have no supervised token within max_length "
                f"{limit}, more than max_unsupervised_share {share}: raise one of the two"
            )


def fit(config: SFTConfig, context: StepContext, trainer_class: type[SFTTrainer] = SFTTrainer) -> SFTTrainer:
    """One process's training; returns its trainer."""

    def form_of(columns: set[str]) -> rows.Form:
        whole = conversation_column(columns, loop.name(context, "dataset"))
        marked = whole is not None and config.assistant_only_loss
        return rows.Form(whole, responses=() if whole else ("completion",), weighted=marked)

    def arguments(_: rows.Form, **common: Any) -> Any:
        # Rows come with tokens and labels: what is supervised is decided, and they are cut.
        common |= {
            "packing": config.packing,
            "eval_packing": False,
            "loss_type": config.loss_type,
            "dataset_kwargs": {"skip_prepare_dataset": True},
        }
        if config.trainer_args.get("padding_free") and not config.packing:
            common["max_length"] = None
        return build(config, trl.SFTConfig, common)

    trainer: SFTTrainer = chat.fit(
        config, context, trainer_class, arguments, form_of, Tokens, data_class=trainer_class
    )
    return trainer


def _answers(turns: list[dict[str, Any]]) -> int:
    return sum(turn["role"] == "assistant" for turn in turns)


def without_turns(labels: list[int], unlearnt: Sequence[int], turns: int, source_name: str) -> list[int]:
    """Labels without the assistant turns of weight 0.

    Args:
        labels: each assistant turn is one run, apart from the next by the tokens that open a turn.
        unlearnt: numbers of the turns that are not learnt.
        turns: assistant turns of the row.

    Raises DataError if the template marks other runs than the assistant's turns.
    """
    learnt = [False, *(label != UNSCORED for label in labels), False]
    edges = [place for place, (before, now) in enumerate(pairwise(learnt)) if before != now]
    runs = list(zip(edges[::2], edges[1::2], strict=True))
    if len(runs) != turns:
        raise DataError(
            f"{source_name}: a row has {turns} assistant turns, of which some have weight 0, and the chat "
            f"template marks {len(runs)} stretches as the assistant's: set chat_template: chatml_tools, or drop "
            "the weights"
        )
    labels = list(labels)
    for number in unlearnt:
        first, stop = runs[number]
        labels[first:stop] = [UNSCORED] * (stop - first)
    return labels
