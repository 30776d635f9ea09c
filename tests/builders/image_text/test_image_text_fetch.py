"""URLs become images or a counted reason; a killed run asks for the rest alone; a failure is never a result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Image
from url_parts import UrlServer, picture

from hubwright.builders._lib.image_fetching import FetchLog
from hubwright.builders.image_text import ImageTextConfig, build
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError

DEAD = {
    "/status/404": "HTTP 404", "/page/": "content type of no image", "/lying/": "a page of HTML in place of an image",
    "/hang/": "deadline", "/drip/": "deadline", "/endless/": "body above the limit of bytes", "/bomb/": "body above the limit of bytes",
    "/redirect/http%3A%2F%2F169.254.169.254%2F": "private address", "/short/": "connection that failed",
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[UrlServer]:
    with UrlServer() as running:
        yield running


def table(path: Path, server: UrlServer, *paths: str, **more: Any) -> Path:
    with path.open("w") as stream:
        for number, url in enumerate(paths):
            stream.write(json.dumps({"url": server.url + url, "text": f"Text {number}.", **more}) + "\n")
    return path


def run(source: Path, server: UrlServer, folder: Path, fetch: dict[str, Any] | None = None, **settings: Any) -> Any:
    context = StepContext("pairs", folder, folder / "out")
    limits = {"deadline": 3, "attempts": 2, "private_hosts": [server.host], "per_host": 16} | (fetch or {})
    settings = {
        "source": str(source),
        "format": "table",
        "license": "mit",
        "fetch": limits,
        "image_license": "cc0-1.0",
    } | settings
    return build(ImageTextConfig.model_validate({"max_image_mb": 0.5} | settings), context), context


def test_urls_become_images_in_order_or_a_reason(tmp_path: Path, server: UrlServer) -> None:
    paths = ["/image/1", *DEAD, "/image/2", "/flaky/1", "/image/1"]
    built, context = run(table(tmp_path / "a.jsonl", server, *paths), server, tmp_path / "work")
    rows = built["train"].cast_column("image", Image(decode=False))
    assert [row["image"]["bytes"] for row in rows] == [picture(1), picture(2), picture(2), picture(1)]
    assert [row["text"] for row in rows] == ["Text 0.", "Text 10.", "Text 11.", "Text 12."]
    assert server.hits["/image/1"] == 1  # two texts, one request
    counts = context.report.counts
    assert counts["urls_asked"] == 13 and counts["urls_dead"] == 9 and counts["records_rejected"] == 9
    for reason in DEAD.values():
        assert counts[f"rejected: URL without an image: {reason}"] == list(DEAD.values()).count(reason)
    survival = {title["title"]: title for title in context.report.tables}
    assert survival["URLs that still give an image"]["rows"][0] == ["alive", 4, "30.8%"]
    assert survival["Texts of URLs that are alive and dead"]["rows"][0] == ["words per text", 2.0, 2.0]
    assert not (tmp_path / "work" / "fetched.log").exists()


def test_private_addresses_are_refused_unless_they_are_named(tmp_path: Path, server: UrlServer) -> None:
    source = table(tmp_path / "a.jsonl", server, "/image/1")
    with pytest.raises(DataError, match="URL without an image: private address: 1"):
        run(source, server, tmp_path / "work", {"private_hosts": []})
    assert not server.hits


def test_fetched_pixels_follow_the_licence_and_hashes_stay(tmp_path: Path, server: UrlServer) -> None:
    source = table(tmp_path / "a.jsonl", server, "/image/1", license="all rights reserved")
    (row,) = run(source, server, tmp_path / "work")[0]["train"]
    assert row["image"] is None and row["sha256"] and row["phash"] and row["width"] == 48


def test_image_that_is_another_than_its_stated_sha256_is_left_out(tmp_path: Path, server: UrlServer) -> None:
    source = tmp_path / "a.jsonl"
    table(source, server, "/image/1", sha256="0" * 64)
    with source.open("a") as stream:
        stream.write(json.dumps({"url": f"{server.url}/image/2", "text": "Right.", "sha256": None}) + "\n")
    built, context = run(source, server, tmp_path / "work")
    assert list(built["train"]["text"]) == ["Right."]
    assert context.report.counts["rejected: URL without an image: another image than the stated sha256"] == 1


def test_failure_is_asked_again_by_the_next_run_and_an_image_is_not(tmp_path: Path, server: UrlServer) -> None:
    """The first run ends with an error; in its folder are the images that came, and nothing of what failed."""
    source = table(tmp_path / "a.jsonl", server, "/image/1", "/flaky/2", "/flaky/3")
    with pytest.raises(DataError, match="no row is left for split"):
        run(source, server, tmp_path / "work", {"attempts": 1}, splits={"a": 0.999, "b": 0.001})
    assert server.hits["/image/1"] == 1 and server.hits["/flaky/2"] == 1
    built, context = run(source, server, tmp_path / "work", {"attempts": 2, "deadline": 5})
    assert server.hits["/image/1"] == 1 and server.hits["/flaky/2"] == 3
    assert list(built["train"]["text"]) == ["Text 0.", "Text 1."]
    assert context.report.counts["urls_asked"] == 3 and context.report.counts["urls_dead"] == 1


def test_image_that_was_cut_is_asked_again_by_the_next_run(tmp_path: Path, server: UrlServer) -> None:
    """Half a JPEG file has a whole header."""
    source = table(tmp_path / "a.jsonl", server, "/image/1", "/torn/1")
    with pytest.raises(DataError, match="no row is left for split"):
        run(source, server, tmp_path / "work", splits={"a": 0.999, "b": 0.001})
    built, context = run(source, server, tmp_path / "work")
    assert list(built["train"]["text"]) == ["Text 0.", "Text 1."] and context.report.counts["urls_dead"] == 0
    assert server.hits["/image/1"] == 1 and server.hits["/torn/1"] == 2


def test_log_survives_torn_and_damaged_records(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = FetchLog(path)
    for number in range(3):
        assert log.read(log.write(f"http://a/{number}", picture(number))) == picture(number)
    log.close()
    whole = path.read_bytes()
    for cut in (1, 30, len(picture(2)), len(picture(2)) + 60):
        path.write_bytes(whole[:-cut])
        log = FetchLog(path)
        assert log.find("http://a/1") is not None and log.find("http://a/2") is None and log.find("http://b") is None
        assert log.read(log.write("http://a/2", b"anew")) == b"anew"
        log.close()
        log = FetchLog(path)
        place = log.find("http://a/2")
        assert place is not None and log.read(place) == b"anew"
        log.close()
    damaged = bytearray(whole)
    damaged[whole.index(picture(1)) + 9] ^= 1
    path.write_bytes(bytes(damaged))
    log = FetchLog(path)
    assert log.find("http://a/0") and log.find("http://a/1") is None and log.find("http://a/2")
    log.close()


CODE = """
import sys
from pathlib import Path
from hubwright.builders.image_text import ImageTextConfig, build
from hubwright.hub_sync.context import StepContext
source, host, folder = sys.argv[1:]
config = ImageTextConfig.model_validate({
    "source": source, "format": "table", "license": "mit", "image_license": "cc0-1.0", "max_image_mb": 0.5,
    "fetch": {"deadline": 20, "private_hosts": [host], "per_host": 4},
})
build(config, StepContext("pairs", Path(folder), Path(folder) / "out"))["train"].to_parquet(folder + "/rows.parquet")
"""


@pytest.mark.slow
def test_run_that_was_killed_loses_no_image_that_had_come(tmp_path: Path, server: UrlServer) -> None:
    source = table(tmp_path / "a.jsonl", server, *(f"/wait/0.03/{n}" for n in range(60)))
    command = [sys.executable, "-c", CODE, str(source), server.host, str(tmp_path / "work")]
    for _ in range(2):
        before = sum(server.hits.values())
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + 60
        while sum(server.hits.values()) < before + 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, timeout=100)
    assert len(server.hits) == 60
    # Asked twice are those alone that were in flight when the run was killed.
    assert sum(server.hits.values()) <= 60 + 2 * 2 * 4
