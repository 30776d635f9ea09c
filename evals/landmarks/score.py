"""Recipe step `landmark_score`: how well models name landmarks, by level, by bucket, and of landmarks seen or unseen.

Inputs `replies_NAME` are replies of a model or a baseline to the questions of the input `dataset`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.settings import Settings
from .._lib.data import write_parquet
from .._lib.results import write_json
from . import text
from .confidence import gap
from .data import answers_of, hierarchy_of
from .figures import Figure, McNemar, clustered_mean, mcnemar
from .hierarchy import ALL_LEVELS, Facts, Hierarchy
from .predictions import Questions, Replies, read_questions, read_replies

PREFIX = "replies_"
BUCKETS = ("known", "between", "unknown")
VALUES = ("accuracy", "contains", "f1", "answered", "choice", "consistency", "gap")
OVERALL = "overall"


class LandmarkScoreConfig(Settings):
    """What is compared. Defaults are our choice."""

    config: str | None = Field(None, description="Config of the questions; null: `questions`, else the default one.")
    splits: tuple[str, ...] = Field(
        ("test", "unseen"), min_length=1, description="Splits of the questions, of those that there are."
    )
    match: Literal["exact", "contains"] = Field(
        "exact", description="When a reply is right: it is the answer or an alias, or has one in it as whole words."
    )
    order: list[str] | None = Field(None, description="Names of the inputs replies_NAME; null: the recipe's order.")
    bootstrap: int = Field(1000, ge=0, description="Resamples of the 95 % intervals, landmarks drawn; 0: none.")
    seed: int = Field(1234, ge=0, description="Seed of the bootstrap.")
    gallery: int = Field(10, ge=0, le=100, description="Images of each bucket on the card; 0: none.")

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError without replies."""
        if not any(name.startswith(PREFIX) for name in names):
            raise UsageError("landmark_score compares replies: add inputs replies_NAME")


class Method(NamedTuple):
    """A model's replies and what they are worth, float64 (n,) by figure, NaN where a figure does not apply."""

    replies: Replies
    values: Mapping[str, np.ndarray[Any, Any]]
    granularity: list[str | None]


class Part(NamedTuple):
    """Some of the questions: all, those of a split, or those of a bucket."""

    name: str
    chosen: np.ndarray[Any, Any]


class Comparison(NamedTuple):
    """Two methods on the questions of a level that both were asked."""

    level: str
    first: str
    second: str
    counts: McNemar
    difference: Figure


def score(config: LandmarkScoreConfig, context: StepContext) -> None:
    """Write every figure and its interval to `context.output`, and fill the report.

    Raises UsageError without replies, DataError for questions or replies that are none or cannot be joined.
    """
    from . import score_report

    config.check_inputs(context.inputs)
    names = [name.removeprefix(PREFIX) for name in context.inputs if name.startswith(PREFIX)]
    order = config.order or names
    if sorted(order) != sorted(names):
        raise UsageError(f"order names {', '.join(order)}, and the inputs are {', '.join(names)}")
    questions = read_questions(context.inputs["dataset"], config.config, config.splits)
    hierarchy = hierarchy_of(questions.rows)
    methods = {}
    for name in order:
        replies = read_replies(context.inputs[f"{PREFIX}{name}"], questions)
        methods[name] = evaluated(questions, replies, hierarchy, config.match)
    parts = parts_of(questions)
    figures = {name: _figures(config, questions, one, parts) for name, one in methods.items()}
    comparisons = _comparisons(config, questions, methods)
    rows = [
        {"method": name, "level": level, "part": part, "figure": value, "value": _plain(figure.value),
         "low": _plain(figure.low), "high": _plain(figure.high), "number": figure.number,
         "landmarks": figure.clusters, "descriptive": figure.is_descriptive}
        for name, own in figures.items() for (level, part, value), figure in own.items()
    ]  # fmt: skip
    write_parquet(rows, context.output / "data", "figures", _types())
    write_json({"figures": rows, "comparisons": [_record(one) for one in comparisons]}, context.output / "scores.json")
    score_report.fill(config, context, questions, methods, figures, comparisons, hierarchy)


def _types() -> dict[str, Any]:
    from datasets import Value

    return dict.fromkeys(("value", "low", "high"), Value("float64"))


def evaluated(questions: Questions, replies: Replies, hierarchy: Hierarchy, match: str) -> Method:
    """A method's values: a question without a reply is answered wrongly."""
    number = len(questions.rows)
    values = {name: np.full(number, np.nan) for name in ("accuracy", "contains", "f1", "answered", "consistency")}
    granularity: list[str | None] = [None] * number
    images: dict[tuple[str, Any], dict[str, int]] = {}
    for place, row in enumerate(questions.rows):
        if not replies.covered[place]:
            continue
        level, reply = row["level"], replies.texts[place] or ""
        own = text.score(reply, answers_of(row))
        caption = level == "caption"
        values["accuracy"][place] = own["contains" if caption else match]
        values["contains"][place] = own["contains"]
        values["f1"][place] = math.nan if caption else own["f1"]
        values["answered"][place] = 1 - own["refusal"]
        if level == "name":
            truth = Facts.of(row)._replace(aliases=tuple(answers_of(row)))
            right = own["exact"] or (own["contains"] and match == "contains")
            granularity[place] = "name" if right else hierarchy.shared_level(reply, truth)
        images.setdefault((row["image_id"], row["language"]), {})[level] = place
    for levels in images.values():
        agrees = hierarchy.is_consistent({level: replies.texts[place] or "" for level, place in levels.items()})
        if agrees is not None:
            values["consistency"][next(iter(levels.values()))] = agrees
    return Method(replies, {**values, "choice": replies.choice}, granularity)


def parts_of(questions: Questions) -> list[Part]:
    """All questions, those of each split if there are several, and of each bucket."""
    splits = np.array([row["split"] for row in questions.rows])
    buckets = np.array([row["bucket"] or "" for row in questions.rows])
    names = list(dict.fromkeys(splits.tolist()))
    parts = [Part("all", np.ones(len(splits), bool))]
    if len(names) > 1:
        parts += [Part(f"split {name}", splits == name) for name in names]
    return parts + [Part(f"bucket {name}", buckets == name) for name in BUCKETS if (buckets == name).any()]


def _figures(
    config: LandmarkScoreConfig, questions: Questions, method: Method, parts: Sequence[Part]
) -> dict[tuple[str, str, str], Figure]:
    """(level, part, figure) -> value. Levels without a question, and figures that never apply, are left out."""
    levels = np.array([row["level"] for row in questions.rows])
    landmarks = np.array([row["landmark_id"] for row in questions.rows])
    result = {}
    for part in parts:
        for level in (*ALL_LEVELS, OVERALL):
            own = part.chosen & method.replies.covered & ((levels == level) if level != OVERALL else True)
            wanted = ("consistency",) if level == OVERALL else ("accuracy", "contains", "f1", "answered", "choice")
            for name in wanted:
                figure = clustered_mean(
                    method.values[name][own], landmarks[own].tolist(), config.bootstrap, config.seed
                )
                if figure.number:
                    result[level, part.name, name] = figure
            if level == "name" and np.isfinite(method.replies.confidence[own]).any():
                has = own & np.isfinite(method.replies.confidence)
                value = gap(method.replies.confidence[has], method.values["accuracy"][has] > 0, int(own.sum()))
                clusters = len(set(landmarks[own].tolist()))
                result[level, part.name, "gap"] = Figure(value, math.nan, math.nan, int(own.sum()), clusters)
    return result


def _comparisons(config: LandmarkScoreConfig, questions: Questions, methods: Mapping[str, Method]) -> list[Comparison]:
    """Every two methods, level by level, on what both were asked."""
    levels = np.array([row["level"] for row in questions.rows])
    landmarks = np.array([row["landmark_id"] for row in questions.rows])
    result = []
    for (first, one), (second, other) in combinations(methods.items(), 2):
        for level in ALL_LEVELS:
            both = (levels == level) & one.replies.covered & other.replies.covered
            if not both.any():
                continue
            a, b = one.values["accuracy"][both], other.values["accuracy"][both]
            difference = clustered_mean(a - b, landmarks[both].tolist(), config.bootstrap, config.seed)
            result.append(Comparison(level, first, second, mcnemar(a, b), difference))
    return result


def _record(one: Comparison) -> dict[str, Any]:
    difference = {name: _plain(getattr(one.difference, name)) for name in ("value", "low", "high")}
    return {"level": one.level, "first": one.first, "second": one.second, **one.counts._asdict(),
            "difference": difference, "landmarks": one.difference.clusters}  # fmt: skip


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
