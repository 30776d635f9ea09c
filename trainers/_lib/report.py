"""From transformers' log history to the report: curves, metrics and card facts."""

from typing import Any

from ...hub_sync.context import StepContext
from .config import BaseTrainingConfig, TrainingConfig, adapter_of

Curve = tuple[str, str, dict[str, str]]
"""Title, y axis, and for each series its key in the log; series that nothing was logged for are left out."""

CURVES: tuple[Curve, ...] = (
    ("Loss", "loss", {"train": "loss", "eval": "eval_loss"}),
    ("Learning rate", "learning rate", {"learning rate": "learning_rate"}),
    ("Gradient norm", "L2 norm before clipping", {"gradient norm": "grad_norm"}),
    ("Speed", "tokens per second", {"all devices": "tokens_per_second"}),
)
TOKEN_ACCURACY: Curve = (
    "Token accuracy",
    "share of supervised tokens predicted first",
    {"train": "mean_token_accuracy", "eval": "eval_mean_token_accuracy"},
)


def fill(trainer: Any, config: BaseTrainingConfig, context: StepContext, final: dict[str, float]) -> None:
    """Fill `context.report` of a finished training. `final` is what the last evaluation returned."""
    report, history = context.report, trainer.state.log_history
    for title, y, keys in (*CURVES, *trainer.curves):
        series: dict[str, list[list[float]]] = {}
        for label, key in keys.items():
            # A resumed run logs some step twice only if it was killed before the next checkpoint; the last counts.
            if points := {e["step"]: float(e[key]) for e in history if key in e}:
                series[label] = [[step, points[step]] for step in sorted(points)]
        report.curve(title, "optimiser step", y, series)
    windows = [e for e in history if "seconds" in e]
    seconds, tokens = (sum(e[k] for e in windows) for k in ("seconds", "tokens"))
    losses = [e["loss"] for e in history if "loss" in e]
    parameters = list(trainer.model.parameters())
    report.metrics |= {
        "steps": trainer.state.global_step,
        "epochs": trainer.place()["pass"] if trainer.stream else round(float(trainer.state.epoch or 0), 4),
        "train_loss_first": losses[0] if losses else None,
        "train_loss_last": losses[-1] if losses else None,
        "train_seconds": round(seconds, 2),
        "train_tokens": int(tokens),
        "tokens_per_second": round(tokens / seconds, 2) if seconds else None,
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "processes": trainer.accelerator.num_processes,
    }
    for key in ("eval_loss", *trainer.final_metrics):
        if key in final:
            report.metrics[key] = float(final[key])
    data, base = context.inputs["dataset"].ref, context.inputs.get("model")
    casts = ", bfloat16 autocast" if trainer.args.bf16 else ""
    if trainer.args.fp16:
        casts = ", float16 autocast"
    body = f"Trained on `{trainer.args.device.type}`; weights in {config.dtype} while they were trained{casts}."
    if (quantised := getattr(config, "quantization", None)) is not None:
        width = f"4 bits ({quantised.bnb_4bit_quant_type})" if quantised.load_in_4bit else "8 bits"
        body = (
            f"Trained on `{trainer.args.device.type}`; an adapter in bfloat16 over frozen weights in {width}, "
            f"computed with in {config.dtype}{casts}."
        )
    report.section("Device and precision", body)
    lora = adapter_of(config)
    adapter = lora is not None and not (isinstance(config, TrainingConfig) and config.merge_adapter)
    if base is not None:
        report.card |= {"base_model": base.ref.repo_id, "base_model_relation": "adapter" if adapter else "finetune"}
    report.card |= {
        "datasets": [data.repo_id],
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": trainer.card_tags() + (["lora"] if lora else []),
    }
