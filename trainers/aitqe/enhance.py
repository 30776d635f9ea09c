"""Recipe step `aitqe_enhance`: score every pair, and keep its text, rewrite it, or drop the pair.

    decisions  {"id": "5f0c...", "raw_text": "IMG_1.jpg", "text": "A red bus", "decision": "rewrite", "reason": "...",
                "score": 1.2, "second_before": 1.0, "second_after": 8.1, "retention": null, "recaption": "A red bus"}
    enhanced   the pairs that are left, with all their columns, `text` as decided, and `raw_text`

The rule is in decide.py. Models work one after another, each in shards that survive a kill; of each pair memory holds
some bytes, and with `rewrite_rate` a few numbers. Kept texts are the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError
from ...inference.media.pair_scores import OVERALL
from .decide import Outcome, Rule, decide, lowest, youden
from .rating import (
    LEAST_MASS,
    SHARD,
    Pairs,
    Rater,
    Row,
    ScoringConfig,
    Worker,
    check_failed,
    features,
    identity_of,
    ratings,
)

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

GOOD = ("raw_good", "contrast_good")


class EnhanceConfig(ScoringConfig):
    """What is rewritten, and which new captions are taken. Defaults are our choice."""

    keep_from: float | None = Field(
        None,
        ge=1,
        le=10,
        description="Texts with at least this score stay; null: from the input `dev`, or rewrite_rate.",
    )
    rewrite_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of each source's pairs, those with the lowest scores, that are to be rewritten.",
    )
    dev_split: str = Field("validation", description="Split of the input `dev`, samples with kinds.")
    delta: float = Field(0.5, ge=0, le=9, description="Points by which the second scorer has to prefer a new caption.")
    retention: float = Field(
        0.5, ge=0, le=1, description="Share of the raw text's names and numbers that a new caption has to hold."
    )
    max_words: int = Field(60, ge=1, description="Words of a new caption at most.")
    drop_below: float | None = Field(
        None, ge=1, le=10, description="Pairs below this score whose new caption is not taken are dropped; null: none."
    )
    unscored: Literal["drop", "keep"] = Field(
        "drop", description="Pairs that cannot be scored, such as a broken image or a text that is too long."
    )
    gallery: int = Field(10, ge=0, le=100, description="Rewritten pairs on the card's contact sheet; 0: none.")

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.keep_from is not None and self.rewrite_rate is not None:
            raise ValueError("keep_from and rewrite_rate both say what is rewritten: drop one of them")
        if self.keep_from is not None and self.drop_below is not None and self.drop_below > self.keep_from:
            raise ValueError(f"drop_below {self.drop_below:g} is above keep_from {self.keep_from:g}: lower it")
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError unless exactly one thing says what is rewritten."""
        given = self.keep_from is not None or self.rewrite_rate is not None
        if given and "dev" in set(names):
            raise UsageError("the input dev sets the threshold, as do keep_from and rewrite_rate: drop one of them")
        if not given and "dev" not in set(names):
            raise UsageError("nothing says what is rewritten: set keep_from or rewrite_rate, or add the input `dev`")

    @property
    def rule(self) -> Rule:
        return Rule(self.delta, self.retention, self.max_words, self.drop_below)


class Rewriter(Worker):
    """New captions of pairs."""

    def __call__(self, requests: Sequence[Any]) -> list[Row]:
        """{"recaption": text or None, "cut": whether it had not ended, "fault": ...}.

        Args:
            requests: {"n": number of a pair, "score": of its text}.
        """
        from .scorer import GenerativeScorer

        if not isinstance(self.scorer, GenerativeScorer):
            raise DataError(f"{self.scorer.source_name} has a head and writes nothing: name an input `rewriter`")
        scorer, new = self.scorer, self.config.max_new_tokens

        def write(pixels: Any, prompts: list[list[int]], places: list[int]) -> list[Row]:
            scores = [requests[place]["score"] for place in places]
            return [{"recaption": one.text, "cut": one.cut} for one in scorer.rewrite(pixels, prompts, scores, new)]

        return self.batches([(request["n"], None) for request in requests], write)


def enhance(config: EnhanceConfig, context: StepContext) -> DatasetDict:
    """The configs `enhanced` and `decisions`.

    Raises UsageError if nothing says what is rewritten, DataError for pairs or models that cannot be used, and if no
    pair is left.
    """
    from datasets import DatasetDict

    from ...hub_sync.parquet import arrow_rows
    from . import enhance_report

    config.check_inputs(context.inputs)
    pairs = Pairs(config, context.inputs["dataset"], context.workdir / "datasets")
    if taken := [name for name in ("text", "raw_text") if name in set(pairs.rows.column_names) - {pairs.text}]:
        raise DataError(
            f"{pairs.source_name} has a column {taken[0]!r} beside {pairs.text!r}, which would be replaced: rename it"
        )
    enhance_report.forecast(config, context, len(pairs))
    first = arrow_rows(ratings(config, context, "model", "score"), features(), context.workdir / "first.arrow")
    faults = check_failed(config, first, pairs.source_name)
    scores = _scores(first, context.workdir / "scores.npy")
    check_mass(context, "model", first["mass"])
    below, origin = low_scores(config, context, pairs, scores)
    low = np.flatnonzero(below)
    enhance_report.estimate(config, context, len(pairs), len(low))
    new = _recaptions(config, context, low, scores)
    seconds = _second_scores(config, context, low, new)
    rows = _decisions(config, pairs, first, low, new, seconds)
    decisions = arrow_rows(rows, enhance_report.features(), context.workdir / "decisions.arrow")
    left = np.fromiter((decision != "drop" for decision in decisions["decision"]), bool, len(decisions))
    if not left.any():
        raise DataError(
            f"{pairs.source_name}: no pair is left of {len(pairs)}: lower drop_below, or set unscored: keep"
        )
    enhanced = _enhanced(pairs, decisions, left, context.workdir / "enhanced.arrow")
    enhance_report.fill(config, context, pairs, decisions, faults, origin)
    return DatasetDict({
        "enhanced": DatasetDict({config.split: enhanced}), "decisions": DatasetDict({config.split: decisions})
    })  # fmt: skip


def _scores(first: Dataset, path: Path) -> np.ndarray[Any, Any]:
    """(pairs,) float64, NaN without a score, mapped from a file: memory does not grow with them."""
    scores = np.lib.format.open_memmap(path, "w+", np.float64, (len(first),))
    start = 0
    for chunk in first.data.column(OVERALL).chunks:
        scores[start : start + len(chunk)] = chunk.to_numpy(zero_copy_only=False)
        start += len(chunk)
    scores.flush()
    return scores


def low_scores(
    config: EnhanceConfig, context: StepContext, pairs: Pairs, scores: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], str]:
    """(which pairs are below the threshold, a phrase on where it comes from)."""
    if config.rewrite_rate is not None:
        has_sources = "source" in pairs.rows.column_names
        names = map(str, pairs.rows["source"]) if has_sources else [""] * len(pairs)
        below = lowest(scores, names, config.rewrite_rate)
        top = f", {scores[below].max():.2f} at most" if below.any() else ""
        return below, f"the share {config.rewrite_rate:g} of each source's pairs with the lowest scores{top}"
    if config.keep_from is not None:
        return scores < config.keep_from, f"{config.keep_from:g}, as set"
    limit, j = _from_dev(config, context, scores)
    return (
        scores < limit,
        f"{limit:.2f}, where Youden's J is largest ({j:.3f}) on the split {config.dev_split} of `dev`",
    )


def check_mass(context: StepContext, role: str, masses: Iterable[float | None]) -> None:
    """Raises DataError for a model that seldom writes a number, so that its scores would be noise."""
    total, known = 0.0, 0
    for mass in masses:
        if mass is not None:
            total, known = total + mass, known + 1
    share = total / known if known else 1.0
    if share < LEAST_MASS:
        raise DataError(
            f"{context.inputs[role].ref} writes a number with a probability of {share:.0%} only: it is no trained "
            "scorer, and nothing is decided by it"
        )


def _from_dev(config: EnhanceConfig, context: StepContext, pairs: np.ndarray[Any, Any]) -> tuple[float, float]:
    """(threshold, J) of development samples, scored by the first scorer; the card gets what other ones would do.

    Args:
        pairs: scores of the pairs themselves, NaN without one.
    """
    import dataclasses

    from . import thresholds

    source = context.inputs["dev"]
    own = config.model_copy(update={"split": config.dev_split, "text": None})
    inputs = {**context.inputs, "dataset": source}
    there = dataclasses.replace(context, inputs=inputs, workdir=context.workdir / "dev", step=f"{context.step}, dev")
    kinds = Pairs(own, source, there.workdir / "datasets").rows
    if "kind" not in kinds.column_names:
        raise DataError(f"{source.ref} has no column 'kind': `dev` is built by aitqe_samples")
    scored = [
        (row["overall"], kind in GOOD)
        for row, kind in zip(ratings(own, there, "model", "score"), kinds["kind"], strict=True)
        if row["overall"] is not None
    ]
    if len(scored) < (1 - config.max_failed_share) * len(kinds):
        raise DataError(
            f"{source.ref}: {len(kinds) - len(scored)} of {len(kinds)} development samples cannot be scored"
        )
    values, good = [score for score, _ in scored], [good for _, good in scored]
    limit, j = youden(values, good)
    thresholds.add(context.report, values, good, pairs[np.isfinite(pairs)], limit)
    return limit, j


def _rewriter(context: StepContext) -> str:
    return "rewriter" if "rewriter" in context.inputs else "model"


def _recaptions(
    config: EnhanceConfig, context: StepContext, low: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]
) -> Dataset:
    """New captions of the pairs `low`, in that order."""
    from datasets import Value

    from ...hub_sync.pace import Pace
    from ...hub_sync.parquet import arrow_rows
    from ...inference.model_shards import shards_of
    from ...inference.row_file import RowFile

    role = _rewriter(context)
    requests = RowFile(context.workdir, ({"n": int(n), "score": float(scores[n])} for n in low))
    make = partial(Rewriter, config, context.inputs, context.workdir / "datasets", role)
    rows = shards_of(
        make, requests, identity_of(config, context, role) | {"mode": "rewrite"}, context.workdir / "rewrite", SHARD,
        workers=config.workers, engine=config.engine, pace=Pace(context.step, "new captions", total=len(low)),
    )  # fmt: skip
    types = {"recaption": Value("string"), "cut": Value("bool"), "fault": Value("string")}
    return arrow_rows((dict.fromkeys(types) | row for row in rows), types, context.workdir / "recaptions.arrow")


def _second_scores(config: EnhanceConfig, context: StepContext, low: np.ndarray[Any, Any], new: Dataset) -> Dataset:
    """Scores `before` and `after` by the second scorer, of the pairs `low`; null without a new caption."""
    from datasets import Value

    from ...hub_sync.pace import Pace
    from ...hub_sync.parquet import arrow_rows
    from ...inference.model_shards import shards_of
    from ...inference.row_file import RowFile

    role = "second" if "second" in context.inputs else "model"
    has = [caption is not None for caption in new["recaption"]]
    written = ((int(n), row["recaption"]) for n, row, one in zip(low, new, has, strict=True) if one)
    both = (request for n, text in written for request in (n, {"n": n, "text": text}))
    requests = RowFile(context.workdir, ({"request": one} for one in both))
    make = partial(_Second, config, context.inputs, context.workdir / "datasets", role)
    rows = shards_of(
        make, requests, identity_of(config, context, role) | {"mode": "second"}, context.workdir / "second", SHARD,
        workers=config.workers, engine=config.engine,
        pace=Pace(context.step, "scores by the second scorer", total=len(requests)),
    )  # fmt: skip

    masses: list[float | None] = []

    def scores() -> Iterator[Row]:
        for one in has:
            before, after = (next(rows), next(rows)) if one else ({}, {})
            masses.extend(row.get("mass") for row in (before, after))
            yield {"before": before.get(OVERALL), "after": after.get(OVERALL)}

    types = {"before": Value("float64"), "after": Value("float64")}
    result = arrow_rows(scores(), types, context.workdir / "second.arrow")
    check_mass(context, role, masses)
    failed = sum(row["before"] is None or row["after"] is None for row, one in zip(result, has, strict=True) if one)
    if failed > config.max_failed_share * max(1, sum(has)):
        raise DataError(f"{context.inputs[role].ref}: {failed} of {sum(has)} new captions cannot be scored by it")
    return result


class _Second(Rater):
    """Scores of what lies in `request`."""

    def __init__(self, config: ScoringConfig, inputs: Mapping[str, Input], cache: Path, role: str) -> None:
        super().__init__(config, inputs, cache, role, "score")

    def __call__(self, requests: Sequence[Any]) -> list[Row]:
        return super().__call__([one["request"] for one in requests])


def _decisions(
    config: EnhanceConfig, pairs: Pairs, first: Dataset, low: np.ndarray[Any, Any], new: Dataset, seconds: Dataset
) -> Iterator[Row]:
    """A row for each pair."""
    places = iter(zip(low, new, seconds, strict=True))
    upcoming = next(places, None)
    texts, rule = pairs.rows.select_columns([pairs.text]), config.rule
    for number, (rated, row) in enumerate(zip(first, texts, strict=True)):
        raw, recaption, before, after, is_low, fault = row[pairs.text], None, None, None, False, ""
        if upcoming is not None and upcoming[0] == number:
            recaption, before, after = upcoming[1]["recaption"], upcoming[2]["before"], upcoming[2]["after"]
            is_low, fault = True, fault_of(upcoming[1])
            upcoming = next(places, None)
        if rated["overall"] is None:
            outcome = Outcome(config.unscored, f"not scored: {rated['fault'].partition(':')[0]}")
        else:
            outcome = decide(rule, raw, rated["overall"], is_low, recaption, before, after, fault)
        yield {
            "id": rated["id"], "raw_text": raw, "text": recaption if outcome.decision == "rewrite" else raw,
            "decision": outcome.decision, "reason": outcome.reason, "score": rated["overall"],
            "second_before": before, "second_after": after, "retention": outcome.retention, "recaption": recaption,
        }  # fmt: skip


def fault_of(row: Row) -> str:
    """Why a row of new captions has none."""
    if row["fault"]:
        return f"no new caption: {row['fault'].partition(':')[0]}"
    return "the new caption had not ended at max_new_tokens" if row["cut"] else "no new caption"


def _enhanced(pairs: Pairs, decisions: Dataset, left: np.ndarray[Any, Any], path: Path) -> Dataset:
    """The pairs that are left, with all their columns; images are copied byte for byte.

    Args:
        left: bool (pairs,).
    """
    from datasets import Image, List, Value

    from ...hub_sync.parquet import arrow_rows

    kinds, plain = pairs.rows.features, pairs.rows
    for name, kind in kinds.items():
        if isinstance(kind, Image):
            plain = plain.cast_column(name, Image(decode=False))
        elif isinstance(kind, List) and isinstance(kind.feature, Image):
            plain = plain.cast_column(name, List(Image(decode=False)))
    types = {name: kind for name, kind in kinds.items() if name not in ("text", "raw_text")}
    types |= {"text": Value("string"), "raw_text": Value("string")}

    def rows() -> Iterator[Row]:
        for number, stays in enumerate(left):
            if not stays:
                continue
            decision = decisions[number]
            yield plain[number] | {"text": decision["text"], "raw_text": decision["raw_text"]}

    return arrow_rows(({name: row[name] for name in types} for row in rows()), types, path)
