"""Which class an image has at each level, which landmark it shows, and which names a batch is set against."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .config import EECAConfig, check_columns
from .losses import UNKNOWN

logger = logging.getLogger("hubwright.trainers")


@dataclass(frozen=True)
class Bank:
    """The landmarks of the train rows.

    Attributes:
        ids: of the landmarks, sorted.
        names: of each.
        parents: its class by `parent_column`, or None.
    """

    ids: list[str]
    names: list[str]
    parents: list[str | None]

    @property
    def groups(self) -> np.ndarray:
        """int64 (landmarks), the same number for the same name."""
        return np.unique(np.asarray(self.names), return_inverse=True)[1].astype(np.int64).reshape(-1)


@dataclass(frozen=True)
class Classes:
    """What the train rows can be told apart by.

    Attributes:
        levels: classes by the column of each level, sorted.
        bank: None where names are not compared.
        left_out: levels with nothing to tell apart, a line each.
    """

    levels: dict[str, list[str]]
    bank: Bank | None
    left_out: list[str]


def text_of(value: Any, column: str, row: int, source_name: str) -> str | None:
    """A label as text; None for null, NaN and empty text. Raises DataError for lists and the like."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str | int | float):
        raise DataError(
            f"{source_name}: row {row}: column `{column}` holds {type(value).__name__}, and a label is text or a "
            "number: name another column"
        )
    return str(value).strip() or None


def column_texts(split: Any, column: str, source_name: str) -> list[str | None]:
    """The labels of a column, by row."""
    return [text_of(value, column, row, source_name) for row, value in enumerate(split[column])]


def find_classes(
    split: Any, config: EECAConfig, source_name: str, context: StepContext, stored: dict[str, list[str]] | None = None
) -> Classes:
    """The classes and landmarks of the train rows.

    Args:
        stored: classes of the heads that the model has, by level, which the rows' have to be among.

    Raises DataError or UsageError in one line where a loss that has a weight has nothing to learn from, and for
    classes that are not among `stored`.
    """
    check_columns(split.column_names, config, source_name)
    levels: dict[str, list[str]] = {}
    left_out: list[str] = []
    counts = context.report.counts
    for column in config.levels if config.hc_weight else ():
        texts = column_texts(split, column, source_name)
        counts[f"train_rows_without {column}"] = texts.count(None)
        classes = sorted({text for text in texts if text is not None})
        if stored is not None and column in stored:
            new = [text for text in classes if text not in set(stored[column])]
            if new:
                raise UsageError(
                    f"{source_name}: {column} {new[0]!r} and {len(new) - 1} more are no classes of the model's heads: "
                    "set fresh_heads: true"
                )
            levels[column] = stored[column]
            continue
        if len(classes) > 1:
            levels[column] = classes
            continue
        what = f"one class alone, {classes[0]!r}" if classes else "no label"
        left_out.append(f"level {column} is left out: its {len(texts)} train rows have {what}")
        logger.warning("%s: %s", source_name, left_out[-1])
    if config.hc_weight and not levels:
        raise UsageError(
            f"{source_name}: no level of {', '.join(config.levels)} has two classes or more among the train rows, so "
            "that there is nothing to tell apart: set hc_weight: 0"
        )
    return Classes(levels, _bank(split, config, source_name, context) if config.ec_weight else None, left_out)


def _bank(split: Any, config: EECAConfig, source_name: str, context: StepContext) -> Bank:
    ids, names = (column_texts(split, column, source_name) for column in (config.entity_column, config.name_column))
    hard = config.negatives == "hard"
    parents = column_texts(split, config.parent_column, source_name) if hard else [None] * len(ids)
    counts = context.report.counts
    counts["train_rows_without_landmark"] = ids.count(None)
    nameless = 0
    known: dict[str, tuple[str, str | None]] = {}
    for row, (one, name, parent) in enumerate(zip(ids, names, parents, strict=True)):
        if one is None:
            continue
        if name is None:
            nameless += 1
            continue
        before = known.setdefault(one, (name, parent))
        for column, old, new in zip((config.name_column, config.parent_column), before, (name, parent), strict=True):
            if old != new:
                raise DataError(
                    f"{source_name}: row {row}: {config.entity_column} {one!r} has the {column} {new!r}, and {old!r} "
                    f"in a row before: give a landmark one {column}"
                )
    counts["train_rows_without_name"] = nameless
    if len({name for name, _ in known.values()}) < 2:
        raise UsageError(
            f"{source_name}: {len(known)} landmarks with names in {config.entity_column} and {config.name_column} of "
            "the train rows, so that there is nothing to tell apart: set ec_weight: 0"
        )
    ordered = sorted(known)
    bank = Bank(ordered, [known[one][0] for one in ordered], [known[one][1] for one in ordered])
    shared = len(bank.names) - len(set(bank.names))
    if shared:
        counts["landmarks_with_the_name_of_another"] = shared
    return bank


class Labels:
    """Labels of the rows of all splits, by number of the column of images and of the row in it.

    Args:
        splits: by role, in the order of the columns.

    Attributes:
        levels: int64 (rows, levels) of each split, `losses.UNKNOWN` without a label.
        entities: int64 (rows) of each, number in the bank.
    """

    def __init__(
        self, splits: dict[str, Any], classes: Classes, config: EECAConfig, source_name: str, context: StepContext
    ) -> None:
        self.levels: list[np.ndarray] = []
        self.entities: list[np.ndarray] = []
        for role, split in splits.items():
            check_columns(split.column_names, config, source_name)
            columns = []
            for column, known in classes.levels.items():
                columns.append(_numbers(split, column, known, role, source_name, context))
            shape = (len(split), len(columns))
            self.levels.append(np.stack(columns, axis=1) if columns else np.zeros(shape, np.int64))
            bank = classes.bank
            ids = bank.ids if bank else []
            rows = _numbers(split, config.entity_column, ids, role, source_name, context) if bank else None
            self.entities.append(np.full(len(split), UNKNOWN, np.int64) if rows is None else rows)


def _numbers(
    split: Any, column: str, known: Sequence[str], role: str, source_name: str, context: StepContext
) -> np.ndarray:
    """int64 (rows): the place of each label among the known ones."""
    places = {text: number for number, text in enumerate(known)}
    texts = column_texts(split, column, source_name)
    strange = sum(text is not None and text not in places for text in texts)
    if strange and role != "train":
        context.report.counts[f"{role}_rows_with_unknown {column}"] = strange
    return np.asarray([UNKNOWN if text is None else places.get(text, UNKNOWN) for text in texts], np.int64)


class Candidates:
    """C of a batch: its landmarks once each, in order, and names of the bank.

    Args:
        negatives: batch: none of the bank; hard: those that share a parent with one of the batch; all: all.
        limit: most names of the bank, drawn by the batch and the seed alone.
    """

    def __init__(self, bank: Bank, negatives: str, limit: int, seed: int) -> None:
        self._bank, self._negatives, self._limit, self._seed = bank, negatives, limit, seed
        kinds = {parent: number for number, parent in enumerate(dict.fromkeys(bank.parents))}
        self._parents = np.asarray([kinds[parent] for parent in bank.parents])

    def __call__(self, entities: np.ndarray) -> np.ndarray:
        """int64 (candidates) for the landmarks of a batch (images)."""
        own = np.unique(entities[entities != UNKNOWN])
        if self._negatives == "batch" or not len(own):
            return own
        chosen = np.ones(len(self._parents), bool)
        if self._negatives == "hard":
            chosen = np.isin(self._parents, self._parents[own])
        chosen[own] = False
        more = np.flatnonzero(chosen)
        if len(more) > self._limit:
            draw = np.random.default_rng([self._seed, *own.tolist()])
            more = np.sort(draw.choice(more, self._limit, replace=False))
        return np.concatenate([own, more])
