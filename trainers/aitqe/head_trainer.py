"""transformers' Trainer on twins: a vision-language model's body under a head of regressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from peft import get_peft_model
from torch import nn

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...inference.media import pair_scores
from .._lib import loop
from .._lib import model as models
from .._lib.arguments import build
from .._lib.image_columns import image_column
from .._lib.images import ImageColumn
from ..architectures.llava_scorer.configuration_llava_scorer import LlavaScorerConfig
from ..architectures.llava_scorer.modeling_llava_scorer import LlavaScorerForSequenceClassification
from ..vision_sft.assemble import read
from ..vision_sft.config import VisionSFTConfig
from ..vision_sft.trainer import LANGUAGE_MODEL, PROJECTOR, peft_config
from .head import HeadConfig
from .samples import check_columns, check_ids, pairs, scores_of, text_of
from .scorer import Scorer

SPAN = pair_scores.HIGH - pair_scores.LOW
Item = tuple[int, ...]
"""Numbers of the samples that are learnt together: the good one and its bad twin, or one alone."""


class Samples(torch.utils.data.Dataset[Item]):
    """The samples of a split as token ids and targets, and which of them belong together.

    Attributes:
        ids: tokens by number of the row.
        targets: float32 (rows, aspects) in units of the scale, NaN without a target.
        items: what is learnt together.
        images: of the rows.
    """

    def __init__(self, split: Any, role: str, scorer: Scorer, config: HeadConfig, context: StepContext) -> None:
        source_name = loop.name(context, "dataset")
        check_columns(split.column_names, source_name)
        folder = context.inputs["dataset"].path
        column = image_column(split.column_names, source_name)
        self.images = ImageColumn(split, column, config.image_limits(), folder, source_name)
        self.ids: dict[int, list[int]] = {}
        self.targets = np.full((len(split), len(pair_scores.ASPECTS)), np.nan, np.float32)
        counts, first = context.report.counts, None
        known: dict[int, tuple[str, str | None, float]] = {}
        rows = split.select_columns(["id", "twin", "raw_text", "scores"])
        check_ids(rows["id"], source_name)
        for number, row in enumerate(rows):
            try:
                if (count := len(self.images.read(number))) != 1:
                    raise RowRejected("a sample with another number of images than one", count)
                scores, self.ids[number] = scores_of(row), scorer.encode(text_of(row))
            except RowRejected as error:
                self.ids.pop(number, None)
                first = first or f"row {number}: {error}"
                name = f"{role}_rows_refused: {error.reason}"
                counts[name] = counts.get(name, 0) + 1
                continue
            known[number] = row["id"], row["twin"], scores[pair_scores.OVERALL]
            for place, aspect in enumerate(pair_scores.ASPECTS):
                if aspect in scores:
                    self.targets[number, place] = (scores[aspect] - pair_scores.LOW) / SPAN
        refused = len(split) - len(self.ids)
        if refused > config.max_rejected_share * len(split) or not self.ids:
            raise DataError(
                f"{source_name}: {refused} of {len(split)} samples of the {role} split cannot be used, more than "
                f"max_rejected_share {config.max_rejected_share:g}; {first}"
            )
        together = list(pairs(known))
        alone = sorted(set(self.ids) - {number for pair in together for number in pair})
        self.items: list[Item] = [*together, *((number,) for number in alone)]
        counts |= {f"{role}_rows": len(split), f"{role}_twins": len(together), f"{role}_rows_without_twin": len(alone)}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Item:
        return self.items[number]


class Collator:
    """A batch of items: the rows one after another, and where twins stand.

    Args:
        samples: of a split.
        paired: every item is a pair, and `labels` are (pairs, 2, aspects): what is gathered is a row per item.
    """

    def __init__(self, scorer: Scorer, samples: Samples, paired: bool) -> None:
        self._scorer, self._samples, self._paired = scorer, samples, paired

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """`input_ids`, `attention_mask` (rows, length), `pixel_values` (rows, 3, side, side), `labels` (rows, aspects)
        and `twins` (pairs, 2), numbers of rows."""
        rows = [number for item in items for number in item]
        ids, mask = self._scorer.padded([self._samples.ids[number] for number in rows])
        starts = np.cumsum([0, *map(len, items)])
        twins = [(int(start), int(start) + 1) for start, item in zip(starts, items, strict=False) if len(item) == 2]
        images = [image for number in rows for image in self._samples.images.read(number)]
        targets = torch.from_numpy(self._samples.targets[rows])
        return {
            "input_ids": ids, "attention_mask": mask, "pixel_values": self._scorer.pixels(images),
            "labels": targets.reshape(-1, 2, targets.shape[-1]) if self._paired else targets,
            "twins": torch.tensor(twins, dtype=torch.long).reshape(-1, 2),
        }  # fmt: skip


class HeadTrainer(loop.CheckpointMixin, transformers.Trainer):
    """A method subclasses it and overrides `compute_loss`."""

    curves = (
        ("Error", "points of the overall score", {"eval": "eval_mae"}),
        ("Twins", "share with the better text ahead", {"eval": "eval_twin_accuracy"}),
    )
    final_metrics = ("eval_mae", "eval_twin_accuracy")
    config: HeadConfig
    collators: dict[str, Collator]
    _total_train_tokens = 0

    def card_tags(self) -> list[str]:
        return ["aitqe", "vision", "regression"]

    def get_train_dataloader(self) -> Any:
        self.data_collator = self.collators["train"]
        return super().get_train_dataloader()

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        self.data_collator = self.collators["eval"]
        return super().get_eval_dataloader(eval_dataset)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        shown = {key: inputs[key] for key in ("input_ids", "attention_mask", "pixel_values")}
        outputs = model(**shown).logits.float()
        targets = inputs["labels"].to(outputs.device)
        loss = loss_of(outputs, targets.reshape(outputs.shape), inputs["twins"], self.config)
        if model.training:
            tokens = self.accelerator.reduce(inputs["attention_mask"].sum(), "sum")
            self._total_train_tokens += int(tokens.item())
        return (loss, {"logits": outputs.reshape(targets.shape)}) if return_outputs else loss


def loss_of(outputs: torch.Tensor, targets: torch.Tensor, twins: torch.Tensor, config: HeadConfig) -> torch.Tensor:
    """The loss of a batch, a scalar.

    Args:
        outputs, targets: (rows, aspects) in units of the scale; NaN without a target.
        twins: (pairs, 2) numbers of the good and the bad row.
    """
    weights = torch.tensor([1.0] + [config.aspect_weight] * (targets.shape[1] - 1), device=outputs.device)
    known = ~targets.isnan()
    errors = torch.where(known, outputs - torch.where(known, targets, 0.0), 0.0).square()
    loss = (errors @ weights).mean()
    if config.margin_weight and len(twins):
        good, bad = outputs[twins[:, 0], 0], outputs[twins[:, 1], 0]
        loss = loss + config.margin_weight * (config.margin - (good - bad)).clamp(min=0).mean()
    return loss


def with_head(model: Any) -> LlavaScorerForSequenceClassification:
    """A vision-language model's body under a new head, drawn with torch's random state; it begins at the middle of the
    scale."""
    settings = LlavaScorerConfig.from_dict(
        model.config.to_dict()
        | {"model_type": "llava_scorer", "architectures": ["LlavaScorerForSequenceClassification"],
           "id2label": dict(enumerate(pair_scores.ASPECTS)),
           "label2id": {name: n for n, name in enumerate(pair_scores.ASPECTS)},
           "score_low": float(pair_scores.LOW), "score_high": float(pair_scores.HIGH)}
    )  # fmt: skip
    settings._attn_implementation = model.config._attn_implementation
    with torch.device("meta"):
        scorer = LlavaScorerForSequenceClassification(settings)
    scorer.model = model.model
    scorer.score = nn.Linear(settings.get_text_config().hidden_size, len(pair_scores.ASPECTS), dtype=model.dtype)
    nn.init.normal_(scorer.score.weight, std=0.02)
    nn.init.constant_(scorer.score.bias, 0.5)
    return scorer


def set_trained(model: Any, part: str) -> None:
    """Let the parameters of a part be trained, and no others."""
    parts = {
        "head": ("score",),
        "projector": ("score", PROJECTOR),
        "language_model": ("score", PROJECTOR, LANGUAGE_MODEL),
    }
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part == "all" or any(f"{one}." in name for one in parts[part]))


def figures(outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Mean absolute error of the overall score in points, and the share of twins in order, ties half.

    Args:
        outputs, targets: (pairs, 2, aspects) in units of the scale, a good row before its twin.
    """
    scores = outputs[:, :, 0].astype(np.float64)
    good, bad = scores[:, 0], scores[:, 1]
    return {
        "mae": float(SPAN * np.abs(scores - targets[:, :, 0]).mean()),
        "twin_accuracy": float(((good > bad) + 0.5 * (good == bad)).mean()),
    }


def _vision_settings(config: HeadConfig) -> VisionSFTConfig:
    """What `vision_sft` reads a model by."""
    names = ("dtype", "attn_implementation", "chat_template", "lora", "merge_adapter")
    return VisionSFTConfig.model_validate({name: getattr(config, name) for name in names})


def fit(config: HeadConfig, context: StepContext, trainer_class: type[HeadTrainer] = HeadTrainer) -> HeadTrainer:
    """One process's training; returns its trainer."""
    models.check(config, context)
    base = read(_vision_settings(config), context)
    scorer = Scorer(base.model, base.processor, base.name, config.max_length)
    fixed = loop.training_arguments(config, context, config.eval_split is not None)
    fixed |= {"remove_unused_columns": False, "label_names": ["labels"], "dataloader_num_workers": 0}
    arguments = build(config, transformers.TrainingArguments, fixed)
    splits = loop.load_splits(config, context)
    samples = {role: Samples(split, role, scorer, config, context) for role, split in splits.items()}
    if "eval" in samples:
        samples["eval"].items = [item for item in samples["eval"].items if len(item) == 2]
        if not samples["eval"].items:
            raise DataError(f"{loop.name(context, 'dataset')}: the split {config.eval_split!r} has no twins")
    transformers.set_seed(config.seed)  # a resumed run draws the same head, whatever was cached
    model: Any = with_head(base.model)
    scorer.model = model
    if config.lora is not None:
        adapter = peft_config(_vision_settings(config), base)
        adapter.task_type, adapter.modules_to_save = None, [PROJECTOR, "score"]
        model = get_peft_model(model, adapter)
    else:
        set_trained(model, config.trained or "language_model")
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=samples["train"],
        eval_dataset=samples.get("eval"),
        processing_class=base.processor,
        compute_metrics=lambda result: figures(np.asarray(result.predictions), np.asarray(result.label_ids)),
    )
    trainer.config, trainer.model_accepts_loss_kwargs = config, False  # the loss is a mean over the batch
    trainer.collators = {role: Collator(scorer, one, role == "eval") for role, one in samples.items()}
    loop.fit(trainer, config, context)
    context.report.card |= {"pipeline_tag": "image-text-to-text", "base_model_relation": "finetune"}
    context.report.section("Head", _HEAD.format(low=pair_scores.LOW, span=SPAN, names=", ".join(pair_scores.ASPECTS)))
    return trainer


_HEAD = """\
The head, which is new, has an output z for each of {names}; the score is {low} + {span} z. Load it with
`AutoModelForSequenceClassification.from_pretrained(..., trust_remote_code=True)`, or without that where hubwright is
installed, after `hubwright.trainers.architectures.register()`."""
