"""What SFT and DPO have in common: one process's training of a chat model by one of TRL's trainers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value

from ...hub_sync.context import StepContext
from . import loop, rows, stream, templates
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
        super().__init__(**options)


def fit(
    config: TrainingConfig, context: StepContext, trainer_class: Callable[..., Any], arguments: Callable[..., Any],
    form_of: Callable[[set[str]], rows.Form], encoder_of: Callable[[rows.Reader], rows.Encoder],
    reader_class: type[rows.Reader] = rows.Reader, data_class: type[loop.CheckpointMixin] = ChatMixin,
) -> Any:  # fmt: skip
    """One process's training; returns its trainer.

    Args:
        trainer_class: made of `ChatMixin` and a trainer of TRL's.
        arguments: (form, what all trainers take, by name) -> the trainer's `args`.
        form_of: columns of the train split -> which of them hold what; raises DataError if they do not fit.
        encoder_of: what makes of a usable row one to train on, the others counted.
        data_class: loads the splits and joins what is made of them.
    """
    models.check(config, context)
    streaming, packing = getattr(config, "streaming", False), getattr(config, "packing", False)
    splits = reader_class.unfold(data_class.load_splits(config, context), config, context)
    train = next(iter(splits.values()))
    columns = set(train.column_names)
    form = form_of(columns)
    source_name = loop.name(context, "model")
    tokenizer = models.load_tokenizer(config, context)
    template = templates.choose(tokenizer, source_name, tools="tools" in columns)
    encoder = encoder_of(reader_class(train, form, tokenizer, config, context))
    common = loop.training_arguments(config, context, "eval" in splits)
    common |= {"max_length": config.max_length, "dataset_num_proc": processes_of(config)}
    args = arguments(form, **common)
    accounts = []
    # One process prepares the rows; the others find them cached.
    with args.main_process_first(local=False):
        for split in [split for split in splits if not streaming or split != "train"]:
            splits[split], account = rows.prepare(splits[split], split, encoder, context)
            accounts.append(account)
        if packing and not streaming:
            splits |= {role: _packed(split, config) for role, split in splits.items() if role.startswith("train")}
    model = models.read_model(config, context)

    def check_model(account: rows.Account) -> None:
        most = account["most"]
        if most:
            models.check_extremes(most["id"], most["length"], model, tokenizer, source_name)

    for account in accounts:
        check_model(account)
    if config.chat_template == "chatml_tools":  # its end of turn is the tokenizer's eos token: the model stops there
        model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    if packing or config.trainer_args.get("padding_free"):
        models.check_isolation(model, source_name)
    if streaming:
        splits["train"] = _pass(train, encoder, config, 0)
    splits = data_class.join(splits)
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

    def count(total: rows.Account | None, account: rows.Account) -> rows.Account:
        total = rows.added(total or rows.NOTHING, account)
        rows.check(total, "train", encoder)
        check_model(account)
        return total

    if streaming:
        stream.follow(
            trainer, lambda ahead: stream.PackedStream(lambda turn: _pass(train, encoder, config, turn), ahead, count)
        )
    loop.fit(trainer, config, context)
    if streaming and trainer.accelerator.is_main_process:
        place = trainer.place()
        context.report.counts |= rows.counts_of(place["account"], "train", encoder)
        context.report.counts["train_sequences_trained_on"] = place["row"]
    return trainer


def _packed(dataset: Dataset, config: Any) -> Dataset:
    from trl import pack_dataset

    return pack_dataset(dataset, config.max_length)


def _pass(dataset: Any, encoder: rows.Encoder, config: Any, turn: int) -> Any:
    """The rows of one pass over a stream, packed and shuffled within blocks of rows. Which way follows from the seed,
    the pass and the block alone."""
    seed, block = stream.seed_of(config), stream.block_of(config)

    def finish(encoded: dict[str, list[Any]], number: int) -> dict[str, list[Any]]:
        if config.packing:
            encoded = _packed(Dataset.from_dict(encoded, Features(encoder.features)), config)[:]
        order = np.random.default_rng([seed, turn, number]).permutation(len(encoded["input_ids"]))
        return encoded if block == 1 else {name: [values[i] for i in order] for name, values in encoded.items()}

    more = {"seq_lengths": List(Value("int32"))} if config.packing else {}
    return rows.mapped(dataset, encoder, more, finish, batch_size=rows.BLOCK if block == 1 else block)
