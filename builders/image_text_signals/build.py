"""Builder `image_text_signals`: signals of every pair of a data set, to filter by, or to compare scorers with.

    config = SignalsConfig()
    build(config, local_context(dataset="me/pairs@v1.0.0"))["train"][0]     # {"id": ..., "words": 9.0, ...}

With an input `encoder`, a dual encoder, there are cosines; with `ocr`, what is read in the image. Memory holds a
batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.pace import Pace
from ...inference.media.images import ImageSettings, open_image
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.row_writer import RowWriter
from .._lib.tables import check_images, dataset_splits
from .signals import basic_filter, neg_clip_loss, overlap, text_signals

if TYPE_CHECKING:
    from datasets import DatasetDict

TEXTS = ("raw_text", "text")
OF_TEXT = ("words", "distinct_words", "letters", "lower", "basic_filter")
OF_BOTH = ("cosine", "neg_clip_loss")


class SignalsConfig(ImageSettings):
    """Which signals of which pairs. Defaults are our choice."""

    split: str = Field("all", description="Split of the input `dataset`; all: all of them.")
    text: str | None = Field(None, description="Column of the texts; null: raw_text or text, if there is one of them.")
    batch: int = Field(
        256, ge=2, description="Pairs in a batch; neg_clip_loss compares a pair with the other texts and images there."
    )
    ocr: bool = Field(False, description="Read text in the images (rapidocr-onnxruntime) for `ocr_overlap`; slow.")
    device: str = Field("auto", description="Where the encoder runs: auto, cpu, cuda or mps.")


def build(config: SignalsConfig, context: StepContext | None = None) -> DatasetDict:
    """A row of signals for each pair, null where an image cannot be read.

    Raises UsageError without an input, DataError for a data set without pairs.
    """
    from datasets import Features, Value

    context = context or local_context()
    if "dataset" not in context.inputs:
        raise UsageError(f"step {context.step}: give the input `dataset`, pairs of images and texts")
    encoder, reader = _encoder(config, context), _ocr() if config.ocr else None
    names = [*OF_TEXT, *(OF_BOTH if encoder else ()), *(["ocr_overlap"] if reader else ())]
    types = {"id": Value("string"), **dict.fromkeys(names, Value("float64")), "fault": Value("string")}
    writer, faults = RowWriter(context.workdir / "rows", Features(types)), Counter[str]()
    source = context.inputs["dataset"]
    for split, rows in dataset_splits(source, context, None, None if config.split == "all" else config.split):
        column = config.text or next((name for name in TEXTS if name in rows.column_names), "text")
        if missing := [name for name in ("id", column) if name not in rows.column_names]:
            raise DataError(f"{source.ref} has no column {missing[0]!r}; it has {', '.join(rows.column_names)}")
        if set(TEXTS) <= set(rows.column_names) and config.text is None:
            raise DataError(f"{source.ref} has the columns raw_text and text: set `text` to the one to be read")
        if (encoder or reader) and "image" not in rows.column_names:
            raise DataError(f"{source.ref} has no column 'image'; it has {', '.join(rows.column_names)}")
        if encoder or reader:
            check_images(rows.features["image"], str(source.ref))
        needed = [n for n in ("id", column, "image", "width", "height") if n in rows.column_names]
        pace = Pace(f"{context.step} {split}", "pairs", total=len(rows))
        for batch in _batches(rows.select_columns(needed), config.batch):
            for row in _signals(config, batch, column, encoder, reader):
                writer.write(split, dict.fromkeys(types) | row)
                faults.update([row["fault"].partition(":")[0]] if row.get("fault") else [])
            pace.add(len(batch))
    splits = writer.finish()
    if not splits:
        raise DataError(f"{source.ref}: has no rows")
    if faults.total() == sum(writer.counts.values()):
        reason = faults.most_common(1)[0][0]
        raise DataError(f"{source.ref}: no image of it can be read ({reason}), so that there are no signals of images")
    about = f" Cosines are of `{context.inputs['encoder'].ref}`." if encoder else ""
    describe(context.report, __file__, source=source.ref, about=about)
    context.report.columns = {n: text for n, text in context.report.columns.items() if n in types}
    context.report.counts["pairs"] = sum(map(len, splits.values()))
    context.report.counts |= {f"no image: {reason}": number for reason, number in faults.items()}
    return splits


def _batches(rows: Any, size: int) -> Iterator[list[Mapping[str, Any]]]:
    for start in range(0, len(rows), size):
        columns = rows[start : start + size]
        yield [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _signals(
    config: SignalsConfig, batch: Sequence[Mapping[str, Any]], column: str, encoder: Any, reader: Any
) -> list[dict[str, Any]]:
    """The signals of the pairs of a batch."""
    rows: list[dict[str, Any]] = []
    images: dict[int, Any] = {}
    for place, pair in enumerate(batch):
        if not isinstance(pair[column], str | None):
            raise DataError(f"id {pair['id']!r}: {column} is no text: make a row of each text first")
        text = pair[column] or ""
        rows.append({"id": pair["id"], **text_signals(text)})
        rows[-1]["basic_filter"] = basic_filter(text, pair.get("width"), pair.get("height"))
        if encoder is None and reader is None:
            continue
        try:
            value = pair.get("image")
            content = value if isinstance(value, bytes | None) else value.get("bytes")
            if content is None:
                raise RowRejected("its pixels are not in the data set")
            images[place] = open_image(content, config.image_limits())
        except RowRejected as error:
            rows[-1]["fault"] = str(error)
    if encoder is not None and images:
        cosines = encoder.images(images.values()) @ encoder.texts(str(batch[n][column] or "") for n in images).T
        values = zip(images, np.diag(cosines), neg_clip_loss(cosines, encoder.scale), strict=True)
        for place, cosine, loss in values:
            rows[place] |= {"cosine": float(cosine), "neg_clip_loss": float(loss) if math.isfinite(loss) else None}
    for place, image in images.items() if reader is not None else ():
        found, _ = reader(np.asarray(image)[:, :, ::-1])
        seen = " ".join(text for _, text, _ in found or [])
        rows[place]["ocr_overlap"] = overlap(str(batch[place][column] or ""), seen)
    return rows


def _encoder(config: SignalsConfig, context: StepContext) -> Any:
    if "encoder" not in context.inputs:
        return None
    from ...inference.media.embeddings import Embedder

    source = context.inputs["encoder"]
    return Embedder.load(source.path, str(source.ref), device=config.device)


def _ocr() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise UsageError("ocr: true needs: pip install rapidocr-onnxruntime") from error
    return RapidOCR()
