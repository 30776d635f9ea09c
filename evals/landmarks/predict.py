"""Recipe step `landmark_predict`: the landmark that each image of a data set or of a folder shows, with a confidence.

    {"image_id": "paris/1.jpg", "name": "Eiffel Tower", "supercategory": "tower", ..., "confidence": 0.93,
     "abstained": false, "fault": null}

By a dual encoder (the nearest name), a linear probe on a frozen vision tower, or a model that sees and writes. Below a
threshold, chosen on images that are not predicted, the name is no answer. Rows out are images in.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.pace import Pace
from ...inference.media.images import ImageSettings
from ...inference.model_shards import shards_of
from .._lib.data import stream_parquet
from .confidence import Threshold, best_f1, for_precision
from .data import PAIRS, config_of, read_landmarks, splits_of
from .hierarchy import PARENTS
from .pictures import Pictures, read_folder, read_splits
from .predictors import Guess, Predictor
from .text import is_match

logger = logging.getLogger("hubwright.evals")
SHARD = 256
METHODS = ("encoder", "tower", "model")
FOLDER_SPLIT = "train"
COLUMNS = {
    "image_id": "of the image; of a folder its path there",
    "name": "of the landmark; null for a refusal, and without an image",
    "landmark_id": "of the landmark; null if the name is none of the known ones, or of several",
    "supercategory": "of the landmark; null if it is not known",
    "hierarchical_label": "of the landmark; null if it is not known",
    "natural_or_human_made": "of the landmark; null if it is not known",
    "confidence": "probability of the name: among all names, or of the model's whole reply",
    "abstained": "whether the confidence is below the threshold, so that the name is no answer; null if there is none",
    "label": "the true name; null if it shows none, or nobody has said",
    "right": "whether the name is the true one or an alias, or absent where there is none; null if nobody has said",
    "fault": "why there is no name; null if there is one, or the model refused",
}


class LandmarkPredictConfig(ImageSettings):
    """What is predicted, and when the name counts as no answer. Defaults are our choice."""

    source: str | None = Field(
        None, min_length=1, description="A folder of images on this machine; null: the input `dataset`."
    )
    config: str | None = Field(None, description="Config of the input `dataset`; null: `pairs`, else the default one.")
    splits: tuple[str, ...] = Field((), description="Splits of the input `dataset`; []: all of them.")
    label: str = Field("name", description="Column of the true names, if there is one; null in a row: no landmark.")
    templates: tuple[str, ...] = Field(
        ("a photo of {name}.", "{name}"),
        min_length=1,
        description="encoder: texts whose mean vector stands for a name.",
    )
    question: str = Field("What is the name of this landmark?", min_length=1, description="model: what it is asked.")
    max_new_tokens: int = Field(48, ge=1, description="model: tokens of a reply at most.")
    train_split: str = Field("train", description="tower: split of `landmarks` that the probe is trained on.")
    strength: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="tower: inverse of the L2 penalty (sklearn's C)."
    )
    iterations: int = Field(1000, ge=1, description="tower: iterations of the probe's training at most.")
    dev_split: str = Field(
        "validation", description="Split on which the threshold is chosen: of the input `dev`, else of `landmarks`."
    )
    precision: float | None = Field(
        None, gt=0, le=1, description="Smallest precision on dev; null: the threshold with the largest F1."
    )
    threshold: float | None = Field(None, ge=0, le=1, description="The threshold itself; null: chosen on dev.")
    gallery: int | None = Field(
        None, ge=0, le=100, description="Images of each kind on the card; null: 10 of a data set, none of a folder."
    )
    dtype: str = Field("float32", pattern="^(float32|bfloat16)$", description="model: type of the weights.")
    batch_size: int = Field(16, ge=1, description="Images at once.")
    device: str = Field("auto", description="Where the model runs: auto, cpu, cuda or mps.")

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.threshold is not None and self.precision is not None:
            raise ValueError("threshold and precision: set one of them")
        if wrong := next((text for text in self.templates if "{name}" not in text), None):
            raise ValueError(f"templates: {wrong!r} has no {{name}}")
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError unless there is one method, and images of one kind."""
        names = list(names)
        methods = [name for name in names if name in METHODS]
        if len(methods) != 1:
            raise UsageError("inputs: name one of encoder (a dual encoder), tower (a linear probe) and model")
        if (self.source is None) != ("dataset" in names):
            raise UsageError("name the images as the input `dataset` or as `source`, a folder")
        if methods[0] != "model" and "landmarks" not in names:
            raise UsageError(f"{methods[0]}: the input `landmarks` has the names to choose among: add it")


def predict(config: LandmarkPredictConfig, context: StepContext) -> None:
    """Write a row for every image to `context.output`, and fill the report.

    Raises UsageError for inputs that do not go together, DataError for data sets of another kind, and if no threshold
    has the wanted precision.
    """
    from . import predict_report

    config.check_inputs(context.inputs)
    pictures = _pictures(config, context)
    landmarks = _landmarks(context)
    dev = _dev(config, context, pictures)
    predictor = _Late(lambda: make_predictor(config, context, landmarks))
    parts = {split: _guesses(config, context, predictor, split, one) for split, one in pictures.items()}
    chosen, dev_rows = None, []
    if dev is not None:
        dev_rows = _guesses(config, context, predictor, "of dev", dev)
        chosen = _threshold(config, dev_rows)
    least = config.threshold if chosen is None else chosen.value
    for split, rows in parts.items():
        finished = ({**row, "abstained": _abstained(row, least)} for row in rows)
        stream_parquet(finished, context.output / "data", split, _features())
    predict_report.fill(config, context, pictures, parts, dev_rows, chosen, least)
    context.report.counts |= predictor.counts


def _pictures(config: LandmarkPredictConfig, context: StepContext) -> dict[str, Pictures]:
    if config.source is None:
        source = context.inputs["dataset"]
        return dict(read_splits(source, config.config, config.splits, config.label, config.image_limits()))
    files = read_folder(config.source, config.image_limits())
    context.report.counts["files that are not images"] = files.others
    return {FOLDER_SPLIT: files}


def _landmarks(context: StepContext) -> list[dict[str, Any]]:
    source = context.inputs.get("landmarks")
    return [] if source is None else read_landmarks(source.path, str(source.ref))


def _dev(config: LandmarkPredictConfig, context: StepContext, pictures: Mapping[str, Pictures]) -> Pictures | None:
    """The images on which a threshold is chosen; None without any. Raises UsageError if they are those of the
    predictions, or if a probe was trained on these."""
    data, landmarks = context.inputs.get("dataset"), context.inputs.get("landmarks")
    if "tower" in context.inputs and _same(data, landmarks) and config.train_split in pictures:
        raise UsageError(f"splits: the probe is trained on {config.train_split}: set splits to others")
    source = context.inputs.get("dev", landmarks)
    if config.threshold is not None or source is None:
        return None
    if "dev" not in context.inputs:
        there = splits_of(source.path, config_of(source.path, PAIRS, str(source.ref)), str(source.ref))
        if config.dev_split not in there:
            if config.precision is not None:
                raise UsageError(f"precision: {source.ref} has no split {config.dev_split!r} to choose a threshold on")
            return None
    if _same(data, source) and config.dev_split in pictures:
        raise UsageError(
            f"splits: the threshold is chosen on {config.dev_split}, and would look better there than it is: set "
            "splits to others, or set threshold"
        )
    dev = read_splits(source, None, [config.dev_split], config.label, config.image_limits())[config.dev_split]
    if all(label is None for label in dev.labels):
        raise DataError(f"{source.ref}: split {config.dev_split} has no column {config.label!r} of true names")
    return dev


def _same(one: Input | None, other: Input | None) -> bool:
    return one is not None and other is not None and one.ref == other.ref


def make_predictor(
    config: LandmarkPredictConfig, context: StepContext, landmarks: Sequence[Mapping[str, Any]]
) -> Predictor:
    """The predictor of a step's inputs, its model loaded."""
    from ...inference.media.embeddings import Embedder
    from . import predictors

    inputs = context.inputs
    if "encoder" in inputs:
        source = inputs["encoder"]
        name, size = str(source.ref), config.batch_size
        encoder = Embedder.load(source.path, name, device=config.device, batch_size=size)
        return predictors.Retrieval(encoder, landmarks, config.templates)
    if "tower" in inputs:
        features = predictors.Features(inputs["tower"], config.device, config.batch_size)
        return predictors.Probe(
            features, inputs["landmarks"], config.train_split, landmarks, config.strength, config.iterations
        )
    from .seeing import Seer

    try:
        seer = Seer(inputs, "model", config.dtype, config.device, config.max_new_tokens)
        return predictors.Speaker(seer, config.question, landmarks)
    except RowRejected as error:
        raise UsageError(f"question: {error}") from error


class _Late:
    """A predictor that is made when it is needed: a resumed run may have all of its shards."""

    def __init__(self, make: Callable[[], Predictor]) -> None:
        self._make, self._made = make, list[Predictor]()

    def __call__(self, images: Sequence[Any]) -> list[Guess]:
        if not self._made:
            self._made.append(self._make())
        return self._made[0](images)

    @property
    def counts(self) -> dict[str, int]:
        return dict(getattr(self._made[0], "counts", {})) if self._made else {}


def _guesses(
    config: LandmarkPredictConfig, context: StepContext, predictor: Predictor, what: str, pictures: Pictures
) -> list[dict[str, Any]]:
    """A row for each picture, without `abstained`; finished shards are on the disk."""

    def work(numbers: Sequence[int]) -> list[dict[str, Any]]:
        rows = []
        for start in range(0, len(numbers), config.batch_size):
            rows += _batch(pictures, numbers[start : start + config.batch_size], predictor)
        return rows

    settings = config.model_dump(mode="json", exclude={"precision", "threshold", "gallery", "source", "dev_split"})
    identity = {
        "step": "landmark_predict", "config": settings, "of": what, "ids": [pictures.ids[0], len(pictures.ids)],
        "inputs": {role: str(one.ref) for role, one in context.inputs.items()},
    }  # fmt: skip
    folder = context.workdir / "predictions" / what.replace(" ", "-")
    pace = Pace(f"{context.step} {what}", "images", total=len(pictures.ids))
    return list(shards_of(lambda: work, range(len(pictures.ids)), identity, folder, SHARD, pace=pace))


def _batch(pictures: Pictures, numbers: Sequence[int], predictor: Predictor) -> list[dict[str, Any]]:
    rows, ready = [], []
    for number in numbers:
        label = pictures.labels[number]
        row = {**dict.fromkeys(COLUMNS), "image_id": pictures.ids[number], "label": label[0] if label else None}
        rows.append(row)
        try:
            ready.append((row, number, pictures.open(number)))
        except RowRejected as error:
            row["fault"] = error.reason
    if not ready:
        return rows
    try:
        guesses = predictor([image for *_, image in ready])
    except RowRejected as error:
        for row, *_ in ready:
            row["fault"] = error.reason
        return rows
    for (row, number, _), guess in zip(ready, guesses, strict=True):
        if not math.isfinite(guess.confidence):
            row["fault"] = "the model gives no finite probability"
            continue
        row |= {"name": guess.name, "landmark_id": guess.landmark_id, "confidence": guess.confidence}
        row |= dict(zip(PARENTS, guess.parents, strict=True))
        label = pictures.labels[number]
        if label is not None:
            row["right"] = is_match(guess.name, label) if guess.name is not None else not label
    return rows


def named(rows: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int]:
    """(confidence and whether it is right of each prediction with a name, images that show a landmark) of labelled
    rows. An image without a landmark counts as a wrong prediction if it got a name."""
    given = [row for row in rows if row["name"] is not None and row["right"] is not None]
    confidence = np.array([row["confidence"] for row in given], np.float64)
    return confidence, np.array([row["right"] for row in given], bool), sum(row["label"] is not None for row in rows)


def _threshold(config: LandmarkPredictConfig, rows: Sequence[Mapping[str, Any]]) -> Threshold | None:
    confidence, right, queries = named(rows)
    if config.precision is None:
        chosen = best_f1(confidence, right, queries)
        if chosen is None or not chosen.f1:
            logger.warning("no prediction on %s is right: no threshold is chosen", config.dev_split)
            return None
        return chosen
    chosen = for_precision(confidence, right, queries, config.precision)
    if chosen is None:
        values = sorted(set(confidence.tolist()))
        best = max((float(right[confidence >= value].mean()) for value in values), default=0.0)
        raise DataError(
            f"precision: no threshold has {config.precision:g} on {config.dev_split}; the largest there is "
            f"{best:.3f}: lower it"
        )
    return chosen


def _abstained(row: Mapping[str, Any], least: float | None) -> bool | None:
    return None if least is None or row["confidence"] is None else bool(row["confidence"] < least)


def _features() -> dict[str, Any]:
    from datasets import Value

    kinds = {"confidence": "float64", "abstained": "bool", "right": "bool"}
    return {name: Value(kinds.get(name, "string")) for name in COLUMNS}


def faults_of(rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Images without a prediction by reason."""
    return Counter(str(row["fault"]) for row in rows if row["fault"] is not None)
