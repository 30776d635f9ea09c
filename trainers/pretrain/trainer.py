"""The training itself: transformers' Trainer, with aligned labels, exact evaluation and a stream that resumes."""

import logging
import math
import resource
import sys
import time
from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any

import pyarrow.compute as pc
import torch
import transformers
from datasets import Dataset
from datasets.fingerprint import Hasher

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...inference.loading import check_ids
from .. import architectures
from .._lib import callbacks as _callbacks
from .._lib import loop as _loop
from .._lib import measure as _measure
from .._lib import model as _model
from .._lib import stream as _stream
from .._lib.arguments import build
from . import data, tokenizer
from .config import PretrainConfig
from .model import architecture_table, check, check_labels
from .model import load as load_model

GIB = 1 << 30


class _Trainer(transformers.Trainer):
    """What a trainer of `CheckpointMixin` stands on."""

    model: Any
    eval_dataset: Any
    data_collator: Any
    no_decay: tuple[str, ...] = ()
    rate_factors: Mapping[str, float] = MappingProxyType({})
    _measured: tuple[int, dict[str, float]] = (-1, {})

    @property
    def _total_train_tokens(self) -> int:
        """Tokens trained on since the very beginning, over all processes; a checkpoint keeps them."""
        return self.state.num_input_tokens_seen

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The batches of one optimiser step; counts their tokens."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        tokens = sum(batch.pop("tokens").sum() for batch in batches)
        if batches:
            self.state.num_input_tokens_seen += int(self.accelerator.reduce(tokens, "sum").item())
        return batches, items

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss: mean over the scored tokens of the whole optimiser step, all processes included."""
        # With a cache transformers would take the batch for a continuation, and not look for packed documents.
        return super().compute_loss(model, inputs | {"use_cache": False}, return_outputs, num_items_in_batch)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss in nats per scored token, as a mean over all tokens of the split, with perplexity and accuracy.

        Every row counts once, whatever the number of processes; all of them run equally many batches, as sharded
        models need.
        """
        step = self.state.global_step
        if eval_dataset is None and self._measured[0] == step:
            return self._measured[1]  # the last step was one to evaluate after
        loss, hits, scored = _measure.token_sums(self, self.eval_dataset if eval_dataset is None else eval_dataset)
        mean = loss / scored
        figures = {"loss": mean, "perplexity": math.exp(min(mean, 700.0)), "accuracy": hits / scored}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        if eval_dataset is None:
            self._measured = (step, metrics)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise UsageError(
                    f"the loss is {logs['loss']} at step {self.state.global_step}: lower learning_rate, or raise "
                    "warmup_steps"
                )
            logs["peak_memory_gib"] = peak_memory() / GIB
        super().log(logs, start_time)

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not any(part in name for part in self.no_decay)]

    def create_optimizer(self, model: Any = None) -> Any:
        """As in the base class; parameters with a rate of their own are in groups of their own, after the others."""
        if self.optimizer is not None:
            return self.optimizer
        optimizer = super().create_optimizer(model)
        names = {id(p): name for name, p in (self.model if model is None else model).named_parameters()}
        for part, factor in self.rate_factors.items():
            groups = list(optimizer.param_groups)
            for group in groups:
                if chosen := [p for p in group["params"] if part in names[id(p)]]:
                    group["params"] = [p for p in group["params"] if part not in names[id(p)]]
                    optimizer.add_param_group(group | {"params": chosen, "lr": group["lr"] * factor})
            if len(groups) == len(optimizer.param_groups):
                raise UsageError(
                    f"learning_rate_factors.{part}: no trained parameter has a name that contains it; some are "
                    f"{', '.join(list(names.values())[:3])}"
                )
        return optimizer


class PretrainTrainer(_loop.CheckpointMixin, _Trainer):
    """transformers' trainer with checkpoints that prove themselves. A method subclasses it and overrides `prepare`."""

    curves = (
        ("Accuracy", "share of scored positions predicted first", {"eval": "eval_accuracy"}),
        ("Memory", "peak so far, GiB", {"first process": "peak_memory_gib"}),
    )

    def card_tags(self) -> list[str]:
        return ["pretraining"]

    def prepare(self, config: Any, context: StepContext) -> None:
        """Called once with the step's settings and inputs, before the optimiser exists. Does nothing here."""


class _Begin(transformers.TrainerCallback):
    """Starts the clock of tokens per second once the state of a resumed training is there."""

    def __init__(self, trainer: PretrainTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer._mark = (time.perf_counter(), state.num_input_tokens_seen)


def peak_memory() -> int:
    """Bytes: the most that was allocated on the accelerator, else the most that this process has held."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def fit(
    config: PretrainConfig, context: StepContext, trainer_class: type[PretrainTrainer] = PretrainTrainer
) -> PretrainTrainer:
    """One process's training; returns its trainer."""
    fixed = _loop.training_arguments(config, context, config.eval_split is not None) | {
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "logging_nan_inf_filter": False,
        "torch_compile": config.torch_compile,
    }
    arguments = build(config, transformers.TrainingArguments, fixed)
    new_config = check(config, context)
    source_name = _loop.name(context, "dataset")
    splits = trainer_class.load_splits(config, context)
    scored, *_ = [data.check_columns(split, source_name) for split in splits.values()]
    columns = ["text", "targets"] if scored else ["text"]
    splits = {role: split.select_columns(columns) for role, split in splits.items()}
    packing = not scored if config.packing is None else config.packing
    # One process trains the tokenizer and tokenises; the others find both done.
    with arguments.main_process_first(local=False):
        texts = chain.from_iterable(split for role, split in splits.items() if role.startswith("train"))
        words = tokenizer.load(config, context, texts)
    read = data.Reader(words, config.max_length, scored, config.add_bos, source_name)
    net = load_model(config, context, new_config, words)
    called = _loop.name(context, "model") if "model" in context.inputs else f"model_type {net.config.model_type}"
    check_labels(net, called)
    if packing:
        _model.check_isolation(net, called)
    with arguments.main_process_first(local=False):
        rows = {role: _rows(role, split, read, packing, context) for role, split in splits.items()}
    _check_ids(rows, net, words, config, source_name)
    rows = trainer_class.join(rows)
    pad = words.pad_token_id if words.pad_token_id is not None else (words.eos_token_id or 0)
    trainer = trainer_class(
        model=net,
        args=arguments,
        data_collator=data.Collator(pad, config.max_length if packing or config.streaming else None),
        train_dataset=rows["train"],
        eval_dataset=rows.get("eval"),
        processing_class=words,
    )
    net.config.use_cache = True  # as it is published; training never caches
    trainer.no_decay, trainer.rate_factors = config.no_decay, config.learning_rate_factors
    if config.streaming:
        packed, seed, block = rows["train"], _stream.seed_of(config), _stream.block_of(config)
        _stream.follow(
            trainer,
            lambda ahead: _stream.PackedStream(lambda turn: _stream.shuffled(packed, seed, turn, block), ahead),
        )
    trainer.prepare(config, context)
    trainer.add_callback(_Begin(trainer))
    drawn = sys.stderr.isatty() and _loop.logger.isEnabledFor(logging.INFO)
    final = _loop.fit(trainer, config, context, _callbacks.Curve() if drawn else None)
    if trainer.accelerator.is_main_process:
        _describe(trainer, config, context, final)
    return trainer


def _check_ids(rows: dict[str, Any], net: Any, words: Any, config: PretrainConfig, source_name: str) -> None:
    """Refuse ids beyond the embeddings: those of the data, or for a stream of the whole vocabulary.

    Raises DataError.
    """
    if config.streaming:
        largest = words.get_vocab().values()
    else:
        largest = [pc.max(pc.list_flatten(part.data.column("input_ids"))).as_py() for part in rows.values()]
        largest += [i for i in (words.pad_token_id, words.eos_token_id) if i is not None]
    check_ids(largest, net.get_input_embeddings().weight.shape[0], words, source_name)


def _rows(role: str, split: Any, read: data.Reader, packing: bool, context: StepContext) -> Any:
    """The packed rows of a split, counted in the report where they are all known."""
    if not isinstance(split, Dataset):
        return data.pack(data.tokenise(split, read), read, packing)
    core = read.tokenizer.backend_tokenizer.to_str()
    key = Hasher.hash([split._fingerprint, core, read.length, read.scored, read.bos])
    pieces = data.tokenise(split, read, key)
    rows = data.pack(pieces, read, packing)
    context.report.counts |= data.count(len(split), pieces, rows, read, role)
    if not len(rows):
        raise UsageError(f"{read.source_name}: no row of the {role} split has anything to predict")
    return rows.with_format("numpy")


def _describe(trainer: PretrainTrainer, config: PretrainConfig, context: StepContext, final: dict[str, float]) -> None:
    """What the card says beyond any training: size, tokens, perplexity, memory, architecture."""
    report, net = context.report, trainer.accelerator.unwrap_model(trainer.model)
    report.metrics |= {"train_tokens": trainer.state.num_input_tokens_seen, "peak_memory_gib": peak_memory() / GIB}
    for key in ("eval_perplexity", "eval_accuracy"):
        if key in final:
            report.metrics[key] = final[key]
    if trainer.stream is None and trainer.data_collator.width:
        rows: Any = trainer.train_dataset
        tokens = pc.sum(pc.list_flatten(rows.data.column("seq_lengths"))).as_py()
        report.metrics["share_of_padding"] = 1 - tokens / (len(rows) * config.max_length)
    report.tables.append(architecture_table(net, config))
    architectures.describe(net, report)
    size = sum(p.numel() for p in net.parameters())
    begun = f"`{context.inputs['model'].ref.repo_id}`" if "model" in context.inputs else "random weights"
    report.summary = (
        f"A {net.config.model_type} language model of {size:,} parameters, trained from {begun} on "
        f"{trainer.state.num_input_tokens_seen:,} tokens of `{context.inputs['dataset'].ref.repo_id}`."
    )
