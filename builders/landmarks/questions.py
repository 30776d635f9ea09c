"""Questions at several levels about an image, from templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .config import TEMPLATES
from .convert import drawn

if TYPE_CHECKING:
    from datasets import Dataset, Features

    from .config import LandmarksConfig

PLACE = "<image>"
BATCH = 50  # rows with their images in memory
SYNONYMS = {"human-made": ("man-made", "manmade", "artificial", "made by people"), "natural": ("made by nature",)}
"""Further right answers to the level natural_or_human_made; ours."""


def features() -> Features:
    """Columns and types of the rows."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    return Features({
        "image": Image(), "image_id": text, "landmark_id": text,
        "messages": List({"role": text, "content": text}), "question": text, "answer": text, "answers": List(text),
        "aliases": List(text), "level": text, "language": text, "fold": Value("int32"), "name": text,
        "supercategory": text,
        "hierarchical_label": text, "natural_or_human_made": text,
    })  # fmt: skip


def questions(config: LandmarksConfig, pairs: Dataset, lacking: Counter[str]) -> Iterator[dict[str, Any]]:
    """The questions on a split of pairs, image by image.

    Args:
        lacking: reason -> questions that are not there.
    """
    for row in _records(pairs):
        if row["landmark_id"] is None:
            lacking["no landmark"] += len(config.levels) * len(config.languages)
            continue
        for language in config.languages:
            for level in config.levels:
                if level not in TEMPLATES[language]:
                    lacking[f"no template of level {level} in {language}"] += 1
                elif level != "caption" and row[level] is None:
                    lacking[f"no {level} known"] += 1
                elif row["image"] is None:
                    lacking["no pixels"] += 1
                else:
                    yield _question(config, row, language, level)


def _records(rows: Dataset) -> Iterator[dict[str, Any]]:
    """Rows with images as bytes, some at a time: `datasets` takes a millisecond for one by itself."""
    for batch in rows.data.to_batches():
        for start in range(0, len(batch), BATCH):
            yield from batch.slice(start, BATCH).to_pylist()


def _question(config: LandmarksConfig, row: Mapping[str, Any], language: str, level: str) -> dict[str, Any]:
    templates, key = TEMPLATES[language][level], f"{config.seed}:{language}:{level}:{row['image_id']}"
    question = drawn(templates["questions"], key)
    answers = _answers(row, level, templates, key)
    turns = (("user", PLACE + question), ("assistant", answers[0]))
    same = ("image", "image_id", "landmark_id", "fold", "name", "supercategory", "hierarchical_label",
            "natural_or_human_made")  # fmt: skip
    return {name: row[name] for name in same} | {
        "messages": [{"role": role, "content": content} for role, content in turns], "question": question,
        "answer": answers[0], "answers": answers, "aliases": row["aliases"], "level": level, "language": language,
    }  # fmt: skip


def _answers(row: Mapping[str, Any], level: str, templates: Mapping[str, list[str]], key: str) -> list[str]:
    """All right answers, the one to learn first."""
    if level == "caption":
        template = drawn(templates["answers"], f"{key}:answer")
        return [template.format(name=name) for name in (row["name"], *row["aliases"])]
    if level == "name":
        return [row["name"], *row["aliases"]]
    more = SYNONYMS.get(row[level], ()) if level == "natural_or_human_made" else ()
    return [row[level], *more]
