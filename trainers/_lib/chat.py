"""What SFT and DPO have in common: one process's training of a chat model by one of TRL's trainers."""

from collections.abc import Callable
from typing import Any

from datasets import Dataset

from ...hub_sync.context import StepContext
from . import loop, rows, templates
from . import model as models
from .config import TrainingConfig, processes_of


class ChatMixin(loop.CheckpointMixin):
    """Mixed into a trainer of TRL's, whose hooks a method overrides.

    Args:
        config: the step's settings.
        context: its report gets the counts of the rows.
        options: of TRL's trainer, by name.
    """

    def __init__(self, config: Any, context: StepContext, **options: Any) -> None:
        self.config, self.context = config, context
        self._model_to_train = options["model"]  # rows are checked against it before TRL has stored it
        super().__init__(**options)


def fit(
    config: TrainingConfig, context: StepContext, trainer_class: Callable[..., Any], arguments: Callable[..., Any],
    form_of: Callable[[set[str]], rows.Form], select: Callable[[Dataset, str, rows.Form], Dataset],
) -> Any:  # fmt: skip
    """One process's training; returns its trainer.

    Args:
        trainer_class: made of `ChatMixin` and a trainer of TRL's.
        arguments: (form, what all trainers take, by name) -> the trainer's `args`.
        form_of: columns of the train split -> which of them hold what; raises DataError if they do not fit.
        select: (usable rows, name of the split, form) -> those to train on, the others counted.
    """
    models.check(config, context)
    splits = loop.load_splits(config, context)
    columns = set(splits["train"].column_names)
    form = form_of(columns)
    source_name = loop.name(context, "model")
    tokenizer = models.load_tokenizer(config, context)
    template = templates.choose(tokenizer, source_name, tools="tools" in columns)
    splits = rows.prepare(splits, form, tokenizer, config, context)
    splits = {split: select(dataset, split, form) for split, dataset in splits.items()}
    model = models.read_model(config, context)
    models.stop_at_end_of_turn(model, tokenizer, config)
    common = loop.training_arguments(config, context, "eval" in splits)
    common |= {"max_length": config.max_length, "dataset_num_proc": processes_of(config)}
    args = arguments(form, **common)
    if getattr(args, "packing", False):
        models.check_isolation(model, source_name)
    trainer = trainer_class(
        config,
        context,
        model=model,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits.get("eval"),
        processing_class=tokenizer,
        peft_config=models.peft_config(config, model, source_name),
    )
    tokenizer.chat_template = template
    loop.fit(trainer, config, context)
    return trainer
