"""The index of a recording: the same answers as a scan, which is made once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from raw_server import RawServer

from hubwright.inference import record_index, store
from hubwright.inference.client import ChatClient, Endpoint, run_blocking
from hubwright.inference.record_index import Place, RecordIndex, pack
from hubwright.inference.requests import Reply
from hubwright.inference.store import RecordingStore, export_rows


def key(number: int) -> str:
    return f"{number:062x}00"  # ends in zeros, which numpy's texts of bytes lose


def fill(folder: Path, numbers: range, text: str = "answer") -> None:
    with RecordingStore(folder) as recording:
        for number in numbers:
            reply = Reply(text=f"{text} {number}")
            recording.append(key(number), reply, model="m", revision="", draw=0, request={}, usable=number % 7 > 0)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that are decoded while a store is opened or read."""
    lines: list[bytes] = []
    decode = store._decode
    monkeypatch.setattr(store, "_decode", lambda line: lines.append(line) or decode(line))
    return lines


def test_record_index_in_any_batches_is_that_of_single_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "FRESH", 50)
    rng = random.Random(0)
    records = [(rng.randrange(300), n, bool(rng.randrange(2)), rng.randrange(2)) for n in range(4000)]
    best: dict[bytes, Place] = {}
    conflicts = set()
    for number, offset, usable, digest in records:
        name, old = bytes.fromhex(key(number)), best.get(bytes.fromhex(key(number)))
        if old and old.usable and usable and old.digest != digest:
            conflicts.add(name.hex())
        if old is None or usable or not old.usable:
            best[name] = Place(0, offset, 9, usable, digest)
    for sizes in ([1], [4000], [1500, 3, 2000, 497], [999, 1001]):
        index, start = RecordIndex(), 0
        while start < len(records):
            part = records[start : start + sizes[0]]
            start, sizes = start + len(part), sizes[1:] + sizes[:1]
            index.extend(0, b"".join(pack(bytes.fromhex(key(n)), o, 9, u, d) for n, o, u, d in part))
        assert {name: index.get(name) for name in best} == best and index.conflicts == conflicts
        assert len(index) == len(best) and list(index) == sorted(best)
        index.drop(min(best))
        assert index.get(min(best)) is None and len(index) == len(best) - 1


def test_store_of_indexed_segments_decodes_no_foreign_record(tmp_path: Path, scans: list[bytes]) -> None:
    fill(tmp_path, range(1500))
    fill(tmp_path, range(1000, 2500), "another")
    fill(tmp_path, range(20))
    scans.clear()
    with RecordingStore(tmp_path) as recording:
        assert len(scans) == 20 and len(recording) == 2500
        assert recording.find(key(1200)).text == "another 1200" and recording.find(key(7)) is None  # type: ignore[union-attr]
        assert len(recording.conflicts) == sum(n % 7 > 0 for n in range(1000, 1500)) and len(scans) == 21
    rows = list(export_rows(RecordingStore(tmp_path)))
    for path in tmp_path.glob("*.index"):
        path.unlink()
    assert list(export_rows(RecordingStore(tmp_path))) == rows


def test_asking_never_sorts_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The index takes in what is recorded in batches; a look at the store's length before each request sorts it."""
    merges: list[int] = []
    monkeypatch.setattr(record_index.RecordIndex, "_merge", lambda index: merges.append(len(index._fresh)))

    async def ask(store: RecordingStore, url: str) -> None:
        async with ChatClient(Endpoint("m", url), store=store) as chat:
            for number in range(20):
                assert (await chat.complete([{"role": "user", "content": str(number)}])).ok

    with RawServer("echo") as server, RecordingStore(tmp_path) as store:
        run_blocking(ask(store, server.url))
    assert not merges


def test_segment_of_a_killed_run_is_scanned_once(tmp_path: Path, scans: list[bytes]) -> None:
    fill(tmp_path, range(1500))
    for path in tmp_path.glob("*.index"):
        path.unlink()
    for age, decoded in ((0, 1500), (3600, 1500), (3600, 0)):  # a fresh one may still grow
        (segment,) = tmp_path.glob("*.jsonl")
        if not list(tmp_path.glob("*.index")):
            os.utime(segment, (segment.stat().st_mtime - age,) * 2)
        scans.clear()
        RecordingStore(tmp_path).close()
        assert len(scans) == decoded


@pytest.mark.parametrize("damage", ["other state", "torn", "wrong"])
def test_index_that_does_not_fit_costs_no_answer(tmp_path: Path, scans: list[bytes], damage: str) -> None:
    fill(tmp_path, range(1500))
    (segment,), (index,) = tmp_path.glob("*.jsonl"), tmp_path.glob("*.index")
    if damage == "other state":
        segment.write_bytes(segment.read_bytes()[:-9])
    else:
        content = bytearray(index.read_bytes())
        content = content[:-100] if damage == "torn" else content[:200] + content[249:] + content[200:249]
        index.write_bytes(content)
    recording = RecordingStore(tmp_path)
    texts = [reply and reply.text for reply in map(recording.find, map(key, range(1500)))]
    for number, text in enumerate(texts):
        assert text in (f"answer {number}" if number % 7 else None, None)
    if damage != "wrong":
        assert texts.count(None) == sum(n % 7 == 0 for n in range(1500)) + (damage == "other state")
