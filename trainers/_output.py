"""What is published: model and tokenizer in safetensors and text, no pickle, no path of this machine."""

from __future__ import annotations

import json
from typing import Any

from ..hub_sync.context import StepContext
from ..hub_sync.errors import DataError
from .config import TrainingConfig

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


def publish(trainer: Any, config: TrainingConfig, context: StepContext) -> None:
    """Write model and tokenizer to `context.output`: safetensors and text, no pickle, no path of this machine."""
    import torch

    model, ref = trainer.accelerator.unwrap_model(trainer.model), context.inputs["model"].ref
    options: dict[str, Any] = {}
    if config.merge_adapter:
        model = model.merge_and_unload()
    elif config.lora is not None:
        for adapter in model.peft_config.values():
            adapter.base_model_name_or_path, adapter.revision = ref.repo_id, ref.revision
        # "auto" asks the hub whether the base's vocabulary has changed; we never resize it.
        options["save_embedding_layers"] = False
    if config.save_dtype:
        model = model.to(getattr(torch, config.save_dtype))
    # Saved as it would be read: the repository, not the folder that it was pulled to.
    model.config._name_or_path = ref.repo_id
    context.output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(context.output, **options)
    trainer.processing_class.save_pretrained(context.output)
    (context.output / "README.md").unlink(missing_ok=True)  # PEFT's; the runner renders ours
    check_output(context)


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
