"""What wrong names have in common with the right ones: confusion by granularity, and of kinds of places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.context import StepContext
from .hierarchy import Facts, Hierarchy
from .predictions import Questions

if TYPE_CHECKING:
    from .score import Method

MOST, OTHER, REFUSED = 12, "other", "no answer"


def add(
    context: StepContext, questions: Questions, methods: Mapping[str, Method], hierarchy: Hierarchy,
    granularities: Sequence[str],
) -> None:  # fmt: skip
    """Add a table and a plot of the finest level that the replies share with the truth, and a matrix for each
    method."""
    rows, series = [], {}
    for name, method in methods.items():
        counts = Counter(one for one in method.granularity if one is not None)
        total = counts.total()
        if total:
            shares = [counts[one] / total for one in granularities]
            rows.append([name, total, *shares])
            series[name] = [[share, None, None] for share in shares]
    if not rows:
        return
    note = (
        "The finest level at which the landmark that a reply names is the true one's. none: they share nothing that "
        "is known. no such name: it names no landmark of the data set, or several."
    )
    context.report.table("Confusion by granularity", ["method", "names", *granularities], rows, note)
    chart = {"title": "Confusion by granularity", "y": "share of names", "groups": list(granularities)}
    context.report.bars.append(chart | {"series": series})
    for number, (name, method) in enumerate(methods.items()):
        labels, matrix = matrix_of(questions, method, hierarchy)
        if not matrix.any():
            continue
        file = f"plots/kinds-{number}.png"
        draw(labels, matrix, f"Kinds of places, {name}", context.output / file)
        body = f"True supercategory by row, that of the named landmark by column.\n\n![Confusion of {name}]({file})"
        context.report.section(f"Kinds of places that {name} confuses", body)


def matrix_of(questions: Questions, method: Method, hierarchy: Hierarchy) -> tuple[list[str], np.ndarray[Any, Any]]:
    """(labels, counts): true supercategories by row, those of the landmarks that replies name by column, the most
    frequent ones; the last two columns are other answers, and none."""
    pairs = []
    for place, row in enumerate(questions.rows):
        if method.granularity[place] is None or not row["supercategory"]:
            continue
        names: Sequence[Facts] = hierarchy.named(method.replies.texts[place] or "")
        if method.granularity[place] == "name":
            value = row["supercategory"]
        elif method.granularity[place] == "refused":
            value = REFUSED
        else:
            value = (names[0].supercategory if names else None) or OTHER
        pairs.append((row["supercategory"], value))
    labels = [label for label, _ in Counter(true for true, _ in pairs).most_common(MOST)]
    columns = [*labels, OTHER, REFUSED]
    matrix = np.zeros((len(labels), len(columns)), int)
    for true, value in pairs:
        if true in labels:
            matrix[labels.index(true), columns.index(value if value in columns else OTHER)] += 1
    return labels, matrix


def draw(labels: Sequence[str], matrix: np.ndarray[Any, Any], title: str, path: Path) -> None:
    """Write the matrix as a PNG file, the same bytes for the same counts; shares of a row as shades."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = [*labels, OTHER, REFUSED]
    figure = Figure(figsize=(2.6 + 0.55 * len(columns), 1.9 + 0.45 * len(labels)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(matrix):
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
