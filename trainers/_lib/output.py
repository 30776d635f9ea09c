"""What is published: model and tokenizer in safetensors and text, no pickle, no path of this machine."""

import json
import logging
from collections.abc import Sequence
from typing import Any

import torch

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.files import PICKLES
from ...inference import loading
from .config import BaseTrainingConfig, TrainingConfig, adapter_of

logger = logging.getLogger("hubwright.trainers")


def save_model(
    trainer: Any, config: BaseTrainingConfig, context: StepContext, weights: dict[str, Any] | None = None
) -> None:
    """Write model and tokenizer to `context.output`: safetensors and text, no pickle, no path of this machine.

    Args:
        weights: name -> whole tensor, where the trainer's model holds shards; None: the model's own.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    base = context.inputs["model"].ref if "model" in context.inputs else None
    options: dict[str, Any] = {} if weights is None else {"state_dict": weights}
    if isinstance(config, TrainingConfig) and config.merge_adapter:
        model = model.merge_and_unload()
    elif adapter_of(config) is not None and base is not None:
        for adapter in model.peft_config.values():
            adapter.base_model_name_or_path, adapter.revision = base.repo_id, base.revision
        # "auto" asks the hub whether the base's vocabulary has changed; we never resize it.
        options["save_embedding_layers"] = False
    model = trainer.as_published(model)
    if dtype := _save_dtype(model, config, context, weights, trainer.base_roles):
        # What a model keeps in float32 for a reason stays so: small steps near 1 have no place in bfloat16.
        wide = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
        for name, parameter in model.named_parameters():
            if parameter.is_floating_point() and not any(part in name for part in wide):
                parameter.data = parameter.data.to(dtype)
    # Saved as it would be read: the repository, not the folder that it was pulled to.
    model.config._name_or_path = base.repo_id if base else ""
    context.output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(context.output, **options)
    trainer.processing_class.save_pretrained(context.output)
    (context.output / "README.md").unlink(missing_ok=True)  # PEFT's; the runner renders ours
    check_output(context)


def _save_dtype(
    model: Any, config: BaseTrainingConfig, context: StepContext, weights: dict[str, Any] | None, roles: Sequence[str]
) -> torch.dtype | None:
    """The type that the weights are converted to; None: they stay as trained."""
    if config.save_dtype is not None:
        return None if config.save_dtype == "as_trained" else getattr(torch, config.save_dtype)
    adapter = isinstance(config, TrainingConfig) and config.lora is not None and not config.merge_adapter
    if not isinstance(config, TrainingConfig) or adapter or weights is not None:
        return None
    base = next(context.inputs[role] for role in roles if role in context.inputs)
    dtype = loading.stored_dtype(base.path)
    if dtype == torch.float16 and any(p.abs().max() > torch.finfo(dtype).max for p in model.parameters()):
        logger.warning("%s is stored in float16, which cannot hold the trained weights: saved as trained", base.ref)
        return None
    return dtype


def check_output(context: StepContext) -> None:
    """Refuse an output that holds a pickle or a path of this machine. Raises DataError."""
    private = {str(context.workdir), str(context.output)} | {str(item.path) for item in context.inputs.values()}
    for path in sorted(p for p in context.output.rglob("*") if p.is_file()):
        shown = path.relative_to(context.output).as_posix()
        if path.suffix in PICKLES:
            raise DataError(f"{shown} is a pickle: only safetensors are published")
        if path.suffix != ".safetensors":
            text = path.read_text(encoding="utf-8", errors="replace")
            for folder in private:
                if folder in text or json.dumps(folder)[1:-1] in text:
                    raise DataError(f"{shown} names a local folder: it must not be published")
