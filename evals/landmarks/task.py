"""Questions about landmarks as lm-eval tasks: of images for models that see, of names for models of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import datasets

from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.json_columns import make_dataset
from .._lib.choices import ChoiceTask
from .._lib.scored import ScoredTask
from .choices import draw, shuffled
from .data import (
    DATA,
    IMAGE,
    LANDMARKS,
    QUESTION_COLUMNS,
    QUESTIONS,
    Images,
    answers_of,
    check_question,
    config_of,
    hierarchy_of,
)
from .figures import clustered_mean
from .hierarchy import ALL_LEVELS, PARENTS, consistency
from .text import score

OPTIONS = 4
BUCKETS = ("known", "between", "unknown")
QUESTION = {
    "supercategory": "Question: What kind of place is {name}?\nAnswer:",
    "hierarchical_label": "Question: Which group of places does {name} belong to?\nAnswer:",
    "natural_or_human_made": "Question: Is {name} natural or human-made?\nAnswer:",
}


def _bound(values: Sequence[tuple[float, str]], end: int, resamples: int) -> float:
    figure = clustered_mean([one for one, _ in values], [name for _, name in values], resamples, 0)
    return figure.value if math.isnan(figure[1 + end]) else figure[1 + end]


def _consistent(values: Iterable[tuple[Mapping[str, Any], str]]) -> float:
    """`consistency` of (question, reply); NaN if no image has two answers."""
    values = list(values)
    hierarchy = hierarchy_of(row for row, _ in values)
    replies = [(f"{row['image_id']} {row['language']}", row["level"], reply) for row, reply in values]
    return consistency(replies, hierarchy)


class LandmarkTask(ScoredTask):
    """An image and a question in, a name or a kind of place out.

    Documents are rows of the config `questions` without their images, which are read when they are asked for.
    `metadata.bootstrap` sets how often landmarks are drawn for the intervals (1,000).
    """

    DATA = DATA
    LEVELS: tuple[str, ...] = ALL_LEVELS
    CLUSTERED = ("acc", "contains")
    METRICS = (
        "acc", "contains", "f1", "refusal", *(f"acc_{level}" for level in LEVELS), "caption_has_name",
        *(f"acc_{bucket}" for bucket in BUCKETS),
    )  # fmt: skip
    LOWER_IS_BETTER = ("refusal",)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the questions of the split that the YAML names. Raises as `TaskData.rows` does."""
        path, source_name = self.DATA.locate(self.config.metadata)
        split, config = str(self.config.test_split), config_of(path, QUESTIONS, source_name)
        rows = self.DATA.rows(self.config.metadata, split, config=config, columns=("image", *QUESTION_COLUMNS))
        self.dataset = {split: self.documents(rows)}

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The questions of the task's levels. Raises DataError in one line for the first row that is none, before a
        model is asked."""
        chosen = [number for number, level in enumerate(rows["level"]) if level not in ALL_LEVELS or
                  level in self.LEVELS]  # fmt: skip
        if not chosen:
            raise DataError(f"{self.config.task}: no question is of the level {' or '.join(self.LEVELS)}")
        rows = rows.select(chosen)
        self._images = Images(rows, str(self.config.task))
        names = [n for n in (*QUESTION_COLUMNS, "aliases", "language", "bucket", *PARENTS) if n in rows.column_names]
        docs = []
        for number, row in enumerate(rows.select_columns(names)):
            try:
                check_question(row)
                self._images.open(number)
            except RowRejected as error:
                raise DataError(
                    f"{self.config.task}: row {chosen[number]}, image {row['image_id']!r}: {error}"
                ) from error
            empty = dict.fromkeys(("aliases", "language", "bucket", *PARENTS))
            docs.append({**empty, **row, "aliases": list(row.get("aliases") or []), "row": number})
        text = datasets.Value("string")
        features = {name: text for name in docs[0] if name not in ("answers", "aliases", "row")}
        lists = dict.fromkeys(("answers", "aliases"), datasets.List(text))
        return make_dataset(docs, datasets.Features({**features, **lists, "row": datasets.Value("int64")}))

    def doc_to_image(self, doc: dict[str, Any], doc_to_image: Any = None) -> list[Any]:
        """The image, upright and in RGB."""
        return [self._images.open(doc["row"])]

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        return IMAGE + str(doc["question"])

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        return str(doc["answers"][0])

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        reply, landmark = str(results[0]), str(doc["landmark_id"])
        own = score(reply, answers_of(doc))
        result: dict[str, Any] = {"refusal": own["refusal"], "consistency": (doc, reply)}
        if doc["level"] == "caption":
            return result | {"caption_has_name": own["contains"]}
        result |= {"acc": own["exact"], "contains": own["contains"], "f1": own["f1"]}
        result[f"acc_{doc['level']}"] = own["exact"]
        if doc["level"] == "name" and doc["bucket"] in BUCKETS:
            result[f"acc_{doc['bucket']}"] = own["exact"]
        ends = {f"{name}_ci_{side}": (result[name], landmark) for name in self.CLUSTERED for side in ("low", "high")}
        return result | ends

    def aggregation(self) -> dict[str, Any]:
        resamples = int((self.config.metadata or {}).get("bootstrap", 1000))
        ends: dict[str, Callable[..., float]] = {
            f"{name}_ci_{side}": partial(_bound, end=end, resamples=resamples)
            for name in self.CLUSTERED for end, side in enumerate(("low", "high"))
        }  # fmt: skip
        return super().aggregation() | ends | {"consistency": _consistent}


class LandmarkNameTask(LandmarkTask):
    """The name of the landmark in an image."""

    LEVELS = ("name",)

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        result = super().scores(doc, results)
        return {name: value for name, value in result.items() if name not in ("consistency", "acc_name")}


class TextOnlyTask(ChoiceTask):
    """A landmark's name in, its parents out, by log-likelihood: what a model of text knows without seeing.

    The likeliest of up to four values of a level: the true one, and others of the data set drawn by hash.
    """

    DATA = DATA
    COLUMNS = ("landmark_id", "name")
    METRICS = (*ChoiceTask.METRICS, "chance", *(f"acc_{level}" for level in PARENTS))

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the landmarks. Raises as `TaskData.rows` does."""
        path, source_name = self.DATA.locate(self.config.metadata)
        if path.is_dir() and config_of(path, LANDMARKS, source_name) is None:
            raise DataError(f"{source_name}: has no config {LANDMARKS!r}: name a data set of the step landmarks")
        self.SUBSET = LANDMARKS if path.is_dir() else None
        super().download(dataset_kwargs, **kwargs)

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """A document for each landmark and level with at least two values. Raises DataError if there is none."""
        levels = [level for level in PARENTS if level in rows.column_names]
        values = {level: {one for one in rows[level] if one} for level in levels}
        docs = []
        for row in rows.select_columns(["landmark_id", "name", *levels]):
            for level in levels:
                if not row[level] or not row["name"] or len(values[level]) < 2:
                    continue
                key = f"{row['landmark_id']} {level}"
                wrong = draw(key, row[level], values[level], OPTIONS - 1)
                options = shuffled(key, [row[level], *wrong])
                docs.append({
                    "landmark_id": str(row["landmark_id"]), "name": row["name"], "level": level, "options": options,
                    "gold": options.index(row[level]),
                })  # fmt: skip
        if not docs:
            raise DataError(
                f"{self.config.task}: no landmark has one of {', '.join(PARENTS)} with two values or more: there is "
                "nothing to choose among"
            )
        return make_dataset(docs)

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        return QUESTION[doc["level"]].replace("{name}", doc["name"])

    def scores(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        result = super().scores(doc, results)
        return result | {"chance": 1 / len(doc["options"]), f"acc_{doc['level']}": result["acc"]}
