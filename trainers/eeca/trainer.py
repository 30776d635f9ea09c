"""`vision_sft`'s trainer with two more losses on the tokens of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .._lib import loop
from .._lib.images import AT, ImageColumn
from ..architectures import register
from ..vision_sft.assemble import Base
from ..vision_sft.trainer import Collator, VisionSFTTrainer
from ..vision_sft.trainer import fit as vision_fit
from . import branches
from .config import EECAConfig
from .features import FeatureCache
from .labels import Candidates, Classes, Labels, find_classes
from .losses import UNKNOWN, class_loss, name_loss
from .report import describe

BESIDE = ("branch_low", "branch_high", "level_labels", "entities", "candidates")
"""What batches hold for this trainer, beside what the model takes."""


class EECACollator(Collator):
    """Batches of `vision_sft` with the labels of their images, and features in place of pixels where they are cached.

    Attributes:
        classes, means, groups: of the train rows: their classes; mean embeddings of the names (landmarks, width); and
            the number of each landmark's name. None where there are no losses beside.
    """

    classes: Classes | None = None
    labels: Labels | None = None
    candidates: Candidates | None = None
    cache: FeatureCache | None = None
    means: torch.Tensor | None = None
    groups: torch.Tensor | None = None

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """As of `Collator`, and `level_labels` (images, levels), `entities` (images), `candidates` (candidates), and
        `branch_low`, `branch_high` (images, tokens, width)."""
        places = [(row[AT][0], row[AT][1]) for row in examples if row[AT]]
        cached = self.cache is not None and bool(places)
        batch = super().__call__([row | {AT: []} for row in examples] if cached else examples)
        if self.cache is not None and cached:
            states = self.cache(places)
            for name, value in zip(BESIDE, states, strict=False):
                batch[name] = value if self._dtype is None else value.to(self._dtype)
        if self.labels is not None and places:
            batch["level_labels"] = torch.from_numpy(np.stack([self.labels.levels[n][row] for n, row in places]))
            entities = np.asarray([self.labels.entities[n][row] for n, row in places], np.int64)
            batch["entities"] = torch.from_numpy(entities)
            if self.candidates is not None:
                batch["candidates"] = torch.from_numpy(self.candidates(entities))
        return batch


class EECATrainer(VisionSFTTrainer):
    """A method subclasses it and overrides TRL's hooks, such as `extra_losses`."""

    config: EECAConfig
    data_collator: EECACollator
    curves = (
        *VisionSFTTrainer.curves,
        ("Losses", "loss", {"language model": "loss_lm", "classes": "loss_hc", "names": "loss_ec"}),
        ("Gate", "tanh(g)", {"gate": "gate"}),
        ("Temperature", "T", {"temperature": "temperature"}),
    )
    final_metrics = (*VisionSFTTrainer.final_metrics, "eval_loss_lm", "eval_loss_hc", "eval_loss_ec")

    def __init__(self, config: Any, context: StepContext, **options: Any) -> None:
        heads, adapter = getattr(options["model"], "heads", None), options.get("peft_config")
        if heads is not None:
            heads.requires_grad_(True)
            if adapter is not None:
                adapter.modules_to_save = [*adapter.modules_to_save, "heads"]
        super().__init__(config, context, **options)

    def card_tags(self) -> list[str]:
        return [*super().card_tags(), "eeca"]

    @classmethod
    def read_base(cls, config: Any, context: StepContext) -> Base:
        """The model with its branches."""
        register()
        base = super().read_base(config, context)
        transformers.set_seed(config.seed)  # a resumed run draws the same, whatever was cached
        return branches.with_branches(base, config)

    @classmethod
    def make_collator(
        cls, base: Base, splits: dict[str, Any], columns: list[ImageColumn], config: Any, context: StepContext
    ) -> EECACollator:
        """As of `Collator`; the model gets its heads."""
        source_name = loop.name(context, "dataset")
        _check_images(columns, source_name)
        collator = EECACollator(base.processor, columns, base.model.dtype)
        model = base.model
        if config.hc_weight or config.ec_weight:
            stored = None
            if model.config.heads is not None and not config.fresh_heads:
                stored = branches.read_classes(context.inputs["model"].path, base.name)
            levels = stored["levels"] if stored else None
            classes = find_classes(splits["train"], config, source_name, context, levels)
            branches.with_heads(model, classes, stored)
            collator.classes = classes
            collator.labels = Labels(splits, classes, config, source_name, context)
            if classes.bank is not None:
                collator.candidates = Candidates(classes.bank, config.negatives, config.max_negatives, config.seed)
                collator.groups = torch.from_numpy(classes.bank.groups)
                collator.means = mean_embeddings(model, base.processor.tokenizer, classes.bank.names)
        else:
            _drop_heads(model)
        if config.part != "all" and config.cache_gb:
            key = _tower_key(model, base.processor)
            folder = context.workdir / "features"
            cache = FeatureCache(model.model, base.processor, columns, folder, key, config.cache_gb * 1e9)
            collator.cache = cache if cache.open() else None
        return collator

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs = dict(inputs)
        beside = {name: inputs.pop(name) for name in BESIDE if name in inputs}
        llava = branches.llava_of(self.accelerator.unwrap_model(model))
        mode = "train" if model.training else "eval"
        extra: dict[str, torch.Tensor] = {}
        with self.accelerator.autocast():
            pixels = inputs.pop("pixel_values", None)
            if pixels is not None or "branch_low" in beside:
                if pixels is None:
                    low, high = beside["branch_low"], beside.get("branch_high")
                else:
                    with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.part == "all"):
                        low, high = llava.model.tower_states(pixels)
                states = llava.model.multi_modal_projector(low, high)
                tokens: Any = list(states)
                inputs["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=tokens)}
                extra = self.extra_losses(llava, states, beside)
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, outputs = found if return_outputs else (found, None)
        steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
        total = loss
        for name, weight in (("loss_hc", self.config.hc_weight), ("loss_ec", self.config.ec_weight)):
            if name in extra:
                total = total + weight * extra[name] / (steps if model.training else 1)
        # The language model's part of a step is a sum over its passes, each divided by all tokens of the step.
        self._note(mode, {"loss_lm": loss.detach() * (steps if model.training else 1)} | extra)
        projector = llava.model.multi_modal_projector
        if hasattr(projector, "gate"):
            self._note(mode, {"gate": projector.gate.tanh()})
        return (total, outputs) if return_outputs else total

    def extra_losses(self, model: Any, states: torch.Tensor, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """The losses beside, unweighted, by name, and figures of them to log.

        Args:
            model: with `heads`.
            states: tokens of the batch's images after the projector (images, tokens, width).
            batch: of `BESIDE`.
        """
        heads, collator = getattr(model, "heads", None), self.data_collator
        if heads is None or "level_labels" not in batch:
            return {}
        result: dict[str, torch.Tensor] = {}
        pooled = heads.pooled(states)
        classes = collator.classes
        if classes is not None and classes.levels and bool((batch["level_labels"] != UNKNOWN).any()):
            weights = [self.config.levels[column] for column in classes.levels]
            outputs = [level(pooled) for level in heads.levels]
            result["loss_hc"], losses = class_loss(outputs, batch["level_labels"], weights)
            known = (batch["level_labels"] != UNKNOWN).any(dim=0).tolist()
            result |= {
                f"loss_{column}": loss
                for column, loss, any_ in zip(classes.levels, losses, known, strict=True)
                if any_
            }
        if collator.means is not None and collator.groups is not None and len(batch["candidates"]):
            chosen = batch["candidates"]
            vectors = heads.vectors(collator.means.to(states.device)[chosen].to(states.dtype))
            groups = collator.groups.to(states.device)
            temperature = heads.temperature()
            result["loss_ec"] = name_loss(pooled, batch["entities"], vectors, chosen, groups, temperature)
            result["temperature"] = temperature
            result["candidates"] = torch.tensor(float(len(chosen)))
        return result

    def _note(self, mode: str, figures: dict[str, torch.Tensor]) -> None:
        for name, value in figures.items():
            self._metrics[mode][name].append(float(value.detach().float().mean()))

    def as_published(self, model: Any) -> Any:
        """The model without heads, unless they are kept; the file of classes is written."""
        classes = self.data_collator.classes
        if classes is not None:
            branches.write_classes(classes, self.context)
        return branches.published(model, self.config.keep_heads)


@torch.no_grad()
def mean_embeddings(model: Any, tokenizer: Any, names: Sequence[str]) -> torch.Tensor:
    """float32 (names, width): means of the input embeddings of a name's tokens, as they are before training."""
    table = model.get_input_embeddings().weight
    rows = []
    for name in names:
        ids = tokenizer(name, add_special_tokens=False)["input_ids"]
        if not ids:
            raise DataError(f"the name {name!r} has no token in the model's vocabulary: give its landmark another")
        rows.append(table[torch.tensor(ids, device=table.device)].float().mean(dim=0))
    return torch.stack(rows).cpu()


def _check_images(columns: Sequence[ImageColumn], source_name: str) -> None:
    if any(column.several for column in columns):
        raise DataError(f"{source_name}: a row has one image, whose labels are the row's: its column is `image`")


def _drop_heads(model: Any) -> None:
    if model.config.heads is not None:
        del model.heads
        model.config.heads = None


def _tower_key(model: Any, processor: Any) -> str:
    """What features depend on beside the images."""
    digest = hashlib.sha256()
    for name, value in sorted(model.model.vision_tower.state_dict().items()):
        digest.update(utf8(name))
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    settings = model.config
    digest.update(utf8(repr([
        settings.vision_feature_layer, settings.vision_feature_select_strategy, settings.low_resolution,
        settings.high_resolution, processor.image_processor.to_json_string(),
    ])))  # fmt: skip
    return digest.hexdigest()


def fit(config: EECAConfig, context: StepContext, trainer_class: type[EECATrainer] = EECATrainer) -> VisionSFTTrainer:
    """One process's training; returns its trainer."""
    trainer: Any = vision_fit(config, context, trainer_class)
    describe(trainer, config, context)
    return trainer
