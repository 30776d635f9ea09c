"""`trainer_args`: fields of the trainer's own argument class that no setting of ours covers.

    with: {trainer_args: {optim: adafactor, neftune_noise_alpha: 5}}

The class is TRL's or transformers' (`BaseTrainingConfig.arguments_class`), as it is installed.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, get_type_hints

from ...hub_sync.arguments import check_arguments
from ...hub_sync.errors import UsageError, first_line

_PUBLISH = "what is published, and where, is said by `publish:`: drop it"
_RESUME = "a run that was killed resumes from whole checkpoints by itself: drop it"
_LAST = "the weights of the last step are published: drop it"
_ROWS = "rows are read, cut and tokenized by this step: drop it"
_IDLE = "it would do nothing in this step: drop it"
_COVERED = {
    "gradient_checkpointing": "activation_checkpointing", "eval_strategy": "eval_steps", "save_strategy": "save_steps",
    "logging_strategy": "logging_steps", "ignore_data_skip": "streaming", "full_determinism": "deterministic",
    "chat_template_path": "chat_template", "truncation_mode": "max_length", "model_init_kwargs": "quantization, dtype",
    "parallelism_config": "accelerate_config", "loss_weights": "sft_weight", "eval_packing": "packing",
}  # fmt: skip
REFUSED: dict[str, str] = {
    "output_dir": "checkpoints lie in the run's folder, where a killed run finds them: drop it",
    "trust_remote_code": "code of a repository is never run: drop it",
    "auto_find_batch_size": "the batch size is part of the result: set per_device_train_batch_size",
    "include_num_input_tokens_seen": "tokens are counted by this step: drop it",
    "disable_tqdm": "a progress bar is drawn in a terminal alone: drop it",
    "label_smoothing_factor": "this trainer's loss is its own: drop it",
    **{name: f"write the setting `{ours}` instead" for name, ours in _COVERED.items()},
    **dict.fromkeys(("resume_from_checkpoint", "restore_callback_states_from_checkpoint", "save_only_model"), _RESUME),
    **dict.fromkeys(("load_best_model_at_end", "metric_for_best_model", "greater_is_better"), _LAST),
    **dict.fromkeys(("dataset_kwargs", "dataset_text_field", "eos_token", "packing_strategy", "shuffle_dataset",
                     "remove_unused_columns", "label_names", "length_column_name"), _ROWS),
    **dict.fromkeys(("do_train", "do_eval", "do_predict", "local_rank", "prediction_loss_only", "batch_eval_metrics",
                     "include_for_metrics", "eval_do_concat_batches", "eval_use_gather_object", "use_cache"), _IDLE),
}  # fmt: skip
_LOADER = ("accelerator_config", "dataloader_num_workers", "dataloader_prefetch_factor", "train_sampling_strategy")
STREAMED = dict.fromkeys(_LOADER, "rows come in an order of their own, which a resume has to find again: drop it")
"""What methods refuse whose rows do not come from a data set in memory."""
OURS = frozenset({"run_name", "lr_scheduler_kwargs", "ddp_backend", "dataloader_pin_memory"})
"""What a step sets itself unless the recipe does."""
_PACKAGES = {"deepspeed": "deepspeed", "use_liger_kernel": "liger_kernel"}
TRACKERS = {"trackio": ("trackio",), "wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX")}


def check(config_class: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the types of the argument class. Raises ValueError in one line, as `check_arguments`."""
    cls = _argument_class(config_class)
    refused: dict[str, str] = dict(REFUSED)
    for base in reversed(config_class.__mro__):
        refused |= vars(base).get("refused_arguments", {})
    hints = get_type_hints(cls)
    refused |= dict.fromkeys((name for name in hints if "hub" in name or name.startswith("trackio_")), _PUBLISH)
    settings = config_class.model_fields.keys()
    refused |= {name: f"it is a setting of the step: write `{name}` beside trainer_args" for name in settings}
    return check_arguments(values, hints, cls.__name__, {n: why for n, why in refused.items() if why})


def check_together(config: Any) -> None:
    """Raises ValueError in one line for arguments that do not go with the step's settings."""
    values = config.trainer_args
    if getattr(config, "streaming", False) and (name := next((n for n in STREAMED if n in values), "")):
        raise ValueError(f"trainer_args.{name}: {STREAMED[name]}")
    if values.get("fp16") and config.bf16 is not False:
        raise ValueError("trainer_args.fp16: it is another autocast than bf16: set bf16: false")
    if config.report_to == () and (name := next((n for n in ("run_name", "project") if n in values), "")):
        raise ValueError(f"trainer_args.{name}: it names a run for a tracker: set report_to, or drop it")
    if config.sharded and config.save_dtype not in (None, "as_trained"):
        raise ValueError("save_dtype: sharded weights are published as trained: drop it, or set dtype")
    if "optim_args" in values:
        with suppress(ImportError):  # `lacks` names it
            try:
                idle = _optimizer(config) == _optimizer(config, optim_args=None)
            except ValueError as error:
                raise ValueError(
                    f"trainer_args.optim_args: {first_line(error)}; write name=value,name=value"
                ) from error
            if idle:
                raise ValueError("trainer_args.optim_args: the optimiser uses none of them: drop it, or change optim")
    if keywords := values.get("lr_scheduler_kwargs"):
        from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

        schedule: Any = TYPE_TO_SCHEDULER_FUNCTION[config.lr_scheduler_type]
        hints = dict.fromkeys(inspect.signature(schedule).parameters, Any)
        for name in ("optimizer", "num_warmup_steps", "num_training_steps"):
            hints.pop(name, None)
        try:
            check_arguments(keywords, hints, f"the schedule {config.lr_scheduler_type}", {})
        except ValueError as error:
            raise ValueError(f"trainer_args.lr_scheduler_kwargs.{error}") from error


def lacks(config: Any) -> str:
    """What the arguments need that is not installed, as one line with the remedy; "" if there is nothing."""
    for tracker in config.report_to:
        if not any(find_spec(package) for package in TRACKERS[tracker]):
            return f"report_to: {tracker} is not installed: pip install {tracker}"
    for name, package in _PACKAGES.items():
        if config.trainer_args.get(name) and find_spec(package) is None:
            return f"trainer_args.{name}: {package} is not installed: pip install {package.replace('_', '-')}"
    if "optim" in config.trainer_args:
        try:
            _optimizer(config)
        except ImportError as error:
            return f"trainer_args.optim {config.trainer_args['optim']}: {first_line(error)}"
        except Exception:  # an optimiser that wants to see the model
            return ""
    return ""


def _optimizer(config: Any, **changes: Any) -> Any:
    """The optimiser's class and arguments, as transformers chooses them."""
    from transformers import Trainer, TrainingArguments

    fields = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    ours = {name: getattr(config, name) for name in fields if hasattr(config, name)}
    values: Any = SimpleNamespace(**(fields | ours | config.trainer_args | changes))
    return Trainer.get_optimizer_cls_and_kwargs(values)


def build(config: Any, cls: Any, fixed: Mapping[str, Any]) -> Any:
    """The trainer's arguments: what the step sets, and the recipe's `trainer_args`.

    Args:
        cls: TRL's or transformers' argument class.
        fixed: what the step sets, by name.

    Raises UsageError in one line for arguments that the step decides, or that the class refuses.
    """
    values = dict(config.trainer_args)
    if decided := sorted((values.keys() & fixed.keys()) - OURS):
        raise UsageError(f"trainer_args.{decided[0]}: this step sets it itself: drop it")
    if not values:
        return cls(**fixed)
    if unknown := sorted(values.keys() - {field.name for field in dataclasses.fields(cls)}):
        raise UsageError(f"trainer_args.{unknown[0]}: {cls.__name__} has no such argument: drop it")
    try:
        return cls(**{**fixed, **values})
    except Exception as error:  # what the class and the packages behind its fields refuse
        raise UsageError(f"trainer_args: {first_line(error)}") from error


def _argument_class(config_class: Any) -> Any:
    from ...inference.launch import import_named

    try:
        return import_named(config_class.arguments_class)
    except ImportError as error:
        raise ValueError(f"{error.name or error} is not installed: pip install 'hubwright[train]'") from error
