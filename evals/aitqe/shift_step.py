"""Recipe step `aitqe_shift`: how far the texts of processed data sets moved from the raw ones.

Inputs `output_NAME` hold the pairs that are left, by `id`: a filtered data set, one that `aitqe_enhance` made, one
whose texts are all new.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import Field

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError, first_line
from ...hub_sync.settings import Settings
from .._lib.data import read_split, write_parquet
from .shift import Shift, frechet_distance

TITLES = {
    "present": "rows left", "keep_rate": "texts unchanged", "edit_distance": "edit distance",
    "entity_retention": "names and numbers left", "length_jsd": "length JSD", "unigram_jsd": "unigram JSD",
    "embedding_distance": "embedding distance", "mean_words": "mean words", "distinct_1": "distinct-1",
    "distinct_2": "distinct-2", "template_rate": "begin as captions do",
}  # fmt: skip


class ShiftConfig(Settings):
    """What is compared. Defaults are our choice."""

    split: str = Field("train", description="Split of the raw data and of the outputs.")
    text: str = Field("text", description="Column of the raw texts.")
    order: list[str] | None = Field(None, description="Names of the inputs output_NAME; null: the recipe's order.")
    embedded: int = Field(
        0, ge=0, description="Texts of each data set whose embeddings are compared, by the input `embedder`; 0: none."
    )

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError without an output, and unless an embedder and texts for it go together."""
        given = set(names)
        if not any(name.startswith("output_") for name in given):
            raise UsageError("aitqe_shift compares outputs with raw texts: add inputs output_NAME")
        if bool(self.embedded) != ("embedder" in given):
            raise UsageError("embedded says how many texts the input `embedder` reads: give both, or neither")


def shift(config: ShiftConfig, context: StepContext) -> None:
    """Write every measure to `context.output`, and fill the report.

    Raises UsageError for unknown names; DataError for outputs with rows that the raw data do not have, or twice.
    """
    config.check_inputs(context.inputs)
    raw = context.inputs["dataset"]
    names = [name.removeprefix("output_") for name in context.inputs if name.startswith("output_")]
    order = config.order or names
    if sorted(order) != sorted(names):
        raise UsageError(f"order names {', '.join(order)}, and the inputs are {', '.join(names)}")
    figures: dict[str, dict[str, float]] = {}
    vectors: Any = None
    for name in order:
        measured = Shift()
        for before, after in joined(config, raw, context.inputs[f"output_{name}"]):
            measured.add(before, after)
        if "raw" not in figures:
            figures["raw"] = dict.fromkeys(measured.figures(), math.nan) | measured.raw.figures()
        figures[name] = measured.figures()
        if config.embedded:
            if vectors is None:
                vectors = _embeddings(config, context, raw, config.text)
            own = _embeddings(config, context, context.inputs[f"output_{name}"], "text")
            figures[name]["embedding_distance"] = frechet_distance(vectors, own)
    rows = [
        {"data": name, "measure": measure, "value": value if math.isfinite(value) else None}
        for name, own in figures.items() for measure, value in own.items()
    ]  # fmt: skip
    write_parquet(rows, context.output / "data", "measures")
    _report(config, context, figures)


def joined(config: ShiftConfig, raw: Input, output: Input) -> Iterator[tuple[str, str | None]]:
    """(raw text, output's text or None) of every raw row; what memory holds is a number for each row of the output.

    Raises DataError in one line.
    """
    before, after = read_split(raw.path, config.split), read_split(output.path, config.split)
    for rows, name, column in ((before, raw.ref, config.text), (after, output.ref, "text")):
        if missing := [one for one in ("id", column) if one not in rows.column_names]:
            raise DataError(f"{name} has no column {missing[0]!r}; it has {', '.join(rows.column_names)}")
    places: dict[str, int] = {}
    for place, row in enumerate(after.select_columns(["id"])):
        if places.setdefault(row["id"], place) != place:
            raise DataError(f"{output.ref}: id {row['id']!r} is there twice")
    met, texts = bytearray(len(after)), after.select_columns(["text"])
    for row in before.select_columns(["id", config.text]):
        at = places.get(row["id"])
        if at is not None:
            if met[at]:
                raise DataError(f"{raw.ref}: id {row['id']!r} is there twice")
            met[at] = 1
        value = None if at is None else texts[at]["text"]
        if not isinstance(row[config.text], str) or (at is not None and not isinstance(value, str)):
            raise DataError(f"{raw.ref}: id {row['id']!r}: a text is null in the raw data or in {output.ref}")
        yield row[config.text], value
    if sum(met) < len(places):
        raise DataError(f"{output.ref}: {len(places) - sum(met)} of its {len(places)} rows are not in {raw.ref}")


def _embeddings(config: ShiftConfig, context: StepContext, source: Input, column: str) -> Any:
    """(rows, d) of up to `embedded` texts at equal distances."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UsageError("embedded needs: pip install 'hubwright[embeddings]'") from error
    rows = read_split(source.path, config.split)
    places = np.unique(np.linspace(0, len(rows) - 1, min(config.embedded, len(rows))).astype(int))
    embedder = context.inputs["embedder"]
    try:
        model = SentenceTransformer(str(embedder.path), local_files_only=True)
    except Exception as error:  # a missing file raises TypeError, KeyError or OSError
        reason = first_line(error).replace(str(embedder.path), str(embedder.ref))
        raise DataError(f"{embedder.ref} cannot be loaded by sentence-transformers: {reason}") from error
    return model.encode([rows[int(place)][column] for place in places], normalize_embeddings=True)


def _report(config: ShiftConfig, context: StepContext, figures: Mapping[str, Mapping[str, float]]) -> None:
    report, raw = context.report, context.inputs["dataset"].ref
    report.card["pretty_name"] = f"How far texts moved from {raw.repo_id}"
    report.card["tags"] = ["evaluation", "image-text", "aitqe"]
    report.summary = (
        f"Texts of {', '.join(name for name in figures if name != 'raw')} beside those of `{raw}`. Edit distance: "
        "Levenshtein over the longer length, mean of the rows left. JSD: Jensen-Shannon divergence in bits of the "
        "distributions of lengths and words. Names and numbers: over changed texts that have some. Embedding "
        "distance: squared Fréchet distance. The paper gives no formula; all are our choice."
    )
    report.columns |= {
        "data": "raw, or an output by its name",
        "measure": "what is measured: shares from 0 to 1, divergences in bits, means in words",
        "value": "null if it is not defined",
    }
    measures = [name for name in TITLES if any(name in own for own in figures.values())]
    table = [
        [name, *(own[m] if math.isfinite(own.get(m, math.nan)) else None for m in measures)]
        for name, own in figures.items()
    ]
    report.table("Measures", ["data", *(TITLES[name] for name in measures)], table)
    report.metrics |= {
        f"{name}/{measure}": value if math.isfinite(value) else None
        for name, own in figures.items() if name != "raw" for measure, value in own.items()
    }  # fmt: skip
