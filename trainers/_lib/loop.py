"""What happens around a trainer: loading, guards, resuming, publishing, reporting."""

import contextlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, set_seed
from transformers.utils import logging as transformers_logging

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, first_line
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.pace import are_plain
from ...hub_sync.parquet import load_split
from ...inference import device
from ...inference.launch import on_sigterm
from . import callbacks as _callbacks
from . import checkpoints as _checkpoints
from . import output as _output
from . import report as _report
from . import stream as _stream
from .config import BaseTrainingConfig, ModelSettings
from .launch import on_cpu

logger = logging.getLogger("hubwright.trainers")


@contextlib.contextmanager
def settings(config: ModelSettings) -> Iterator[None]:
    """Process-wide settings of one training, put back afterwards."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its property is unknown to mypy
    filled = memory.fill_uninitialized_memory
    bars, more_bars = datasets.is_progress_bar_enabled(), transformers_logging.is_progress_bar_enabled()
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        # cuBLAS is deterministic with a fixed workspace only, and reads this when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling what `torch.empty` returns shows reads of it, which trainers do not do. DPO's buffer of logits, as
        # wide as a large vocabulary, would be filled for every batch.
        memory.fill_uninitialized_memory = False
    if not sys.stderr.isatty() and not are_plain():
        datasets.disable_progress_bars()
        transformers_logging.disable_progress_bar()
    set_seed(config.seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        memory.fill_uninitialized_memory = filled
        if bars:
            datasets.enable_progress_bars()
        if more_bars:
            transformers_logging.enable_progress_bar()


def name(context: StepContext, role: str) -> str:
    """How messages call an input: its repository id and commit, never its path."""
    if role not in context.inputs:
        raise UsageError(f"step {context.step}: a trainer needs a `{role}:` input")
    return str(context.inputs[role].ref)


def load_splits(config: BaseTrainingConfig, context: StepContext, streaming: bool = False) -> dict[str, Any]:
    """The splits to train and evaluate on, as `{"train": ..., "eval"?: ...}`, cached below the work folder. With
    `streaming` the train split is an IterableDataset over the pulled files, and nothing is cached."""
    names = {"train": config.train_split} | ({"eval": config.eval_split} if config.eval_split else {})
    source_name = name(context, "dataset")
    folder = str(context.inputs["dataset"].path)
    cache = str(context.workdir / "datasets")
    splits: dict[str, Any] = {}
    for role, split in names.items():
        part = ""
        try:
            parts = []
            for chosen in config.dataset_configs or (None,):
                part = f" of config {chosen!r}" if chosen else ""
                if streaming:
                    parts.append(datasets.load_dataset(folder, chosen, split=split, cache_dir=cache, streaming=True))
                else:
                    parts.append(load_split(Path(folder), chosen, split, Path(cache)))
            splits[role] = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
            if streaming and role == "eval":
                # A cached eval split would bring the train split into the cache with it.
                rows = splits[role] if config.eval_rows is None else splits[role].take(config.eval_rows)
                splits[role] = make_dataset(list(rows), rows.features)
            empty, features = next(iter(splits[role]), None) is None, splits[role].features
        except Exception as error:  # datasets raises anything from ValueError to its own classes
            message = first_line(error.__cause__ or error).replace(folder, source_name)
            raise DataError(f"{source_name}: split {split!r}{part} cannot be read: {message}") from error
        if empty:
            raise DataError(f"{source_name}: split {split!r}{part if len(parts) == 1 else ''} has no rows")
        if not features:
            raise DataError(
                f"{source_name}: its files do not say what columns there are: set streaming: false, or use Parquet"
            )
    if config.where:
        splits["train"] = _chosen(splits["train"], config, f"{source_name}: split {config.train_split!r}")
        counts = context.report.counts  # of all parts, where a method's data are in parts
        counts["train_rows_by_where"] = counts.get("train_rows_by_where", 0) + len(splits["train"])
    if "eval" in splits and config.eval_rows and not streaming:
        splits["eval"] = splits["eval"].select(range(min(config.eval_rows, len(splits["eval"]))))
    return splits


def _chosen(rows: Any, config: BaseTrainingConfig, source_name: str) -> Any:
    """The rows that `where` names. Raises DataError for a column that is not there, and if no row is left."""
    mask = np.ones(len(rows), bool)
    for column, values in config.where.items():
        if column not in rows.column_names:
            raise DataError(f"{source_name} has no column {column!r} of where; it has {', '.join(rows.column_names)}")
        own = mask.copy()
        for number, row in enumerate(rows.select_columns([column])):
            cell = row[column]
            own[number] &= any(one in values for one in cell) if isinstance(cell, list) else cell in values
        if not own.any():
            cells = itertools.islice((row[column] for row in rows.select_columns([column])), 1000)
            ones = (one for cell in cells for one in (cell if isinstance(cell, list) else [cell]))
            seen = sorted({str(one) for one in ones if one is not None})
            raise DataError(
                f"{source_name}: no row is left by where {column}: {[*values]}; values there are "
                f"{', '.join(seen[:10])}{', ...' if len(seen) > 10 else ''}"
            )
        mask = own
    return rows.select(np.flatnonzero(mask))


def training_arguments(config: BaseTrainingConfig, context: StepContext, evaluated: bool) -> dict[str, Any]:
    """What `trl.SFTConfig`, `trl.DPOConfig` and `transformers.TrainingArguments` are all given."""
    own = {
        "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
        "per_device_eval_batch_size", "gradient_accumulation_steps", "lr_scheduler_type", "warmup_steps",
        "weight_decay", "adam_beta1", "adam_beta2", "max_grad_norm", "activation_checkpointing", "seed",
        "logging_steps", "save_steps", "save_total_limit",
    }  # fmt: skip
    arguments = config.model_dump(include=own)
    cpu = on_cpu(config)
    if config.lr_scheduler_type == "cosine_with_min_lr":
        arguments["lr_scheduler_kwargs"] = {"min_lr_rate": 0.1}
    return arguments | {
        "output_dir": str(context.workdir / "checkpoints"),
        "data_seed": config.seed if config.data_seed is None else config.data_seed,
        "eval_strategy": "steps" if evaluated and config.eval_steps else "no",
        "eval_steps": config.eval_steps if evaluated else None,
        "save_strategy": "steps",
        "report_to": list(config.report_to) or "none",
        "run_name": context.step,
        "disable_tqdm": not sys.stderr.isatty(),
        "ignore_data_skip": getattr(config, "streaming", False),  # a stream resumes at its own place
        # TRL's default true is deprecated by transformers and warns; activation_checkpointing is its new name.
        "gradient_checkpointing": False,
        "use_cpu": cpu,
        "bf16": autocasts(config),
        "dataloader_pin_memory": not cpu,
        "ddp_backend": "gloo" if cpu and config.num_processes > 1 else None,
    }


def autocasts(config: BaseTrainingConfig) -> bool:
    """Whether bfloat16 autocast is on. Raises UsageError if it is asked for on an accelerator without bfloat16."""
    chosen = device.choose("cpu" if config.use_cpu else config.device)
    works = device.has_bfloat16(chosen)
    if config.bf16 and not works and chosen != "cpu":
        raise UsageError(f"bf16: device {chosen} does not compute in bfloat16: drop bf16, or set it to false")
    return works and config.dtype == "float32" if config.bf16 is None else config.bf16


class CheckpointMixin(_stream.StreamMixin):
    """Mixed into a trainer: sealed checkpoints, no card, no telemetry, tokens per second in the log.

    Attributes:
        curves: what the card shows beside loss, rate, gradient norm and speed.
        final_metrics: figures of the last evaluation that are among the report's metrics, beside `eval_loss`.
        base_roles: inputs; the published weights get the stored type of the first that there is.
    """

    curves: tuple[_report.Curve, ...] = ()
    final_metrics: tuple[str, ...] = ()
    base_roles: tuple[str, ...] = ("model.base", "model")
    layout: dict[str, int]
    _spent = 0.0  # seconds outside of training since the last log
    _mark: tuple[float, int] | None = None

    def card_tags(self) -> list[str]:
        """Tags of the model's card that say how it was trained."""
        return ["trl", self._name.lower()]  # type: ignore[attr-defined]

    @classmethod
    def load_splits(cls, config: Any, context: StepContext) -> dict[str, Any]:
        """The splits by role, as `load_splits` of this module. A method whose data are in parts has `train_PART` for
        `train`, first, and `eval_PART` for `eval`; each part is prepared by itself, and `join` puts them together."""
        return load_splits(config, context, getattr(config, "streaming", False))

    @classmethod
    def join(cls, rows: dict[str, Any]) -> dict[str, Any]:
        """The prepared rows by role, as `train` and `eval`."""
        return rows

    def as_published(self, model: Any) -> Any:
        """The model that is saved for others, of the trained one, its adapter folded in where it is to be."""
        return model

    def save_beside(self, folder: Path) -> None:
        """Write into a checkpoint what a method needs of its own for a resume. Does nothing here."""

    def can_resume(self) -> bool:
        """Whether a checkpoint of this moment would hold all that a resume needs."""
        return True

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL's card would name local paths; ours is rendered from the provenance."""

    def _send_telemetry(self) -> None:
        """Nobody is told."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        start = time.perf_counter()
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"  # type: ignore[attr-defined]
        writes = self.args.should_save  # type: ignore[attr-defined]
        if writes:
            # Saving over a whole checkpoint makes it incomplete first.
            (folder / _checkpoints.MANIFEST).unlink(missing_ok=True)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]
        if writes:
            self.save_beside(folder)
            _checkpoints.seal(folder, self.layout)
        self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]
        self._spent += time.perf_counter() - start

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights of a checkpoint, every one of them. transformers takes the names in the file for the model's.
        Mixtures of experts are saved under others, and would go on from random experts with no more than a warning."""
        target = self.model if model is None else model  # type: ignore[attr-defined]
        if self.is_fsdp_enabled or isinstance(target, PeftModel):  # type: ignore[attr-defined]
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        # float32 holds what any of our dtypes says.
        saved = type(target).from_pretrained(resume_from_checkpoint, dtype="float32", use_safetensors=True)
        target.load_state_dict(saved.state_dict())

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:
        """The schedule; a decay that is a share of all steps needs their number, which epochs leave to the data."""
        if self.args.lr_scheduler_type == "warmup_stable_decay":  # type: ignore[attr-defined]
            decay = {"num_decay_steps": max(1, num_training_steps // 5)}
            self.args.lr_scheduler_kwargs = decay | (self.args.lr_scheduler_kwargs or {})  # type: ignore[attr-defined]
        return super().create_scheduler(num_training_steps, *args, **kwargs)  # type: ignore[misc]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._spent += time.perf_counter() - start

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        now, tokens = time.perf_counter(), int(getattr(self, "_total_train_tokens", 0))
        if "loss" in logs and self._mark is not None:
            seconds = now - self._mark[0] - self._spent
            logs["seconds"] = seconds
            logs["tokens"] = tokens - self._mark[1]
            logs["tokens_per_second"] = logs["tokens"] / seconds if seconds > 0 else 0.0
            self._mark, self._spent = (now, tokens), 0.0
        super().log(logs, start_time)  # type: ignore[misc]


def loss_of_supervised(trainer: Any, model: Any, inputs: dict[str, Any], num_items: Any) -> Any:
    """Cross-entropy of the supervised tokens, as TRL's `compute_loss` with `loss_type="nll"`, for CPU.

    Args:
        inputs: `input_ids` and `labels`, int64 (batch, length), -100 where unsupervised; and the collator's others.
        num_items: supervised tokens of the whole optimiser step over all processes, or None.

    Returns the loss, a float32 scalar with gradient. Fills TRL's running metrics like the original.
    """
    inputs = dict(inputs)
    labels = inputs.pop("labels")[:, 1:]
    mask = labels != -100
    places = mask.any(dim=0).nonzero().squeeze(1)
    if not len(places):
        places = torch.zeros(1, dtype=torch.long)  # keeps the graph, with a loss of zero
    logits = model(**inputs, use_cache=False, logits_to_keep=places).logits
    scored = mask[:, places]
    logits, targets = logits[scored].float(), labels[:, places][scored]
    total = cross_entropy(logits, targets, reduction="sum")
    count = scored.sum() if num_items is None else num_items
    loss = total / torch.as_tensor(count).clamp(min=1)
    if trainer.args.average_tokens_across_devices and num_items is not None:
        loss = loss * trainer.accelerator.num_processes
    gather = trainer.accelerator.gather_for_metrics
    mode = "train" if model.training else "eval"
    hits, valid = (gather(x).sum().item() for x in ((logits.detach().argmax(-1) == targets).sum(), scored.sum()))
    trainer._metrics[mode]["mean_token_accuracy"].append(hits / valid if valid else 0.0)
    if mode == "train":
        shown = inputs.get("attention_mask")
        tokens = torch.tensor(inputs["input_ids"].numel()) if shown is None else shown.sum()
        trainer._total_train_tokens += int(gather(tokens).sum().item())
    trainer._metrics[mode]["num_tokens"] = [trainer._total_train_tokens]
    return loss


def fit(trainer: Any, config: BaseTrainingConfig, context: StepContext, shown: Any = None) -> dict[str, float]:
    """Train from the last whole checkpoint on, publish the model and fill the report.

    Args:
        shown: a callback that shows the progress and has `close()`; None: transformers' bar, or plain lines in a file.

    Returns what the last evaluation measured; {} without an eval split. Raises KeyboardInterrupt after a SIGTERM, once
    a checkpoint of that moment is safe.
    """
    trainer.layout = {
        "processes": trainer.accelerator.num_processes,
        "per_device_train_batch_size": config.per_device_train_batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
    }
    stop = _callbacks.StopOnRequest(trainer)
    trainer.add_callback(stop)
    trainer.add_callback(_callbacks.LastStep())
    trainer.remove_callback(PrinterCallback)
    if shown is not None or trainer.args.disable_tqdm:
        trainer.add_callback(shown or _callbacks.PlainLines())
    with trainer.accelerator.main_process_first():
        resume, notes = _checkpoints.latest_complete(Path(trainer.args.output_dir), trainer.layout)
    for note in notes:
        logger.warning("%s", note)
    if resume:
        logger.info("going on from %s", resume.name)
    # What comes before may or may not draw random numbers: DPO's reference pass is cached and skipped on a second run.
    set_seed(config.seed)
    trainer._mark = (time.perf_counter(), 0)
    previous = on_sigterm(stop.request)
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except _callbacks.AllStepsDone:
        trainer.is_in_train = False
    finally:
        if previous is not None:
            on_sigterm(previous)
        if shown is not None:
            shown.close()
    if stop.stopped:
        raise KeyboardInterrupt(f"stopped at step {trainer.state.global_step}, checkpoint written")
    final = trainer.evaluate() if trainer.eval_dataset is not None else {}
    # Sharded weights are put together by all processes, and written by one.
    sharded = trainer.model if trainer.is_fsdp_enabled else trainer.model_wrapped
    shards = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    weights = trainer.accelerator.get_state_dict(sharded) if shards else None
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        _report.fill(trainer, config, context, final)
        _output.save_model(trainer, config, context, weights)
    trainer.accelerator.wait_for_everyone()
    return final
