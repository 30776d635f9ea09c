"""Recipe step `landmark_answers`: what a model that sees replies to questions about landmarks.

    {"image_id": "i7", "level": "name", "reply": "Big Ben", "confidence": 0.41, "options": ["Big Ben", ...],
     "likeliest": "Big Ben", "choice": true, "fault": null}

Names are asked twice: as a question, and as a choice among names by log-likelihood, the wrong ones of the same
supercategory and drawn by hash, so that every model gets the same. Rows out are questions in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.pace import Pace
from ...hub_sync.settings import SPEED
from ...inference.media.images import ImageSettings, open_image
from ...inference.model_shards import shards_of
from .._lib.data import stream_parquet
from .choices import name_options
from .data import LANDMARKS, config_of, hierarchy_of, read_landmarks
from .hierarchy import ALL_LEVELS, Facts
from .predictions import Questions, read_questions

SHARD = 256
COLUMNS = {
    "image_id": "of the question's image",
    "landmark_id": "of the landmark that it shows",
    "level": "of the question",
    "language": "of the question; null if it states none",
    "reply": "by the most probable tokens; null if there is none",
    "confidence": "probability of the whole reply, its end included",
    "options": "names to choose among, the true one first; null if the level is not name",
    "likeliest": "the option with the largest log-likelihood",
    "choice": "whether that is the true one",
    "fault": "why there is no reply; null if there is one",
}


class LandmarkAnswersConfig(ImageSettings):
    """What is asked. Defaults are our choice."""

    config: str | None = Field(None, description="Config of the questions; null: `questions`, else the default one.")
    splits: tuple[str, ...] = Field(
        ("test", "unseen"), min_length=1, description="Splits of the questions, of those that there are."
    )
    levels: tuple[Literal[ALL_LEVELS], ...] = Field(  # type: ignore[valid-type]
        ALL_LEVELS, min_length=1, description="Levels of the questions."
    )
    wrong_names: int = Field(
        3, ge=0, le=20, description="Wrong names of a choice, of the same supercategory as far as there are; 0: none."
    )
    seed: int = Field(0, ge=0, description="Of the wrong names.")
    max_new_tokens: int = Field(48, ge=1, description="Tokens of a reply at most.")
    max_failed_share: float = Field(0.25, ge=0, le=1, description="Refuse where more of the questions than this fail.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    batch_size: int = Field(8, ge=1, description="Questions at once.")
    device: str = Field("auto", description="Where the model runs: auto, cpu, cuda or mps.")
    workers: int = Field(1, ge=1, json_schema_extra=SPEED, description="Processes, each with a model of its own.")


def answer(config: LandmarkAnswersConfig, context: StepContext) -> None:
    """Write the replies to `context.output`, and fill the report. Finished shards of a killed run are not asked again.

    Raises DataError for questions that are none, for a model that does not see, and if too many questions fail.
    """
    source, name = context.inputs["dataset"], str(context.inputs["dataset"].ref)
    questions = read_questions(source, config.config, config.splits)
    chosen = [place for place, row in enumerate(questions.rows) if row["level"] in config.levels]
    if not chosen:
        raise DataError(f"{name}: no question is of the level {' or '.join(config.levels)}")
    options, filled = _options(config, source, questions, chosen)
    requests = [[place, options.get(place)] for place in chosen]
    identity = {
        "step": "landmark_answers", "dataset": name,
        "inputs": {role: str(one.ref) for role, one in context.inputs.items()},
        "config": config.model_dump(mode="json", exclude={"workers", "max_failed_share"}),
    }  # fmt: skip
    make = partial(Answerer, config, context.inputs)
    pace = Pace(context.step, "questions", total=len(requests))
    rows = list(
        shards_of(make, requests, identity, context.workdir / "replies", SHARD, workers=config.workers, pace=pace)
    )
    faults = Counter(row["fault"] for row in rows if row["fault"] is not None)
    if faults.total() > config.max_failed_share * len(rows) or faults.total() == len(rows):
        most = ", ".join(f"{reason}: {count}" for reason, count in faults.most_common(3))
        raise DataError(
            f"{name}: {faults.total()} of {len(rows)} questions have no reply ({most}), more than max_failed_share "
            f"{config.max_failed_share:g}: look at the images, or raise it"
        )
    splits = [questions.rows[place]["split"] for place in chosen]
    for split in dict.fromkeys(splits):
        own = (row for row, one in zip(rows, splits, strict=True) if one == split)
        stream_parquet(own, context.output / "data", split, _features())
    _report(config, context, questions, rows, faults, filled)


def _options(
    config: LandmarkAnswersConfig, source: Input, questions: Questions, chosen: Sequence[int]
) -> tuple[dict[int, list[str]], int]:
    """(question of a name -> the true name and wrong ones, questions with wrong names of another supercategory)."""
    if not config.wrong_names:
        return {}, 0
    name = str(source.ref)
    if source.path.is_dir() and config_of(source.path, LANDMARKS, name):
        landmarks = [Facts.of(row) for row in read_landmarks(source.path, name)]
    else:
        landmarks = hierarchy_of(questions.rows).landmarks
    result, filled = {}, 0
    cache: dict[tuple[str, str], tuple[list[str], int]] = {}
    for place in chosen:
        row = questions.rows[place]
        if row["level"] != "name":
            continue
        key = (row["image_id"], row["landmark_id"])
        if key not in cache:
            cache[key] = name_options(row["image_id"], Facts.of(row), landmarks, config.wrong_names, config.seed)
        wrong, near = cache[key]
        if wrong:
            result[place] = [row["name"], *wrong]
            filled += near < len(wrong)
    return result, filled


class Answerer:
    """A model with the questions, in one process."""

    def __init__(self, config: LandmarkAnswersConfig, inputs: Mapping[str, Input]) -> None:
        from .seeing import Seer

        self._config = config
        self._questions = read_questions(inputs["dataset"], config.config, config.splits)
        self._seer = Seer(inputs, "model", config.dtype, config.device, config.max_new_tokens)

    def __call__(self, requests: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows of `COLUMNS`.

        Args:
            requests: [number of a question, names to choose among or None].
        """
        rows = [self._empty(place) for place, _ in requests]
        size = self._config.batch_size
        for start in range(0, len(requests), size):
            self._batch(requests[start : start + size], rows[start : start + size])
        return rows

    def _empty(self, place: int) -> dict[str, Any]:
        row = self._questions.rows[place]
        known = {name: row[name] for name in ("image_id", "landmark_id", "level", "language")}
        return {**dict.fromkeys(COLUMNS), **known}

    def _batch(self, requests: Sequence[Any], rows: Sequence[dict[str, Any]]) -> None:
        ready = []
        for (place, options), row in zip(requests, rows, strict=True):
            question = self._questions.rows[place]
            try:
                prompt = self._seer.prompt(question["question"])
                content = self._questions.images[question["split"]].content(self._questions.numbers[place])
                image = open_image(content, self._config.image_limits())
            except RowRejected as error:
                row["fault"] = error.reason
                continue
            ready.append((row, prompt, image, options))
        if not ready:
            return
        try:
            replies = self._seer.ask([one[1] for one in ready], [one[2] for one in ready])
        except RowRejected as error:
            if len(ready) == 1:
                ready[0][0]["fault"] = error.reason
                return
            for request, row in zip(requests, rows, strict=True):  # one of them is too long for the model
                if row["fault"] is None:
                    self._batch([request], [row])
            return
        for (row, prompt, image, options), reply in zip(ready, replies, strict=True):
            if not math.isfinite(reply.probability):
                row["fault"] = "the model gives no finite probability"
                continue
            row |= {"reply": reply.text, "confidence": reply.probability}
            if options:
                values = self._seer.log_likelihoods(prompt, image, options)
                best = max(values)
                wrong = [one for one, value in zip(options[1:], values[1:], strict=True) if value == best]
                # A model for which all are equally likely has not chosen the true one.
                row |= {"options": options, "likeliest": (wrong or options)[0], "choice": not wrong}


def _features() -> dict[str, Any]:
    from datasets import List, Value

    kinds = {"confidence": Value("float64"), "options": List(Value("string")), "choice": Value("bool")}
    return {name: kinds.get(name, Value("string")) for name in COLUMNS}


def _report(
    config: LandmarkAnswersConfig, context: StepContext, questions: Questions, rows: Sequence[Mapping[str, Any]],
    faults: Counter[str], filled: int,
) -> None:  # fmt: skip
    report, source, model = context.report, context.inputs["dataset"].ref, context.inputs["model"].ref
    report.card |= {"pretty_name": f"Replies about landmarks of {model.repo_id}", "tags": ["landmarks"]}
    report.summary = (
        f"Replies of `{model}` to the questions of `{source}`, by the most probable tokens. Names are a choice by "
        f"log-likelihood, too, among the true one and up to {config.wrong_names} of the same supercategory drawn by "
        "hash. `landmark_score` compares such replies."
    )
    report.columns |= COLUMNS
    report.counts |= {"questions": len(rows), "with a reply": len(rows) - faults.total()}
    report.counts |= {f"without a reply: {reason}": count for reason, count in sorted(faults.items())}
    report.counts |= {"choices with names of another supercategory": filled}
    choices = [row["choice"] for row in rows if row["choice"] is not None]
    if choices:
        report.metrics["choice_accuracy"] = sum(choices) / len(choices)
        chance = [1 / len(row["options"]) for row in rows if row["options"]]
        report.chance["choice_accuracy"] = sum(chance) / len(chance)
