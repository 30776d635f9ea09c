"""Builder `entity_ranks`: of every image the rank of its true name under a dual encoder, and subsets by it.

    config = EntityRanksConfig()
    build(config, local_context(dataset="me/landmarks@v1.0.0", encoder="me/names@v1.0.0"))["train"][0]["rank"]

Rows keep their columns. Memory holds the vectors of the names, a batch of images, and about 100 bytes for each image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.step import Preview
from ...inference.media.images import ImageSettings
from .._lib.context import local_context
from .._lib.row_writer import RowWriter
from .._lib.tables import dataset_splits
from .names import Names, read_names
from .ranking import COLUMNS, added, rank

if TYPE_CHECKING:
    from datasets import DatasetDict

ENCODER = re.compile(r"encoder(?:_(\d+))?")


class EntityRanksConfig(ImageSettings):
    """Which names are compared, and when an image counts as known. Defaults are our choice."""

    config: str | None = Field(None, description="Config of the data set; null: its default one.")
    split: str = Field("all", description="Split of the data set; all: all of them.")
    id: str = Field("image_id", description="Column of what tells images apart; rows of one image follow one another.")
    entity: str = Field("landmark_id", description="Column of the entity that an image shows.")
    name: str = Field("name", description="Column of the entity's name, one for each entity.")
    group: str | None = Field(None, description="Candidates are the names of entities with the same value here; null: "
                              "all names.")  # fmt: skip
    templates: tuple[str, ...] = Field(
        ("a photo of {name}.", "{name}"), min_length=1, description="Texts whose mean vector stands for a name."
    )
    fold: str | None = Field(
        None, description="Column of numbers k, so that the input `encoder_K` ranks the rows of fold K, on which it "
        "was not trained; null: the one input `encoder`.",
    )  # fmt: skip
    known_probability: float | None = Field(
        None, ge=0, le=1, description="Probability from which an image of rank 1 is known; null: the median of all."
    )
    unknown_from: int = Field(2, ge=2, description="Rank from which an image is unknown.")
    share: float = Field(0.5, gt=0, lt=1, description="Of each entity's images, in subsets by one measure.")
    seed: int = Field(0, ge=0, description="Of what is drawn for subsets.")
    batch: int = Field(64, ge=1, description="Images at once.")
    device: str = Field("auto", description="Where the encoder runs: auto, cpu, cuda or mps.")

    @model_validator(mode="after")
    def _templates(self) -> Self:
        if wrong := next((text for text in self.templates if "{name}" not in text), None):
            raise ValueError(f"templates: {wrong!r} has no {{name}}")
        return self

    def check_inputs(self, names: Sequence[str]) -> None:
        """Raises UsageError unless the encoders go with `fold`."""
        matches = {name: match[1] for name in names if (match := ENCODER.fullmatch(name))}
        if not matches:
            raise UsageError("inputs: name a dual encoder as `encoder`, or one for each fold as `encoder_0`, ...")
        if self.fold is None and list(matches) != ["encoder"]:
            raise UsageError("several encoders, and no fold says which ranks what: set fold, or name one `encoder`")
        if self.fold is not None and "encoder" in matches:
            raise UsageError("fold: each fold has an encoder that was not trained on it: name `encoder_0`, ...")

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The data set that will be published."""
        rest = tuple(name for name in inputs["dataset"].columns if name not in COLUMNS)
        return Preview(columns=rest + COLUMNS if rest else ())


def build(config: EntityRanksConfig, context: StepContext | None = None) -> DatasetDict:
    """The rows with their ranks; null with the reason in `fault` where there is no image or no name.

    Raises UsageError for encoders that do not go with `fold`, DataError for columns that are not there, for an entity
    with two names, and if no image can be ranked.
    """
    from datasets import Features, List, Value

    from . import report

    context = context or local_context()
    if "dataset" not in context.inputs:
        raise UsageError(f"step {context.step}: give the input `dataset`, images with the names of what they show")
    config.check_inputs(list(context.inputs))
    source = context.inputs["dataset"]
    splits = dict(dataset_splits(source, context, config.config, None if config.split == "all" else config.split))
    names = read_names(config, splits, str(source.ref))
    encoders = _encoders(config, context, names)
    ranked = {split: rank(config, rows, names, encoders, f"{context.step} {split}") for split, rows in splits.items()}
    if not any(len(one.row) for one in ranked.values()):
        faults = Counter(fault for one in ranked.values() for fault in one.faults.values())
        raise DataError(f"{source.ref}: no image can be ranked ({faults.most_common(1)[0][0]})")
    least = config.known_probability
    if least is None:
        least = float(np.median(np.concatenate([one.measures().probability for one in ranked.values()])))
    types = {"rank": Value("int64"), **dict.fromkeys(("similarity", "probability", "margin"), Value("float64")),
             "bucket": Value("string"), "subsets": List(Value("string")), "encoder": Value("string"),
             "fault": Value("string")}  # fmt: skip
    features = next(iter(splits.values())).features
    writer = RowWriter(context.workdir / "rows", Features({**_decoded(features), **types}))
    for split, rows in splits.items():
        for row, values in zip(rows, added(config, ranked[split], least), strict=True):
            writer.write(split, row | values)
    result = writer.finish()
    report.fill(config, context, result, names, ranked, least)
    for role, (encoder, _) in encoders.items():
        context.report.counts[f"names cut at the window of {role}"] = encoder.texts_cut
    return result


def _encoders(config: EntityRanksConfig, context: StepContext, names: Names) -> dict[str, tuple[Any, np.ndarray]]:
    """Input -> (embedder, vectors of the names)."""
    from ...inference.media.embeddings import Embedder

    result = {}
    for role, source in context.inputs.items():
        if not ENCODER.fullmatch(role):
            continue
        encoder = Embedder.load(source.path, str(source.ref), device=config.device, batch_size=config.batch)
        parts = [encoder.texts(text.replace("{name}", name) for name in names.names) for text in config.templates]
        vectors = np.mean(parts, axis=0)
        result[role] = encoder, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def _decoded(features: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the rows; images are images again, and columns of an earlier ranking are replaced."""
    from datasets import Image

    return {name: Image() if isinstance(kind, Image) else kind for name, kind in features.items()
            if name not in COLUMNS}  # fmt: skip
