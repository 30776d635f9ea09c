"""Questions of a data set beside the replies of several models, joined by image, level and language.

Replies come in three forms: a row for each question (`landmark_answers`), a row for each image with a name and its
parents (`landmark_predict`, or a baseline of one's own), and the samples of an `lm_eval` step on `landmark_levels`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...hub_sync.context import Input
from ...hub_sync.errors import DataError, RowRejected
from .._lib.data import read_split
from .data import QUESTION_COLUMNS, QUESTIONS, Images, check_columns, check_question, config_of, splits_of
from .hierarchy import LEVELS, PARENTS

Key = tuple[str, str, str | None]


@dataclass(frozen=True)
class Questions:
    """Questions in their order, without images.

    Attributes:
        rows: each with the columns of `questions`, `split`, and `bucket` or None.
        images: by split.
        numbers: of each row within its split.
    """

    rows: list[dict[str, Any]]
    images: Mapping[str, Images]
    numbers: list[int]

    def image(self, place: int) -> Any:
        """The image of a row. Raises RowRejected."""
        return self.images[self.rows[place]["split"]].open(self.numbers[place])


def read_questions(source: Input, config: str | None, splits: Sequence[str]) -> Questions:
    """The questions of those of the splits that the data set has.

    Raises DataError for a data set without any of them, for absent columns, for the first row that is no question, and
    for a question that is there twice.
    """
    name = str(source.ref)
    config = config or config_of(source.path, QUESTIONS, name)
    there = [split for split in splits_of(source.path, config, name) if split in splits]
    if not there:
        raise DataError(f"{name} has none of the splits {', '.join(splits)}: set splits")
    rows, images, numbers = list[dict[str, Any]](), dict[str, Images](), list[int]()
    first: dict[Key, str] = {}
    for split in there:
        data = read_split(source.path, split, config)
        check_columns(data, ("image", *QUESTION_COLUMNS), f"{name}, split {split}")
        images[split] = Images(data, name)
        columns = [n for n in (*QUESTION_COLUMNS, "aliases", "language", "bucket", *PARENTS) if n in data.column_names]
        for number, row in enumerate(data.select_columns(columns)):
            try:
                check_question(row)
            except RowRejected as error:
                raise DataError(f"{name}: split {split}, row {number}, image {row['image_id']!r}: {error}") from error
            row = {**dict.fromkeys(("aliases", "language", "bucket", *PARENTS)), **row, "split": split}
            key = (row["image_id"], row["level"], row["language"])
            if key in first:
                raise DataError(
                    f"{name}: split {split}, row {number}: image {key[0]!r} has a question of the level {key[1]} "
                    f"before, in {first[key]}: give each image one question of a level and language"
                )
            first[key] = split
            rows.append(row)
            numbers.append(number)
    if not rows:
        raise DataError(f"{name}: the splits {', '.join(there)} have no rows")
    return Questions(rows, images, numbers)


@dataclass(frozen=True)
class Replies:
    """The replies of one model, in the order of the questions.

    Attributes:
        covered: bool (n,), False for questions of levels without replies.
        texts: None without a reply.
        confidence: float64 (n,), NaN without one.
        choice: float64 (n,), 1 if the right one of several names was the likeliest; NaN if there was no choice.
        chance: float64 (n,), of a choice by guessing.
        others: rows about images or levels that are not among the questions.
    """

    covered: np.ndarray[Any, Any]
    texts: list[str | None]
    confidence: np.ndarray[Any, Any]
    choice: np.ndarray[Any, Any]
    chance: np.ndarray[Any, Any]
    others: int


def read_replies(source: Input, questions: Questions) -> Replies:
    """The replies of a data set. Raises DataError in one line for other columns, a reply that is no text, a confidence
    that is not finite, one question with two replies, or questions of an asked level that have none."""
    name, number = str(source.ref), len(questions.rows)
    result = Replies(
        np.zeros(number, bool), [None] * number, np.full(number, np.nan), np.full(number, np.nan),
        np.full(number, np.nan), 0,
    )  # fmt: skip
    exact: dict[Key, int] = {}
    any_language: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(questions.rows):
        exact[row["image_id"], row["level"], row["language"]] = place
        any_language.setdefault((row["image_id"], row["level"]), []).append(place)
    others = 0
    for where, row in _records(source):
        image, level = str(row["image_id"]), row["level"]
        if row.get("language") is None:
            places = any_language.get((image, level), [])
        else:
            places = [exact[key] for key in [(image, level, row["language"])] if key in exact]
        others += not places
        for place in places:
            if result.covered[place]:
                raise DataError(f"{name}: {where}: image {image!r} has a reply of the level {level} before")
            _fill(result, place, row, f"{name}: {where}")
    if not result.covered.any():
        raise DataError(
            f"{name}: none of its {others} rows is about one of the {number} questions: answer those of the same data"
        )
    levels = {row["level"] for row, covers in zip(questions.rows, result.covered, strict=True) if covers}
    lost = [n for n, row in enumerate(questions.rows) if row["level"] in levels and not result.covered[n]]
    if lost:
        row, all_of = questions.rows[lost[0]], sum(row["level"] in levels for row in questions.rows)
        raise DataError(
            f"{name}: {len(lost)} of {all_of} questions of its levels have no row, image {row['image_id']!r}, level "
            f"{row['level']}, split {row['split']} among them: answer all of the same data set"
        )
    return Replies(result.covered, result.texts, result.confidence, result.choice, result.chance, others)


def _fill(result: Replies, place: int, row: Mapping[str, Any], where: str) -> None:
    reply, confidence, choice = row.get("reply"), row.get("confidence"), row.get("choice")
    if reply is not None and not isinstance(reply, str):
        raise DataError(f"{where}: the reply is not a text: {reply!r:.80}")
    if confidence is not None and not (isinstance(confidence, int | float) and math.isfinite(confidence)):
        raise DataError(f"{where}: the confidence is not a finite number: {confidence!r:.80}")
    result.covered[place], result.texts[place] = True, reply
    if confidence is not None and reply is not None:
        result.confidence[place] = confidence
    if choice is not None:
        result.choice[place] = float(choice)
        result.chance[place] = 1 / len(row["options"]) if row.get("options") else math.nan


def _records(source: Input) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, image_id, level and what else is said) of every reply. Raises DataError for columns of no known form."""
    name, met = str(source.ref), 0
    for split in splits_of(source.path, None, name):
        rows = read_split(source.path, split)
        columns = set(rows.column_names)
        if {"task", "doc", "filtered_resps"} <= columns:
            read = _of_lm_eval
        elif {"image_id", "level", "reply"} <= columns:
            read = _of_questions
        elif {"image_id", "name"} <= columns:
            read = _of_images
        else:
            raise DataError(
                f"{name}: split {split} has neither image_id, level and reply, nor image_id and name, nor the samples "
                f"of lm_eval; it has {', '.join(rows.column_names)}"
            )
        if "image" in columns:
            rows = rows.remove_columns("image")
        for number, row in enumerate(rows):
            for one in read(row, columns):
                met += 1
                yield f"split {split}, row {number}", one
    if not met:
        raise DataError(f"{name} has no reply to a question about a landmark")


def _of_questions(row: dict[str, Any], columns: set[str]) -> Iterator[dict[str, Any]]:
    yield row


def _of_images(row: dict[str, Any], columns: set[str]) -> Iterator[dict[str, Any]]:
    """One for each level; the confidence is that of the name."""
    for level in LEVELS:
        if level in columns:
            confidence = row.get("confidence") if level == "name" else None
            yield {"image_id": row["image_id"], "level": level, "reply": row[level], "confidence": confidence}


def _of_lm_eval(row: dict[str, Any], columns: set[str]) -> Iterator[dict[str, Any]]:
    doc = json.loads(row["doc"])
    if isinstance(doc, dict) and {"image_id", "level"} <= doc.keys():
        replies = json.loads(row["filtered_resps"])
        reply = replies[0] if isinstance(replies, list) and replies else replies
        yield {"image_id": doc["image_id"], "level": doc["level"], "language": doc.get("language"), "reply": reply}
