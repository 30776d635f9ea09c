"""What the card says of the branches, the losses and their classes."""

from typing import Any

from ...hub_sync.context import StepContext
from .branches import CLASSES, llava_of
from .config import EECAConfig

_LOADING = """\
Load it with `AutoModelForImageTextToText.from_pretrained(..., trust_remote_code=True)`, or without that where
hubwright is installed, after `hubwright.trainers.architectures.register()`. Its processor is transformers' own."""


def describe(trainer: Any, config: EECAConfig, context: StepContext) -> None:
    """Fill the report of a finished training."""
    report, collator = context.report, trainer.data_collator
    model = llava_of(trainer.accelerator.unwrap_model(trainer.model))
    settings, classes = model.config, collator.classes
    projector = model.model.multi_modal_projector
    high, latents = settings.high_resolution, settings.latents
    rows = [
        ["tokens of an image", f"{latents} learned queries" if latents else "all of the tower"],
        ["resolution", f"{settings.low_resolution} and {high} pixels" if high else "one"],
    ]
    if high:
        report.metrics["gate"] = round(projector.gate.tanh().item(), 6)
        rows.append(["gate, tanh(g)", f"{report.metrics['gate']:.4g}"])
    if classes is not None:
        rows.append(["weights", f"classes {config.hc_weight:g}, names {config.ec_weight:g}"])
        if classes.bank is not None:
            more = {"batch": "none", "hard": f"those of the same {config.parent_column}", "all": "all"}
            rows.append(["landmarks", f"{len(classes.bank.ids):,}, {len(set(classes.bank.names)):,} names"])
            rows.append(["names beside a batch's", more[config.negatives]])
        kept = f"published with the model; `{CLASSES}` names their outputs" if config.keep_heads else "not published"
        rows.append(["heads", f"{sum(p.numel() for p in model.heads.parameters()):,} parameters, {kept}"])
    left_out = classes.left_out if classes is not None else []
    report.table("Image tokens and losses", ["", ""], rows, " ".join(f"The {line}." for line in left_out))
    if classes is not None and classes.levels:
        counted = [[column, len(names), config.levels[column]] for column, names in classes.levels.items()]
        report.table("Levels", ["column", "classes", "weight"], counted)
    if high or latents or (classes is not None and config.keep_heads):
        report.section("Code", _LOADING)
        report.card["tags"] = [*report.card.get("tags", []), "custom_code"]
    report.metrics["cached_features"] = int(collator.cache is not None)
