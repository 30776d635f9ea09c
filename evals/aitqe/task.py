"""Scoring of image-text pairs as an lm-eval task, for any model of images and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets

from ...hub_sync.errors import DataError, RowRejected
from ...inference.media.images import open_image
from ...inference.media.pair_scores import ASPECTS, HIGH, LOW, prompt
from .._lib.data import TaskData
from .._lib.scored import ScoredTask
from . import replies
from .joined import GOOD, KINDS

IMAGE = "<image>"  # where lm-eval puts a document's image


class AitqeScoreTask(ScoredTask):
    """An image and a text in, a score from 1 to 10 out.

    Documents are samples without their images, which are read when they are asked for. `metadata.bootstrap` sets how
    often pairs of twins are drawn for the intervals (1,000).
    """

    DATA = TaskData("aitqe_samples", build="aitqe_pairs")
    COLUMNS = ("id", "image", "raw_text", "kind", "twin", "scores")
    METRICS = ("parse_rate",)
    LOWER_IS_BETTER = ("mae",)

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The samples. Raises DataError in one line for the first row that is none, before a model is asked."""
        if not isinstance(rows.features["image"], datasets.Image):
            raise DataError(
                f"{self.config.task}: the column 'image' holds no images: samples are built by aitqe_samples"
            )
        images = rows.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
        docs = rows.remove_columns("image")
        places: dict[str, int] = {}
        for number, row in enumerate(docs):
            try:
                _check(row, places)
                open_image(_content(images[number]["image"]))
            except RowRejected as error:
                raise DataError(f"{self.config.task}: row {number}, id {row['id']!r}: {error}") from error
            places[str(row["id"])] = number
        self._images, self._places = images, places
        return docs

    def doc_to_image(self, doc: dict[str, Any], doc_to_image: Any = None) -> list[Any]:
        """The image, upright and in RGB, as scorers are trained on it."""
        return [open_image(_content(self._images[self._places[str(doc["id"])]]["image"]))]

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        return IMAGE + prompt(doc["raw_text"])

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        return str(int(doc["scores"][ASPECTS[0]]))

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        score = replies.score_of(results[0])
        target = int(doc["scores"][ASPECTS[0]])
        answer = (score, target, doc["kind"] in GOOD, str(doc["id"]), str(doc["twin"] or ""))
        return {"parse_rate": float(score is not None), **dict.fromkeys(replies.aggregations(0), answer)}

    def aggregation(self) -> dict[str, Any]:
        resamples = int((self.config.metadata or {}).get("bootstrap", 1000))
        return super().aggregation() | replies.aggregations(resamples)


def _check(row: dict[str, Any], places: dict[str, int]) -> None:
    text, overall = row["raw_text"], (row["scores"] or {}).get(ASPECTS[0])
    if str(row["id"]) in places:
        raise RowRejected("the id is there twice")
    if row["kind"] not in KINDS:
        raise RowRejected(f"the kind is none of {', '.join(KINDS)}", row["kind"])
    if overall is None or overall != int(overall) or not LOW <= overall <= HIGH:
        raise RowRejected(f"the overall score is not a whole number from {LOW} to {HIGH}", overall)
    if not isinstance(text, str) or not text.strip():
        raise RowRejected("no text", text)
    if IMAGE in text:
        raise RowRejected(f"the text holds {IMAGE!r}, which stands for an image: leave the row out", text)


def _content(image: Any) -> bytes:
    if image is None or not image.get("bytes"):
        raise RowRejected("no image: build the samples with require_image: true")
    return bytes(image["bytes"])
