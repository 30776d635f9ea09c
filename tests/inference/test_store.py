"""Recorded recording: nothing acknowledged is lost, nothing damaged is used, and replays are the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubwright.hub_sync.errors import DataError
from hubwright.inference.requests import Reply, request_key
from hubwright.inference.store import RecordingStore, export_rows


def put(store: RecordingStore, number: int, text: str | None = None, *, usable: bool = True, draw: int = 0) -> str:
    body = {"messages": [{"role": "user", "content": f"question {number} \u2028 \udc80"}], "temperature": 0.0}
    key = request_key("m", "", body, draw)
    reply = Reply(text=text or f"answer {number} 是", finish_reason="stop", prompt_tokens=number, seconds=0.5)
    store.append(key, reply, model="m", revision="", draw=draw, request=body, usable=usable)
    return key


def filled(folder: Path, count: int) -> list[str]:
    with RecordingStore(folder) as store:
        return [put(store, number) for number in range(count)]


def segment(folder: Path) -> Path:
    (found,) = folder.glob("*.jsonl")
    return found


def test_round_trip(tmp_path: Path) -> None:
    keys = filled(tmp_path, 5)
    store = RecordingStore(tmp_path)
    assert [store.find(key).text for key in keys] == [f"answer {n} 是" for n in range(5)]  # type: ignore[union-attr]
    assert store.find("0" * 64) is None and len(store) == 5 and not store.damaged and not store.conflicts


def test_tool_calls_and_logprobs_are_kept(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    token = {"token": "a", "logprob": -0.25, "top_logprobs": []}
    reply = Reply(tool_calls=(call,), logprobs=(token,), finish_reason="tool_calls")
    with RecordingStore(tmp_path) as store:
        store.append("0a" * 32, reply, model="m", revision="r", draw=0, request={}, usable=True)
    assert RecordingStore(tmp_path).find("0a" * 32) == reply


def test_unusable_answers_are_found_by_a_replay_only_and_hide_no_usable_one(tmp_path: Path) -> None:
    with RecordingStore(tmp_path) as store:
        key = put(store, 1, "bad", usable=False)
        assert store.find(key) is None and store.find(key, any_outcome=True) is not None
        put(store, 1, "good")
        put(store, 1, "bad again", usable=False)
    found = RecordingStore(tmp_path).find(key)
    assert found is not None and found.text == "good"


def test_torn_tail_costs_one_record(tmp_path: Path) -> None:
    keys = filled(tmp_path, 5)
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with RecordingStore(tmp_path) as store:
        assert [store.find(key) is not None for key in keys] == [True] * 4 + [False]
        assert store.damaged == 1
        put(store, 4)  # into a segment of its own, not behind the torn line
    assert len(RecordingStore(tmp_path)) == 5


@pytest.mark.parametrize("where", [0.1, 0.5, 0.62, 0.9])
def test_flipped_byte_costs_one_record(tmp_path: Path, where: float) -> None:
    keys = filled(tmp_path, 5)
    path = segment(tmp_path)
    content = bytearray(path.read_bytes())
    place = int(len(content) * where)
    content[place] ^= 0x20
    path.write_bytes(content)
    store = RecordingStore(tmp_path)
    damaged = content[:place].count(b"\n")
    assert [store.find(key) is not None for key in keys] == [number != damaged for number in range(5)]


def test_damage_after_the_index_was_made_is_seen(tmp_path: Path) -> None:
    keys = filled(tmp_path, 2)
    store = RecordingStore(tmp_path)
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"answer 0", b"answer 9"))
    assert store.find(keys[0]) is None and store.find(keys[1]) is not None and store.damaged == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, 3000),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), max_size=6),
    inserted=st.binary(max_size=40),
    at=st.integers(0, 3000),
)
def test_no_damage_crashes_or_gives_a_wrong_record(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]], inserted: bytes, at: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    keys = filled(folder, 6)
    path = segment(folder)
    content = bytearray(path.read_bytes())
    for place, mask in flips:
        content[place % len(content)] ^= mask
    content[at % len(content) : at % len(content)] = inserted
    path.write_bytes(content[: max(0, len(content) - cut)])
    store = RecordingStore(folder)
    assert len(store) <= 6
    for number, key in enumerate(keys):
        found = store.find(key)
        assert found is None or (found.text, found.prompt_tokens) == (f"answer {number} 是", number)
    assert len(list(export_rows(store))) == len(store)


@pytest.mark.parametrize("line", [b',"crc":"fcb6e20c"}\n', b"\n", b"{}\n", b'[1,"crc":"00000000"}\n', b"\xff\xfe\n"])
def test_lines_that_are_no_records(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "0.jsonl").write_bytes(line)
    assert RecordingStore(tmp_path).damaged == 1


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    keys = filled(tmp_path / "recording", 20)
    store = RecordingStore(tmp_path / "recording")
    rows = list(export_rows(store))
    assert [row["key"] for row in rows] == sorted(keys)
    (tmp_path / "published").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "published" / "train.parquet")
    published = RecordingStore(tmp_path / "published", readonly=True)
    assert len(published) == 20
    assert [published.find(key) for key in keys] == [store.find(key) for key in keys]


def test_export_depends_on_nothing_but_the_answers(tmp_path: Path) -> None:
    with RecordingStore(tmp_path / "one") as store:
        for number in range(10):
            put(store, number)
    for part in range(3):
        with RecordingStore(tmp_path / "many") as store:
            for number in reversed(range(part, 10, 3)):
                put(store, number)
    assert len(list((tmp_path / "many").iterdir())) == 3
    one, many = (list(export_rows(RecordingStore(tmp_path / name))) for name in ("one", "many"))
    assert one == many


def test_two_answers_to_one_request_are_told_and_always_the_same_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RecordingStore(tmp_path) as first, RecordingStore(tmp_path) as second:
        key = put(first, 1, "one answer")
        put(second, 1, "another")
        same = put(first, 2)
        put(second, 2)
    store = RecordingStore(tmp_path)
    assert store.conflicts == {key} and same not in store.conflicts
    found = store.find(key)
    assert found is not None and found.text == "another"
    assert [row["key"] for row in export_rows(store)] == sorted([key, same])
    assert "1 of 2 requests have several answers" in caplog.text


def test_refresh_sees_what_others_recorded(tmp_path: Path) -> None:
    with RecordingStore(tmp_path) as reader, RecordingStore(tmp_path) as writer:
        key = put(writer, 1)
        assert reader.find(key) is None
        reader.refresh()
        assert reader.find(key) is not None
        later = put(writer, 2)
        path = segment(tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-5])  # as if the write were under way
        reader.refresh()
        assert reader.find(later) is None
        path.write_bytes(whole)
        reader.refresh()
        assert reader.find(later) is not None and reader.damaged == 0


def test_acknowledged_records_survive_kill_9(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hubwright.inference.requests import Reply\n"
        "from hubwright.inference.store import RecordingStore\n"
        f"store = RecordingStore(Path({str(tmp_path)!r}))\n"
        "for n in range(10**6):\n"
        "    reply = Reply(text='x' * 3000)\n"
        "    store.append(f'{n:064x}', reply, model='m', revision='', draw=0, request={}, usable=True)\n"
        "    print(n, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 500:
            assert process.poll() is None
            process.kill()
            break
    acknowledged = [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    last = max([500, *acknowledged])
    store = RecordingStore(tmp_path)
    assert all(store.find(f"{number:064x}") is not None for number in range(last + 1))


def test_what_is_no_recording_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recording"):
        RecordingStore(tmp_path / "absent", readonly=True)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"x\.parquet: is not a recording"):
        RecordingStore(tmp_path)


def test_segments_are_the_writers_own(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    path = segment(tmp_path)
    assert f"-{os.getpid()}-" in path.name and path.stat().st_mode & 0o077 == 0
