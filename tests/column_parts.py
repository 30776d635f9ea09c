"""The check that a step describes the columns it publishes, and those alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubwright.catalog import spec_of
from hubwright.hub_sync import provenance
from hubwright.hub_sync.context import Report
from hubwright.model_cards import parquet


def check_columns(uses: str, result: Any, report: Report | None = None) -> None:
    """Raises AssertionError for a column without a description, one that is described and absent, and a bad line.

    `tests/hubwright/test_column_descriptions.py` looks for this call in the tests of every step that publishes a data set.

    Args:
        uses: name of the step.
        result: what a builder returns, or the folder below which a step writes Parquet files.
        report: the step's; None: that of the provenance in the folder of a published data set.
    """
    assert spec_of(uses).publishes == "dataset"
    columns = (
        provenance.load(result / provenance.FILE_NAME)[0]["report"]["columns"] if report is None else report.columns
    )
    if isinstance(result, Path):
        configs = parquet.describe(result)
    else:
        nested = isinstance(next(iter(result.values())), Mapping)
        configs = {
            config: {split: {"columns": [[name, ""] for name in rows.column_names]} for split, rows in splits.items()}
            for config, splits in (result if nested else {"default": result}).items()
        }
    assert configs
    assert parquet.described_otherwise(configs, columns) == ([], [])
    for name, text in columns.items():
        assert isinstance(text, str), f"{name}: {text!r} is not a text: quote it in the YAML file"
        assert text.strip() == text and text and "\n" not in text and not text.endswith("."), f"{name}: {text!r}"
