"""The card of `landmark_score`: tables, plots, confusion by granularity, and images of each bucket."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.context import StepContext
from ...hub_sync.errors import RowRejected
from ...inference.media.contact_sheet import contact_sheet
from . import confusion
from .figures import FEW, Figure
from .hierarchy import ALL_LEVELS, PARENTS, Hierarchy
from .predictions import Questions

if TYPE_CHECKING:
    from .score import Comparison, LandmarkScoreConfig, Method

GRANULARITIES = ("name", *PARENTS, "none", "no such name", "refused")
Figures = Mapping[tuple[str, str, str], Figure]
COLUMNS = {
    "method": "name of the input replies_NAME",
    "level": "of the questions; overall: figures of images",
    "part": "all, the questions of a split, or those of a bucket",
    "figure": "accuracy, contains, f1, answered, choice (of names by log-likelihood), consistency, or gap (of names)",
    "value": "from 0 to 1",
    "low": "lower end of the 95 % interval, landmarks drawn; null if there is none",
    "high": "upper end of the 95 % interval, landmarks drawn; null if there is none",
    "number": "of questions, or of images for consistency",
    "landmarks": "that these are about",
    "descriptive": f"the interval is of fewer than {FEW} landmarks, and says nothing of others",
}


def shown(figure: Figure | None) -> str:
    """ "0.81 (0.76 to 0.86)"; a star behind an interval of few landmarks, a dash for what is not defined."""
    if figure is None or not math.isfinite(figure.value):
        return "–"
    if not math.isfinite(figure.low):
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})" + "*" * figure.is_descriptive


def fill(
    config: LandmarkScoreConfig, context: StepContext, questions: Questions, methods: Mapping[str, Method],
    figures: Mapping[str, Figures], comparisons: Sequence[Comparison], hierarchy: Hierarchy,
) -> None:  # fmt: skip
    """Fill the report, and write plots and contact sheets beside the data."""
    report, source = context.report, context.inputs["dataset"].ref
    landmarks = len({row["landmark_id"] for row in questions.rows})
    images = len({row["image_id"] for row in questions.rows})
    few = landmarks < FEW
    report.card |= {"pretty_name": "Landmarks named", "tags": ["evaluation", "landmarks"]}
    right = "is an answer" if config.match == "exact" else "has an answer in it"
    report.summary = (
        f"{', '.join(methods)} on `{source}`: {len(questions.rows)} questions about {images} images of {landmarks} "
        f"landmarks. A reply is right if it {right}, after normalisation. Intervals of 95 % draw whole landmarks"
        + (f"; of fewer than {FEW} they are descriptive (*): they say nothing of other landmarks." if few else ".")
    )
    report.columns |= COLUMNS
    report.counts |= {"questions": len(questions.rows), "images": images, "landmarks": landmarks}
    for name, method in methods.items():
        lost = sum(t is None for t, covers in zip(method.replies.texts, method.replies.covered, strict=True) if covers)
        report.counts |= {f"{name}: questions asked": int(method.replies.covered.sum()),
                          f"{name}: without a reply": lost,
                          f"{name}: rows about other images or levels": method.replies.others}  # fmt: skip
    _metrics(report, figures, methods)
    parts = list(dict.fromkeys(part for own in figures.values() for _, part, _ in own))
    levels = [level for level in ALL_LEVELS if any((level, "all", "accuracy") in own for own in figures.values())]
    note = f"* descriptive: of fewer than {FEW} landmarks." if few else ""
    if "name" in levels:
        rows = [
            [name, *(shown(own.get(("name", part, "accuracy"))) for part in parts)] for name, own in figures.items()
        ]
        report.table("Names", ["method", *parts], rows, note)
        heads = ["method", "has the name in it", "F1 of words", "answered", "choice", "GAP", "consistent images"]
        names = ("contains", "f1", "answered", "choice", "gap")
        rows = [
            [name, *(shown(own.get(("name", "all", one))) for one in names),
             shown(own.get(("overall", "all", "consistency")))]
            for name, own in figures.items()
        ]  # fmt: skip
        explained = "Choice: of names, by log-likelihood. GAP: global average precision, of methods with a confidence."
        report.table("Names, further figures", heads, rows, explained)
    rows = [[name, *(shown(own.get((level, "all", "accuracy"))) for level in levels)] for name, own in figures.items()]
    report.table("Accuracy by level", ["method", *levels], rows, note)
    _compared(report, comparisons)
    _bars(report, figures, parts, levels)
    confusion.add(context, questions, methods, hierarchy, GRANULARITIES)
    if config.gallery:
        _galleries(config, context, questions, methods)


def _metrics(report: Any, figures: Mapping[str, Figures], methods: Mapping[str, Method]) -> None:
    for name, own in figures.items():
        for (level, part, value), figure in own.items():
            if part == "all" and (value in ("accuracy", "consistency") or level == "name"):
                end = value if level in ("name", "overall") else f"{value}_{level}"
                report.metrics[f"{name}/{end}"] = figure.value if math.isfinite(figure.value) else None
        chance = methods[name].replies.chance
        if np.isfinite(chance).any():
            report.chance[f"{name}/choice"] = float(np.nanmean(chance))


def _compared(report: Any, comparisons: Sequence[Comparison]) -> None:
    rows = [
        [one.level, one.first, one.second, one.counts.both, one.counts.first, one.counts.second, one.counts.neither,
         f"{one.counts.p:.3g}", shown(one.difference)]
        for one in comparisons
    ]  # fmt: skip
    heads = ["level", "A", "B", "both right", "A alone", "B alone", "neither", "p (McNemar)", "A minus B"]
    note = (
        "McNemar's exact test takes questions as independent, which those of one landmark are not: the interval of "
        "the difference, which draws landmarks, is the one to go by."
    )
    if rows:
        report.table("Every two methods", heads, rows, note)


def _bars(report: Any, figures: Mapping[str, Figures], parts: Sequence[str], levels: Sequence[str]) -> None:
    def entry(figure: Figure | None) -> list[float | None] | None:
        return None if figure is None else [v if math.isfinite(v) else None for v in figure[:3]]

    buckets = [part for part in parts if part.startswith("bucket ")]
    splits = [part for part in parts if part.startswith("split ")]
    for title, groups in (("Names by bucket", buckets), ("Names by split", splits)):
        series = {name: [entry(own.get(("name", one, "accuracy"))) for one in groups] for name, own in figures.items()}
        if groups and "name" in levels:
            names = [one.partition(" ")[2] for one in groups]
            report.bars.append({"title": title, "y": "share of names right", "groups": names, "series": series})
    series = {name: [entry(own.get((level, "all", "accuracy"))) for level in levels] for name, own in figures.items()}
    report.bars.append({"title": "Accuracy by level", "y": "share right", "groups": list(levels), "series": series})


def _galleries(
    config: LandmarkScoreConfig, context: StepContext, questions: Questions, methods: Mapping[str, Method]
) -> None:
    """A sheet for each bucket, or for each split without buckets: images of different landmarks with the replies."""
    groups: dict[str, dict[str, int]] = {}
    by_bucket = any(row["bucket"] for row in questions.rows)
    for place, row in enumerate(questions.rows):
        group = row["bucket"] if by_bucket else row["split"]
        if group and row["level"] == "name":
            groups.setdefault(group, {}).setdefault(row["landmark_id"], place)
    for group, places in sorted(groups.items()):
        cells = list[tuple[Any, list[str]]]()
        for place in places.values():
            if len(cells) == config.gallery:
                break
            try:
                image = questions.image(place)
            except RowRejected:
                continue
            lines = [questions.rows[place]["name"]]
            for name, method in methods.items():
                if method.replies.covered[place]:
                    mark = "+" if method.values["accuracy"][place] else "-"
                    lines.append(f"{mark} {name}: {method.replies.texts[place] or 'no reply'}")
            cells.append((image, lines))
        file = f"images-{''.join(c if c.isalnum() else '-' for c in group)}.png"
        if contact_sheet(cells, context.output / file):
            body = f"The landmark, and what each method says of it (+ right, - wrong).\n\n![Images of {group}]({file})"
            context.report.section(f"Images: {group}", body)
