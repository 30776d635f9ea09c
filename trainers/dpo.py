"""Direct Preference Optimization (Rafailov et al., arXiv:2305.18290) on TRL's DPOTrainer.

With policy pi, reference pi_ref (the model as it came in), chosen y_w and rejected y_l, equation 7 of the paper:

    L = -log sigmoid( beta * [ log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x) ] )

pi_ref never changes, so its log-probabilities are computed once, before the first step: the losses are the same and
the reference model need not stay in memory. TRL switches dropout layers off for DPO, but not a model's
`attention_dropout`, which acts on the policy only; the models in use have none.

Data: `prompt`, `chosen`, `rejected` (+ `tools`), as text or turns. A prompt that the responses repeat is taken out of
them; without a column `prompt` it is what the responses have in common.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..hub_sync.context import StepContext
from ..hub_sync.errors import DataError, UsageError
from ._lib.config import LoraSettings, TrainingConfig

__all__ = ["DPOConfig", "LoraSettings", "train"]


class DPOConfig(TrainingConfig):
    """Settings of DPO; names as in `trl.DPOConfig`."""

    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate (the paper's, 6.2).")
    beta: float = Field(0.1, gt=0, description="Strength of the pull to the reference (TRL's).")
    loss_type: Literal["sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "apo_zero", "apo_down"] = Field(
        "sigmoid", description="Loss on the reward margin; sigmoid is the paper's."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of pairs taken to be labelled the wrong way round."
    )
    precompute_ref_log_probs: bool = Field(
        True, description="Reference log-probabilities once, before training (TRL: false)."
    )
    max_cut_share: float = Field(
        0.05, ge=0, le=1,
        description="Refuse where more of the pairs than this have a prompt that fills max_length; "
        "fewer are left out and counted. Our choice.",
    )  # fmt: skip


def train(config: DPOConfig, context: StepContext) -> None:
    """Align `context.inputs["model"]` with the preferences of `context.inputs["dataset"]`.

    Checkpoints go to `context.workdir/checkpoints`; the model (safetensors) and its tokenizer to `context.output`;
    losses, rewards and counts to `context.report`.

    Raises UsageError (settings that do not fit model or data), DataError (columns or pairs that cannot be used).
    """
    from ._lib import loop as _loop

    _loop.run(_fit, config, context)


def _fit(config: DPOConfig, context: StepContext) -> None:
    """One process's training. Only ever called through `_loop.run`."""
    import trl

    from ._lib import loop as _loop
    from ._lib import model as _model
    from ._lib import rows as _rows
    from ._lib import templates as _templates

    _model.check(config, context)
    splits = _loop.load_splits(config, context)
    columns = set(splits["train"].column_names)
    missing = {"chosen", "rejected"} - columns
    if missing:
        raise DataError(
            f"{_loop.name(context, 'dataset')} lacks `{min(missing)}`: DPO reads prompt, chosen and rejected, "
            f"its columns are {', '.join(sorted(columns))}"
        )
    cited = _loop.name(context, "model")
    tokenizer = _model.load_tokenizer(config, context)
    template = _templates.choose(tokenizer, cited, tools="tools" in columns)
    form = _rows.Form(prompt="prompt" in columns, responses=("chosen", "rejected"))
    splits = _rows.prepare(splits, form, tokenizer, config, context)
    for split, dataset in splits.items():
        same = sum(c == r for c, r in zip(dataset["chosen"], dataset["rejected"], strict=True))
        context.report.counts |= {
            f"{split}_rows": len(dataset),
            f"{split}_rows_with_equal_chosen_and_rejected": same,
        }
        if same == len(dataset):
            raise DataError(f"chosen and rejected are equal in every row of the {split} split")
    model = _model.read_model(config, context)
    _model.stop_at_end_of_turn(model, tokenizer, config)
    adapter = _model.peft_config(config, model, cited)

    class DPOTrainer(_loop.SafeCheckpoints, trl.DPOTrainer):
        """TRL's trainer with cut pairs accounted for and checkpoints that prove themselves."""

        def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
            import copy

            whole = copy.copy(args)
            whole.max_length = None
            pairs = super()._prepare_dataset(dataset, processing_class, whole, dataset_name)
            room = [config.max_length - len(ids) for ids in pairs["prompt_ids"]]
            longest = [max(len(c), len(r)) for c, r in zip(pairs["chosen_ids"], pairs["rejected_ids"], strict=True)]
            kept = [i for i, left in enumerate(room) if left > 0]
            context.report.counts |= {
                f"{dataset_name}_rows_cut_at_max_length": sum(n > left for n, left in zip(longest, room, strict=True)),
                f"{dataset_name}_rows_without_room_for_a_response": len(pairs) - len(kept),
            }
            if len(pairs) - len(kept) > config.max_cut_share * len(pairs) or not kept:
                raise UsageError(
                    f"in {len(pairs) - len(kept)} of {len(pairs)} pairs of the {dataset_name} split the prompt alone "
                    f"fills max_length {config.max_length}: raise max_length or max_cut_share"
                )
            context.report.counts[f"{dataset_name}_rows_used"] = len(kept)
            pairs = pairs if len(kept) == len(pairs) else pairs.select(kept)
            for column in ("chosen_ids", "rejected_ids"):
                ids = (a + b for a, b in zip(pairs["prompt_ids"], pairs[column], strict=True))
                _model.check_sequences(ids, config.max_length, model, tokenizer, cited)
            return pairs

    trainer = DPOTrainer(
        model=model,
        args=trl.DPOConfig(
            **_loop.training_arguments(config, context, "eval" in splits),
            max_length=config.max_length,
            beta=config.beta,
            loss_type=[config.loss_type],
            label_smoothing=config.label_smoothing,
            precompute_ref_log_probs=config.precompute_ref_log_probs,
        ),
        train_dataset=splits["train"],
        eval_dataset=splits.get("eval"),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    tokenizer.chat_template = template
    _loop.fit(trainer, config, context)
