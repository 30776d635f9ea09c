"""What a card says of a data set's Parquet files: configs, splits, columns, numbers of rows, and an example row."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST = 300  # characters of a text in the example
MOST = 8  # items of a list in the example
LARGEST = 2000  # characters of a column in the example, as JSON
Configs = Mapping[str, Mapping[str, Mapping[str, Any]]]


def describe(output: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """config -> split -> {rows, path, columns} of the Parquet files below `output` (`data/` is config "default")."""
    import pyarrow.parquet as pq

    configs: dict[str, dict[str, dict[str, Any]]] = {}
    order = {"train": 0, "validation": 1, "test": 2}  # as people name them, and data/ first

    def place(path: Path) -> tuple[bool, str, int, str]:
        return path.parent.name != "data", path.parent.name, order.get(path.name.split("-")[0], 3), path.name

    for path in sorted(output.glob("*/*.parquet"), key=place):
        folder, split = path.parent.name, path.name.split("-")[0]
        splits = configs.setdefault("default" if folder == "data" else folder, {})
        columns = [[field.name, str(field.type)] for field in pq.read_schema(path)]
        entry = splits.setdefault(split, {"rows": 0, "path": f"{folder}/{split}-*.parquet", "columns": columns})
        entry["rows"] += pq.read_metadata(path).num_rows
    return configs


def described_otherwise(configs: Configs, described: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(published columns without a description, described columns that no config has), each in order.

    >>> described_otherwise({"default": {"train": {"columns": [["a", "int64"], ["b", "string"]]}}}, {"b": "", "c": ""})
    (['a'], ['c'])
    """
    entries = [entry for splits in configs.values() for entry in splits.values()]
    published = dict.fromkeys(name for entry in entries for name, _ in entry["columns"])
    return [name for name in published if name not in described], [name for name in described if name not in published]


def default_config(configs: Configs, chosen: str | None) -> str | None:
    """The config that `load_dataset` takes without a name: the one that the step chose, or else the first."""
    return chosen if chosen in configs else next(iter(configs), None)


def example_row(output: Path, configs: Configs, chosen: str | None) -> dict[str, Any] | None:
    """{config, split, row}: the first row of the default config's first split; None without Parquet files.

    The row is JSON; long texts and lists are cut, and say so.
    """
    import pyarrow.parquet as pq
    from datasets import Features

    config = default_config(configs, chosen)
    if config is None:
        return None
    split, entry = next(iter(configs[config].items()))
    with pq.ParquetFile(min(output.glob(entry["path"]))) as reader:
        batch = next(reader.iter_batches(1, [0], use_threads=False))
    features = Features.from_arrow_schema(batch.schema)
    row = {name: shortened(_value(value, features[name])) for name, value in batch.to_pylist()[0].items()}
    for name, text in ((name, json.dumps(value, ensure_ascii=False)) for name, value in row.items()):
        if len(text) > LARGEST:
            row[name] = f"{text[:LARGEST]}... ({len(text):,} characters)"
    return {"config": config, "split": split, "row": row}


def _value(value: Any, feature: Any) -> Any:
    """A value as it is stored, and JSON text of datasets' Json type as what it says; media stay bytes."""
    from datasets import Json, List

    if value is None:
        return None
    if isinstance(feature, Json):
        return json.loads(value)
    if isinstance(feature, List):
        return [_value(item, feature.feature) for item in value]
    if isinstance(feature, Mapping):
        return {name: _value(item, feature.get(name)) for name, item in value.items()}
    return value


def shortened(value: Any) -> Any:
    """A value as JSON: texts up to LONGEST characters, lists up to MOST items, bytes as their number.

    >>> shortened({"text": "a" * 1000, "bytes": b"abc"})["bytes"]
    '3 bytes'
    """
    if isinstance(value, Mapping):
        return {str(key): shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        more = [f"... and {len(value) - MOST:,} more"] if len(value) > MOST else []
        return [shortened(item) for item in value[:MOST]] + more
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and value - value == 0):
        return value
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"
