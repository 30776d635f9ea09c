"""Files as users have them: every one becomes rows, or is refused in one line that names file and remedy."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders._lib.sources import Source, read_records
from hubwright.builders.toolcalls import ToolCallsConfig
from hubwright.builders.toolcalls import build as build_toolcalls
from hubwright.hub_sync.errors import DataError

TALK = {"messages": [{"role": "user", "content": "Good day to you"}, {"role": "assistant", "content": "And to you"}]}
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}}}}}  # fmt: skip
CALL = {
    "tools": json.dumps([TOOL]),
    "messages": [
        {"role": "user", "content": "Call it with one"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": json.dumps({"a": 1})}}]},
    ],
}  # fmt: skip
ALPACA = {"instruction": "Say it", "input": "", "output": "It is said"}


def _lines(*records: Any) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def _parquet(*records: Any) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(records)), sink)
    return sink.getvalue()


def _images() -> bytes:
    import io

    import datasets

    types = datasets.Features({"messages": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
                               "images": datasets.List(datasets.Image())})  # fmt: skip
    rows = datasets.Dataset.from_dict({"messages": [TALK["messages"]], "images": [[]]}, features=types)
    sink = io.BytesIO()
    rows.to_parquet(sink)
    return sink.getvalue()


def _struct(a: Any, **more: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": a, **more}}}
    return CALL | {"messages": [CALL["messages"][0], {"role": "assistant", "content": "", "tool_calls": [call]}]}


def _built(build: Callable[..., Any], config: type, path: Path) -> Any:
    return build(config(sources=({"source": str(path)},), license="mit", test_fraction=0.0))


READ = {
    "lines": (_lines(TALK), 1),
    "list": (json.dumps([TALK, ALPACA]).encode(), 2),
    "byte order mark": (codecs.BOM_UTF8 + _lines(TALK), 1),
    "carriage returns and blank lines": (b"\r\n\r\n" + _lines(TALK) + b"\r\n\r\n", 1),
    "gzip": (gzip.compress(_lines(TALK)), 1),
    "bzip2": (bz2.compress(_lines(TALK)), 1),
    "xz": (lzma.compress(json.dumps([TALK]).encode()), 1),
    "parquet": (_parquet(TALK), 1),
    "parquet with columns of nulls": (_parquet(TALK | {"system": None, "tools": None, "score": 0.5}), 1),
    "alpaca in parquet": (_parquet(ALPACA | {"history": None}), 1),
    "two layouts in one file": (_lines(TALK, ALPACA), 2),
    "a thought": (
        _lines({"messages": [TALK["messages"][0], {"role": "assistant", "content": "<think>So</think>Yes"}]}),
        1,
    ),
}
REFUSED = {
    "empty": (b"", "has no records"),
    "an empty list": (b"[]", "has no records"),
    "UTF-16": (_lines(TALK).decode().encode("utf-16"), "is not UTF-8; save the file as UTF-8"),
    "CSV": (b"instruction,output\nSay,Said\n", "line 1 is not JSON"),
    "cut off": (json.dumps([TALK, TALK]).encode()[:-20], "record 2 is not JSON"),
    "cut-off gzip": (gzip.compress(_lines(TALK))[:-12], "cannot be unpacked"),
    "damaged gzip": (gzip.compress(_lines(TALK))[:15] + b"!!!!!!!!!!!!", "cannot be unpacked"),
    "damaged bzip2": (bz2.compress(_lines(TALK))[:20] + b"!" * 40, "cannot be unpacked"),
    "cut-off xz": (lzma.compress(_lines(TALK))[:-20], "cannot be unpacked"),
    "text that begins like bzip2": (b"BZhello", "cannot be unpacked"),
    "images in parquet": (_images(), "column 'images' holds images, sound or video"),
    "a zip archive": (b"PK\x03\x04" + bytes(40), "is a zip archive; unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(40), "is packed with zstd; unpack it"),
    "damaged parquet": (_parquet(TALK)[:-9], "cannot be read as Parquet"),
    "NaN": (b'{"instruction": NaN}', "NaN is not JSON"),
    "deep": (b"[" * 100_000, "is not JSON"),
}


def _records(path: Path) -> list[Any]:
    sources = read_records((Source(source=str(path)),), 60, path.parent / "sources")
    return [record for _, records, _ in sources for record in records]


@pytest.mark.parametrize("name", READ)
def test_read_records_of_ordinary_file_gives_every_record(tmp_path: Path, name: str) -> None:
    content, number = READ[name]
    (tmp_path / "rows.json").write_bytes(content)
    records = _records(tmp_path / "rows.json")
    assert len(records) == number
    assert all("messages" in record or "instruction" in record for record in records)


@pytest.mark.parametrize("name", REFUSED)
def test_read_records_of_sloppy_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(DataError) as refused:
        _records(tmp_path / "rows.json")
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("content", [_lines(CALL), gzip.compress(_lines(CALL)), _parquet(CALL)])
def test_toolcalls_in_ordinary_file_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    (row,) = _built(build_toolcalls, ToolCallsConfig, tmp_path / "rows.json")["train"]
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_toolcalls_in_parquet_structs_are_refused_as_their_nulls_are_not_the_models(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(_parquet(_struct(1, b=None), _struct(2, b="x")))
    with pytest.raises(DataError, match=r"column 'messages' lie in an Arrow struct.*JSON text") as refused:
        _built(build_toolcalls, ToolCallsConfig, tmp_path / "rows.parquet")
    assert "\n" not in str(refused.value)
