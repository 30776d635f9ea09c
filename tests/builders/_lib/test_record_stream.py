"""Records read one at a time are those of json.loads, and what is not JSON is refused with its place."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib import record_stream
from hubwright.builders._lib.record_stream import json_lines, records
from hubwright.hub_sync.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def read(path: Path) -> Iterator[Any]:
    with path.open("rb") as stream:
        yield from records(stream, "rows.json")


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "rows.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


@pytest.mark.parametrize("chunk", [1, 7])
@given(values=st.lists(VALUES, min_size=1, max_size=5), indent=st.sampled_from([None, 2]), ascii_=st.booleans())
def test_a_list_in_any_layout_and_window_gives_its_items(
    tmp_path_factory: Any, chunk: int, values: list[Any], indent: int | None, ascii_: bool
) -> None:
    path = written(tmp_path_factory.mktemp("list"), json.dumps(values, indent=indent, ensure_ascii=ascii_))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_stream, "_CHUNK", chunk)
        try:
            found = list(read(path))
        except DataError as error:  # half a surrogate pair is not UTF-8
            assert "is not UTF-8" in str(error) and not ascii_
            return
    assert repr(found) == repr(values)


def test_json_lines_with_mark_blank_lines_and_separators(tmp_path: Path) -> None:
    text = '\ufeff{"a": 1}\r\n\r\n  {"a": "x\u2028y"}\n\n3'
    assert list(read(written(tmp_path, text))) == [{"a": 1}, {"a": "x\u2028y"}, 3]
    assert list(json_lines((tmp_path / "rows.json").open("rb"), "n")) == [
        (1, {"a": 1}),
        (3, {"a": "x\u2028y"}),
        (5, 3),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no records"),
        ("  \n\t", "has no records"),
        ("[]", "has no records"),
        ("[ ", "expecting a value after record 0"),
        ("[1, 2", "expecting ',' or ']' after record 2"),
        ("[1, ]", "is not JSON"),
        ("[1 2]", "expecting ',' or ']' after record 1"),
        ('[{"a": 1}, {"a": ]', "record 2 is not JSON"),
        ('[{"a": "x', "record 1 is not JSON"),
        ("[NaN]", "record 1 is not JSON (NaN is not JSON)"),
        ("[1] x", "text after the list"),
        ('{"a": 1}\n{"a": Infinity}', "line 2 is not JSON"),
        ('{"a": 1}\n{"a": 1} x', "line 2 is not JSON"),
        (b'{"a": 1}\n{"a": "\xff"}', "byte 16 is not UTF-8"),
        (b'[{"a": "\xff"}]', "byte 8 is not UTF-8"),
        (b"PK\x03\x04\xff", "byte 4 is not UTF-8"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_not_json_is_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as refused:
        list(read(written(tmp_path, content)))
    assert message in str(refused.value) and str(refused.value).startswith("rows.json: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("layout", ["list", "lines"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, layout: str) -> None:
    record = json.dumps({"text": "x" * 1000})
    peaks = []
    for count in (3_000, 9_000):
        separator = ",\n" if layout == "list" else "\n"
        text = separator.join([record] * count)
        path = written(tmp_path, f"[{text}]" if layout == "list" else text)
        tracemalloc.start()
        assert sum(1 for _ in read(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 8_000_000 and peaks[1] < 1.3 * peaks[0]


def test_a_mistake_in_a_large_list_does_not_read_it_all(tmp_path: Path) -> None:
    path = written(tmp_path, '[{"a": nul}, ' + '{"text": "x"}, ' * 300_000 + "1]")
    tracemalloc.start()
    with pytest.raises(DataError, match="record 1 is not JSON"):
        list(read(path))
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


def test_a_record_of_50_mb_passes(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps([{"text": "x" * 50_000_000}, 1]))
    assert [len(str(record)) > 50_000_000 for record in read(path)] == [True, False]
