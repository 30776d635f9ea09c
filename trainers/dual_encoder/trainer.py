"""transformers' Trainer on pairs, with recall on held-out ones."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from datasets.fingerprint import Hasher

from ...hub_sync.context import StepContext
from ...inference.loading import check_window
from ...inference.media.embeddings import chance_recall, ranks, recall
from .._lib import loop
from .._lib.arguments import build
from .._lib.images import take_images
from .config import DualEncoderConfig, check_text_column
from .features import filled, pooled_images, pooled_texts, text_batch
from .loss import contrastive_loss, logits
from .model import PROJECTIONS, Base, read
from .pairs import Pairs, prepare

KS = (1, 5, 10)
WAYS = ("text_to_image", "image_to_text")


class Split:
    """The pairs of a split by number, as a trainer takes them, with the features of frozen towers.

    Attributes:
        features: of images and of texts, float32; None where towers are trained.
    """

    def __init__(self, pairs: Pairs, features: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.pairs, self.features = pairs, features

    def __len__(self) -> int:
        return len(self.pairs.pairs)

    def __getitem__(self, number: int) -> dict[str, int]:
        image, text = self.pairs.pairs[number]
        return {"image": int(image), "text": int(text)}


class Collator:
    """Batches of pairs: `image_ids`, `text_ids` and `matches`, which of them are a pair, and what the model reads."""

    def __init__(self, split: Split, base: Base, max_length: int) -> None:
        pairs = split.pairs
        self._known = np.sort(pairs.pairs[:, 0] * len(pairs.texts) + pairs.pairs[:, 1])
        self._split, self._base, self._max_length = split, base, max_length

    def __call__(self, examples: Sequence[dict[str, int]]) -> dict[str, Any]:
        numbers = {name: [example[name] for example in examples] for name in ("image", "text")}
        batch: dict[str, Any] = {f"{name}_ids": torch.tensor(values) for name, values in numbers.items()}
        codes = np.add.outer(np.array(numbers["image"]) * len(self._split.pairs.texts), np.array(numbers["text"]))
        places = np.searchsorted(self._known, codes).clip(max=len(self._known) - 1)
        batch["matches"] = torch.from_numpy(self._known[places] == codes)
        if self._split.features is not None:
            for kind, array in zip(("image", "text"), self._split.features, strict=True):
                batch[f"{kind}_features"] = torch.from_numpy(array[numbers[kind]])
            return batch
        pairs = self._split.pairs
        images = [pairs.image(number) for number in numbers["image"]]
        batch["pixel_values"] = self._base.processor.image_processor(images, return_tensors="pt")["pixel_values"]
        texts = [pairs.texts[number] for number in numbers["text"]]
        return batch | dict(text_batch(self._base.tokenizer, texts, self._max_length))


class _Trainer(transformers.Trainer):
    """What a trainer of `CheckpointMixin` stands on."""

    model: Any
    eval_dataset: Any
    base: Base
    max_length: int
    _measured: tuple[int, dict[str, float]] = (-1, {})

    @property
    def _total_train_tokens(self) -> int:
        """Pairs trained on since the very beginning; a checkpoint keeps them."""
        return self.state.num_input_tokens_seen

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The contrastive loss of a batch; what comes with more batches per step is their mean."""
        inputs = dict(inputs)
        ids = inputs.pop("image_ids"), inputs.pop("text_ids"), inputs.pop("matches")
        if "image_features" in inputs:
            images = model.visual_projection(inputs["image_features"])
            texts = model.text_projection(inputs["text_features"])
        else:
            output = model(**inputs)
            images, texts = output.image_embeds.float(), output.text_embeds.float()
        loss = contrastive_loss(logits(images, texts, model.logit_scale), *ids)
        self.state.num_input_tokens_seen += len(ids[0])
        return (loss, {}) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Recall among all images and all texts of the split, both ways, and the median rank of the best match."""
        step = self.state.global_step
        if eval_dataset is None and self._measured[0] == step:
            return self._measured[1]  # the last step was one to evaluate after
        split = self.eval_dataset if eval_dataset is None else eval_dataset
        matches = split.pairs.matches()
        images, texts = self.embed(split)
        similar = images @ texts.T
        metrics = {f"{metric_key_prefix}_temperature": float(self.model.logit_scale.detach().exp())}
        for way, scores, right in zip(WAYS, (similar.T, similar), (matches.T, matches), strict=True):
            ranked = ranks(scores, right)
            metrics |= {f"{metric_key_prefix}_{way}_recall_at_{k}": recall(ranked, k) for k in KS}
            metrics[f"{metric_key_prefix}_{way}_median_rank"] = float(np.median(ranked)) + 1
        if eval_dataset is None:
            self._measured = (step, metrics)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def embed(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of the images and of the texts of a split."""
        model, size, pairs = self.model, self.args.per_device_eval_batch_size, split.pairs
        mode, vectors = model.training, []
        model.eval()
        for kind, count in (("image", len(pairs.rows)), ("text", len(pairs.texts))):
            parts = []
            for start in range(0, count, size):
                part = range(start, min(start + size, count))
                parts.append(self._embed(split, kind, part).float().cpu().numpy())
            whole = np.concatenate(parts)
            vectors.append(whole / np.linalg.norm(whole, axis=1, keepdims=True))
        model.train(mode)
        return vectors[0], vectors[1]

    def _embed(self, split: Split, kind: str, part: range) -> Any:
        model, processor, place = self.model, self.base.processor, "visual" if kind == "image" else "text"
        if split.features is not None:
            pooled = torch.from_numpy(np.asarray(split.features[kind == "text"][part.start : part.stop]))
            pooled = pooled.to(model.device)
        elif kind == "image":
            pooled = pooled_images(model, processor, [split.pairs.image(number) for number in part])
        else:
            pooled = pooled_texts(
                model, self.base.tokenizer, split.pairs.texts[part.start : part.stop], self.max_length
            )
        return getattr(model, f"{place}_projection")(pooled)


class DualEncoderTrainer(loop.CheckpointMixin, _Trainer):
    """transformers' trainer with checkpoints that prove themselves. A method subclasses it and overrides its hooks."""

    final_metrics = tuple(
        f"eval_{way}_{what}" for way in WAYS for what in (*(f"recall_at_{k}" for k in KS), "median_rank")
    )
    curves = (
        ("Recall", "share of the held-out queries",
         {f"{way.replace('_', ' ')}, first {k}": f"eval_{way}_recall_at_{k}" for way in WAYS for k in (1, 5)}),
        ("Temperature", "factor of the cosines", {"temperature": "eval_temperature"}),
    )  # fmt: skip

    def card_tags(self) -> list[str]:
        return ["vision", "feature-extraction", "contrastive"]


class _Begin(transformers.TrainerCallback):
    """Starts the clock once the state of a resumed training is there."""

    def __init__(self, trainer: DualEncoderTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer._mark = (time.perf_counter(), state.num_input_tokens_seen)


def fit(
    config: DualEncoderConfig, context: StepContext, trainer_class: type[DualEncoderTrainer] = DualEncoderTrainer
) -> DualEncoderTrainer:
    """One process's training; returns its trainer."""
    name = loop.name(context, "dataset")
    loaded = trainer_class.load_splits(config, context)
    for split in loaded.values():
        check_text_column(split.column_names, name)
    loaded, columns = take_images(loaded, config.image_limits(), context.inputs["dataset"].path, name)
    base = read(config, context)
    fixed = loop.training_arguments(config, context, config.eval_split is not None) | {"remove_unused_columns": False}
    if config.trained == "projections":
        fixed["bf16"] = False  # features are not computed again
    arguments = build(config, transformers.TrainingArguments, fixed)
    base.model.to(arguments.device)
    splits = {}
    for role, rows in loaded.items():
        pairs = prepare(rows.select_columns(["text", "image_at"]), role, columns, config, context, name)
        _count_cut(pairs, role, base, config, context)
        splits[role] = Split(
            pairs, _features(pairs, role, base, config, context) if config.trained == "projections" else None
        )
    for parameter_name, parameter in base.model.named_parameters():
        parameter.requires_grad_(config.trained == "all" or parameter_name.startswith(PROJECTIONS))
    trainer = trainer_class(
        model=base.model,
        args=arguments,
        data_collator=Collator(splits["train"], base, config.max_length),
        train_dataset=splits["train"],
        eval_dataset=splits.get("eval"),
        processing_class=base.processor,
    )
    trainer.base, trainer.max_length = base, config.max_length
    trainer.add_callback(_Begin(trainer))
    loop.fit(trainer, config, context)
    describe(trainer, splits, config, context)
    return trainer


def _count_cut(pairs: Pairs, role: str, base: Base, config: DualEncoderConfig, context: StepContext) -> None:
    """Count the texts that are longer than `max_length`."""
    lengths = [len(ids) for ids in base.tokenizer(pairs.texts)["input_ids"]]
    context.report.counts[f"{role}_texts_cut_at_max_length"] = sum(n > config.max_length for n in lengths)
    check_window([min(max(lengths), config.max_length)], base.model.config, base.source_names[-1])


def _features(
    pairs: Pairs, role: str, base: Base, config: DualEncoderConfig, context: StepContext
) -> tuple[np.ndarray, np.ndarray]:
    """What the towers pool of the images and texts of a split, from a file where it is there."""
    model, processor = base.model.eval(), base.processor
    inputs = sorted(f"{role} {source.ref}" for role, source in context.inputs.items())
    batch = config.per_device_eval_batch_size
    key = Hasher.hash([role, inputs, base.size, config.max_length, batch, config.dtype, pairs.rows, pairs.texts])
    folder = context.workdir / "features"
    images = filled(
        folder / f"{key}-images.bin", len(pairs.rows), model.vision_embed_dim, batch,
        lambda part: pooled_images(model, processor, [pairs.image(number) for number in part]), "images",
    )  # fmt: skip
    texts = filled(
        folder / f"{key}-texts.bin", len(pairs.texts), model.text_embed_dim, batch,
        lambda part: pooled_texts(model, base.tokenizer, pairs.texts[part.start : part.stop], config.max_length),
        "texts",
    )  # fmt: skip
    return images, texts


def describe(
    trainer: DualEncoderTrainer, splits: dict[str, Split], config: DualEncoderConfig, context: StepContext
) -> None:
    """What the card says beyond any training: the parts, what recall means, and what chance gives."""
    report, base = context.report, trainer.base
    model = trainer.model
    for old, new in (("train_tokens", "train_pairs"), ("tokens_per_second", "pairs_per_second")):
        report.metrics[new] = report.metrics.pop(old, None)
    for curve in report.curves:
        if curve["title"] == "Speed":
            curve["y"] = "pairs per second"
    parts = {"vision tower": model.vision_model, "text tower": model.text_model}
    rows = [
        [part, f"{m.config.model_type}, {sum(p.numel() for p in m.parameters()):,} parameters"]
        for part, m in parts.items()
    ]
    rows += [
        ["image", f"{base.size} x {base.size} pixels"],
        ["vector", f"{model.config.projection_dim} numbers"],
        ["trained", config.trained],
    ]
    report.table("Model", ["", ""], rows)
    names = list(base.source_names)
    report.card |= {
        "base_model": names if len(names) > 1 else names[0],
        "base_model_relation": "finetune",
        "pipeline_tag": "zero-shot-image-classification",
    }
    if "eval" in splits:
        _retrieval(trainer, splits["eval"], context)


def _retrieval(trainer: DualEncoderTrainer, split: Split, context: StepContext) -> None:
    """A table of recalls beside those of chance."""
    report, matches = context.report, split.pairs.matches()
    metrics = trainer.evaluate()
    rows = []
    for way, right in zip(WAYS, (matches.T, matches), strict=True):
        for k in KS:
            value, chance = metrics[f"eval_{way}_recall_at_{k}"], chance_recall(right, k)
            rows.append([way.replace("_", " "), k, value, chance])
    images, texts = matches.shape
    note = f"Share of the held-out queries with a match among the first k, of {images:,} images and {texts:,} texts."
    report.table("Retrieval", ["query and candidates", "k", "recall", "chance"], rows, note)
