"""Recipe step `aitqe_rate`: the scores of a scorer for every pair of a data set.

    {"id": "5f0c...", "overall": 2.4, "mass": 0.99, "text_quality": null, ..., "recaption": null, "fault": null}

`score` takes one pass over image and text and writes nothing; `full` has the scorer write its JSON. A pair that cannot
be scored has no score and says why in `fault`; rows out are rows in.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected, first_line
from ...hub_sync.settings import SPEED
from ...inference.media.images import ImageSettings
from ...inference.media.pair_scores import ASPECTS, OVERALL
from .._lib.config import ModelSettings

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from .scorer import GenerativeScorer, HeadScorer

logger = logging.getLogger("hubwright.trainers")

SHARD = 512
LEAST_MASS = 0.5  # our choice
TEXTS = ("raw_text", "text")
Row = dict[str, Any]


class ScoringConfig(ImageSettings, ModelSettings):
    """How pairs are read and scored. Defaults are our choice."""

    split: str = Field("train", description="Split of the data set.")
    text: str | None = Field(None, description="Column of the texts; null: raw_text or text, if there is one of them.")
    max_length: int = Field(1024, ge=8, description="Tokens of image and text at most; longer pairs are not scored.")
    batch_size: int = Field(32, ge=1, description="Pairs scored at once.")
    max_new_tokens: int = Field(160, ge=1, description="Tokens of a reply or new caption at most.")
    workers: int = Field(1, ge=1, json_schema_extra=SPEED, description="Processes, each with a model of its own.")
    engine: Literal["local", "ray"] = Field(
        "local", json_schema_extra=SPEED, description="ray: workers on the cluster of RAY_ADDRESS; the run's folder "
        "is then on storage that all nodes see.",
    )  # fmt: skip
    max_failed_share: float = Field(
        0.25, ge=0, le=1, description="Refuse where more of the pairs than this cannot be scored."
    )


class RateConfig(ScoringConfig):
    """Which scores are asked for."""

    mode: Literal["score", "full"] = Field(
        "score", description="score: the overall score, expected over the numbers 1 to 10 (of a head: all aspects). "
        "full: the written JSON, with aspects and a new caption.",
    )  # fmt: skip

    gallery: int = Field(
        10,
        ge=0,
        le=100,
        description="Pairs on the card's contact sheet, from the lowest score to the highest; 0: none.",
    )

    @model_validator(mode="after")
    def _length_acts(self) -> Self:
        if self.mode == "score" and "max_new_tokens" in self.model_fields_set:
            raise ValueError("max_new_tokens: mode score writes nothing: drop it, or set mode: full")
        return self


def rate(config: RateConfig, context: StepContext) -> DatasetDict:
    """The scores, in the order of the pairs.

    Raises DataError for a data set without pairs, for a model that is no scorer, and if too many pairs fail.
    """
    from datasets import DatasetDict

    from ...hub_sync.parquet import arrow_rows
    from . import gallery

    fresh, began = not any((context.workdir / "model").glob("shards/*.jsonl")), time.perf_counter()
    rows = ratings(config, context, "model", config.mode)
    result = arrow_rows(rows, features(), context.workdir / "rows.arrow")
    _report(config, context, result, time.perf_counter() - began if fresh else None)
    if config.gallery:
        gallery.by_score(
            context, Pairs(config, context.inputs["dataset"], context.workdir / "datasets"), result, config.gallery
        )
    return DatasetDict({config.split: result})


def features() -> dict[str, Any]:
    """Columns of the ratings and their types."""
    from datasets import Value

    text, number = Value("string"), Value("float64")
    return {"id": text, **dict.fromkeys(ASPECTS, number), "mass": number, "recaption": text, "fault": text}


def ratings(config: ScoringConfig, context: StepContext, role: str, mode: str) -> Any:
    """Rows of `features`, from shards on the disk, as an iterator."""
    from ...hub_sync.pace import Pace
    from ...inference.model_shards import shards_of

    pairs = Pairs(config, context.inputs["dataset"], context.workdir / "datasets")
    make = partial(Rater, config, context.inputs, context.workdir / "datasets", role, mode)
    identity = identity_of(config, context, role) | {"mode": mode}
    pace = Pace(context.step, "pairs", total=len(pairs))
    return shards_of(
        make, range(len(pairs)), identity, context.workdir / role, SHARD, workers=config.workers, engine=config.engine,
        pace=pace,
    )  # fmt: skip


def identity_of(config: ScoringConfig, context: StepContext, role: str) -> dict[str, Any]:
    """What decides the result of a shard beside its requests."""
    speed = {name for name, field in type(config).model_fields.items() if field.json_schema_extra == SPEED}
    own = set(ScoringConfig.model_fields) - speed
    return {
        "step": "aitqe", "config": config.model_dump(mode="json", include=own),
        "inputs": {name: str(one.ref) for name, one in context.inputs.items() if name.partition(".")[0] == role},
        "dataset": str(context.inputs["dataset"].ref),
    }  # fmt: skip


class Pairs:
    """The pairs of a data set by number; one is read when it is asked for.

    Raises DataError in one line for an absent split or column.
    """

    def __init__(self, config: ScoringConfig, source: Input, cache: Path) -> None:
        from ...hub_sync.parquet import load_split
        from .._lib.image_columns import image_column
        from .._lib.images import ImageColumn

        self.source_name = str(source.ref)
        try:
            self.rows: Dataset = load_split(source.path, None, config.split, cache)
        except Exception as error:  # datasets raises anything from ValueError to its own classes
            reason = first_line(error).replace(str(source.path), self.source_name)
            raise DataError(f"{self.source_name}: split {config.split!r} cannot be read: {reason}") from error
        names = self.rows.column_names
        if config.text is None and set(TEXTS) <= set(names):
            raise DataError(
                f"{self.source_name} has the columns raw_text and text: set `text` to the one to be scored"
            )
        column = config.text or next((name for name in TEXTS if name in names), "")
        if column not in names or "id" not in names:
            missing = config.text or ("id" if column else "text")
            raise DataError(f"{self.source_name} has no column {missing!r}; it has {', '.join(names)}")
        if not len(self.rows):
            raise DataError(f"{self.source_name}: split {config.split!r} has no rows")
        self.text, self.image = column, image_column(names, self.source_name)
        self._images = ImageColumn(self.rows, self.image, config.image_limits(), source.path, self.source_name)
        self._texts = self.rows.select_columns(["id", column])

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, number: int) -> tuple[str, str]:
        """(id, text) of a pair. Raises RowRejected for a text that is none; an absent id is the number."""
        row = self._texts[number]
        text = row[self.text]
        if not isinstance(text, str) or not text.strip():
            raise RowRejected("no text", text)
        return self.id(number), text

    def id(self, number: int) -> str:
        """The id of a pair."""
        value = self._texts[number]["id"]
        return str(number if value is None else value)

    def pixels(self, number: int) -> Any:
        """The image of a pair as PIL.Image. Raises RowRejected for none, or several."""
        images = self._images.read(number)
        if len(images) != 1:
            raise RowRejected("no image" if not images else "several images", len(images))
        return images[0]


class Worker:
    """A scorer with its model and pairs, in one process."""

    def __init__(self, config: ScoringConfig, inputs: Mapping[str, Input], cache: Path, role: str) -> None:
        from .opening import open_scorer

        self.config, self.pairs = config, Pairs(config, inputs["dataset"], cache)
        self.scorer: GenerativeScorer | HeadScorer = open_scorer(config, inputs, role)

    def batches(
        self, items: Sequence[tuple[int, str | None]], do: Callable[[Any, list[list[int]], list[int]], Sequence[Row]]
    ) -> list[Row]:
        """A row for each item, in order: what `do` gives, or why the pair cannot be scored.

        Args:
            items: numbers of pairs, with a text in place of their own or None.
            do: gets pixels, prompts and places of a batch, and gives a row for each. Batches are of pairs of about the
                same length.
        """
        from .._lib import loop

        rows: list[Row] = [{} for _ in items]
        ready: list[tuple[int, list[int]]] = []
        for place, (number, text) in enumerate(items):
            try:
                prompt = self.scorer.encode(self.pairs.of(number)[1] if text is None else text)
                ready.append((place, prompt))
            except RowRejected as error:
                rows[place] = {"fault": str(error)}
        ready.sort(key=lambda one: -len(one[1]))
        with loop.settings(self.config):
            for start in range(0, len(ready), self.config.batch_size):
                batch, images = [], []
                for place, prompt in ready[start : start + self.config.batch_size]:
                    try:
                        images.append(self.pairs.pixels(items[place][0]))
                        batch.append((place, prompt))
                    except RowRejected as error:
                        rows[place] = {"fault": str(error)}
                if not batch:
                    continue
                places = [place for place, _ in batch]
                results = do(self.scorer.pixels(images), [prompt for _, prompt in batch], places)
                for place, row in zip(places, results, strict=True):
                    rows[place] = row
        return rows


class Rater(Worker):
    """Scores of pairs by number."""

    def __init__(self, config: ScoringConfig, inputs: Mapping[str, Input], cache: Path, role: str, mode: str) -> None:
        super().__init__(config, inputs, cache, role)
        self._mode = mode

    def __call__(self, requests: Sequence[Any]) -> list[Row]:
        """Rows of `features`.

        Args:
            requests: numbers of pairs, or {"n": number, "text": text in place of its own}.
        """
        items = [(r["n"], r["text"]) if isinstance(r, dict) else (r, None) for r in requests]
        empty = dict.fromkeys((*ASPECTS, "mass", "recaption", "fault"))
        rows = self.batches(items, self._rows)
        return [{"id": self.pairs.id(n), **empty, **row} for (n, _), row in zip(items, rows, strict=True)]

    def _rows(self, pixels: Any, prompts: list[list[int]], places: list[int]) -> Sequence[Row]:
        from .scorer import GenerativeScorer

        if self._mode == "score":
            rows = self.scorer.score(pixels, prompts)
            return [
                row if math.isfinite(row[OVERALL]) else {"fault": "the scorer gives no finite score"} for row in rows
            ]
        if not isinstance(self.scorer, GenerativeScorer):
            raise DataError(f"{self.scorer.source_name} has a head and writes nothing: set mode: score")
        replies = self.scorer.reply(pixels, prompts, self.config.max_new_tokens)
        return [{**reply.scores, "recaption": reply.recaption, "fault": reply.fault} for reply in replies]


def check_failed(config: ScoringConfig, rows: Dataset, source_name: str) -> Counter[str]:
    """Pairs without a score by reason. Raises DataError if there are too many."""
    faults = Counter(fault.partition(":")[0] for fault in rows["fault"] if fault is not None)
    failed = faults.total()
    if failed > config.max_failed_share * len(rows) or failed == len(rows):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in faults.most_common(3))
        raise DataError(
            f"{source_name}: {failed} of {len(rows)} pairs cannot be scored ({reasons}), more than max_failed_share "
            f"{config.max_failed_share:g}: look at the images, or raise it"
        )
    return faults


def _report(config: RateConfig, context: StepContext, rows: Dataset, seconds: float | None) -> None:
    report, model, source = context.report, context.inputs["model"].ref, context.inputs["dataset"].ref
    faults = check_failed(config, rows, str(source))
    scores = [score for score in rows[OVERALL] if score is not None]
    masses = [mass for mass in rows["mass"] if mass is not None]
    report.card |= {"pretty_name": f"Scores of {source.repo_id}", "tags": ["image-text", "aitqe"]}
    report.summary = (
        f"Scores from 1 to 10 of the pairs of `{source}` by `{model}`. Join them by `id`. A pair without a score says "
        "why in `fault`."
    )
    report.counts |= {"pairs": len(rows), "scored": len(scores), **{f"failed: {k}": n for k, n in faults.items()}}
    report.metrics |= {
        "mean_score": sum(scores) / len(scores), "parse_rate": len(scores) / len(rows),
        "mean_mass": sum(masses) / len(masses) if masses else None,
        "pairs_per_second": len(rows) / seconds if seconds else None,
    }  # fmt: skip
    if masses and sum(masses) / len(masses) < LEAST_MASS:
        share = sum(masses) / len(masses)
        report.summary += (
            f" **The model writes a number with a probability of {share:.0%} only**, so that these scores say little: "
            "it is no trained scorer."
        )
        logger.warning("%s: %s writes a number with a probability of %.0f %% only", context.step, model, 100 * share)
    report.columns |= COLUMN_TEXTS
    counts = Counter(min(10, max(1, round(score))) for score in scores)
    report.bars.append({
        "title": "Overall score", "y": "pairs", "groups": [str(n) for n in range(1, 11)],
        "series": {"pairs": [[counts[n], None, None] for n in range(1, 11)]},
    })  # fmt: skip


COLUMN_TEXTS = {
    "id": "of the pair",
    OVERALL: "1 (bad) to 10 (good): expected over the numbers' probabilities, written, or of the head; null if there "
    "is none",
    **dict.fromkeys(ASPECTS[1:], "1 to 10; null where it was not asked for"),
    "mass": "probability that the model writes a number at all; null where it was not asked for",
    "recaption": "the new caption that the model wrote; null if there is none",
    "fault": "why there is no score; null if there is one",
}
