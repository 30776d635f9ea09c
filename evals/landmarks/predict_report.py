"""The card of `landmark_predict`: counts, GAP, what the threshold keeps, and images of each kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.context import StepContext
from ...hub_sync.errors import RowRejected
from ...inference.media.contact_sheet import contact_sheet
from .confidence import Threshold, gap
from .pictures import Pictures
from .predict import COLUMNS, METHODS, faults_of, named

if TYPE_CHECKING:
    from .predict import LandmarkPredictConfig

GRID, MOST = 101, 20
WAYS = {"encoder": "the nearest name by", "tower": "a linear probe on", "model": "what was written by"}
Rows = Sequence[Mapping[str, Any]]


def fill(
    config: LandmarkPredictConfig, context: StepContext, pictures: Mapping[str, Pictures], parts: Mapping[str, Rows],
    dev: Rows, chosen: Threshold | None, least: float | None,
) -> None:  # fmt: skip
    """Fill the report, and write contact sheets beside the data."""
    report = context.report
    rows = [row for own in parts.values() for row in own]
    role = next(name for name in METHODS if name in context.inputs)
    of = "a folder of images" if config.source else f"`{context.inputs['dataset'].ref}`"
    report.card |= {"pretty_name": "Landmarks predicted", "tags": ["landmarks", "predictions"]}
    report.summary = (
        f"The landmark in each image of {of}, {WAYS[role]} `{context.inputs[role].ref}`, with a confidence."
    )
    if least is not None:
        report.summary += f" Below a confidence of {least:.4g} a name is no answer (`abstained`)."
    report.columns |= COLUMNS
    faults = faults_of(rows)
    report.counts |= {"images": len(rows), "with a name": sum(row["name"] is not None for row in rows)}
    refused = sum(row["name"] is None and row["fault"] is None for row in rows)
    report.counts |= {"refused by the model": refused}
    report.counts |= {f"without a prediction: {reason}": count for reason, count in sorted(faults.items())}
    if least is not None:
        abstained = sum(row["confidence"] is not None and row["confidence"] < least for row in rows)
        report.counts["abstained"] = abstained
        report.metrics["threshold"] = least
    if chosen is not None:
        report.metrics |= {"dev_precision": chosen.precision, "dev_recall": chosen.recall, "dev_f1": chosen.f1}
        _thresholds(report, dev, chosen)
    for split, own in parts.items():
        _labelled(report, split, own, least)
    most = Counter(str(row["name"]) for row in rows if row["name"] is not None).most_common(MOST)
    report.table("Most frequent names", ["name", "images"], [list(one) for one in most])
    number = config.gallery if config.gallery is not None else 0 if config.source else 10
    if number:
        _galleries(context, pictures, parts, least, number)


def _labelled(report: Any, split: str, rows: Rows, least: float | None) -> None:
    """Figures of a split whose images have true names, at the threshold and without one."""
    known = [row for row in rows if row["right"] is not None or row["label"] is not None]
    confidence, right, queries = named(rows)
    if not known or not queries:
        return
    value = gap(confidence, right, queries)
    report.metrics |= {f"{split}/gap": value, f"{split}/accuracy": float(right.sum() / queries)}
    table: list[list[Any]] = [
        ["images", len(known)], ["that show a landmark", queries], ["GAP", value],
        ["right, of these", float(right.sum() / queries)],
    ]  # fmt: skip
    if least is not None:
        given = confidence >= least
        precision = float(right[given].mean()) if given.any() else math.nan
        recall = float(right[given].sum() / queries)
        report.metrics |= {f"{split}/precision": precision if given.any() else None, f"{split}/recall": recall}
        shown = precision if given.any() else None
        table += [["answered", int(given.sum())], ["right of those answered", shown], ["recall", recall]]
    note = "GAP: 1/M sum P(i) rel(i) over all names by falling confidence, M the images that show a landmark."
    report.table(f"Predictions of {split}", ["", ""], table, note)


def _thresholds(report: Any, dev: Rows, chosen: Threshold) -> None:
    confidence, right, queries = named(dev)
    series: dict[str, list[list[Any]]] = {"precision": [], "recall": []}
    for value in np.linspace(0, 1, GRID).tolist():
        given = confidence >= value
        if given.any():
            series["precision"].append([value, float(right[given].mean())])
        series["recall"].append([value, float(right[given].sum() / queries)])
    marks = {f"threshold {chosen.value:.3g}": chosen.value}
    report.curve("Precision and recall by threshold, dev", "confidence", "share", series, marks)


def kind_of(row: Mapping[str, Any], least: float | None) -> str:
    """ "right", "wrong", "abstained", or "named" where nobody has said what is right; "" without a name."""
    if row["name"] is None:
        return ""
    if least is not None and row["confidence"] < least:
        return "abstained"
    return "named" if row["right"] is None else "right" if row["right"] else "wrong"


def _galleries(
    context: StepContext, pictures: Mapping[str, Pictures], parts: Mapping[str, Rows], least: float | None, most: int
) -> None:
    """A sheet for each kind, of different names as far as there are some."""
    groups: dict[str, dict[str, tuple[str, int]]] = {}
    for split, rows in parts.items():
        for number, row in enumerate(rows):
            if kind := kind_of(row, least):
                groups.setdefault(kind, {}).setdefault(row["name"], (split, number))
    for kind, places in groups.items():
        cells = list[tuple[Any, list[str]]]()
        for name, (split, number) in places.items():
            if len(cells) == most:
                break
            row = parts[split][number]
            truth = [f"is {row['label'] or 'no landmark'}"] if row["right"] is False else []
            try:
                cells.append((pictures[split].open(number), [name, f"p {row['confidence']:.2f}", *truth]))
            except RowRejected:
                continue
        if contact_sheet(cells, context.output / f"images-{kind}.png"):
            body = f"The name and its confidence.\n\n![Images: {kind}](images-{kind}.png)"
            context.report.section(f"Images: {kind}", body)
