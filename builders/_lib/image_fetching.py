"""The images behind the URLs of pairs, fetched while rows are made: resumable, in the pairs' order, in flat memory.

Every image that has come is appended to a file at once, so that a run that goes on after a kill asks for the others
alone. What failed is never written: it is asked again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...hub_sync.errors import RowRejected
from ...hub_sync.text import utf8
from ...inference.shards import stored
from .image_pairs import Pair, Pairs

if TYPE_CHECKING:
    from ...inference.media.fetch import Fetched, FetchLimits
    from ...inference.media.images import ImageLimits

WINDOW = 32  # pairs ahead for each URL in flight; our choice
_HELD = 64 << 20  # bytes of images that wait behind URLs; our choice
_RECENT = 4096  # URLs whose outcome the next pairs with the same one share; our choice
_HEADER = 1 << 16


class _Place(NamedTuple):
    """Where an image lies in the log."""

    offset: int
    size: int
    sha256: str


class FetchLog:
    """Images that have come, one after another in a file: a line of JSON, the content, a line end.

        >>> log = FetchLog(context.workdir / "fetched")
        >>> log.read(log.write("https://example.org/cat.jpg", b"..."))
        b'...'

    Args:
        path: kept between runs. A record that a killed run left unfinished is cut off.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        keys, offsets = [], []
        self._file = path.open("ab+", buffering=0)
        for url, place in self._records():
            keys.append(_key(url))
            offsets.append(place)
        order = np.argsort(np.array(keys, np.uint64), kind="stable")
        self._keys = np.array(keys, np.uint64)[order]
        self._offsets = np.array(offsets, np.int64)[order]

    def _records(self) -> Iterator[tuple[str, int]]:
        """(URL, offset of its record) of a former run's whole records."""
        end = 0
        with self._path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            while header := _header(stream.readline(_HEADER)):
                after = stream.tell() + header["size"]
                stream.seek(after)
                if after >= size or stream.read(1) != b"\n":
                    break
                yield header["url"], end
                end = after + 1
        os.ftruncate(self._file.fileno(), end)

    def find(self, url: str) -> _Place | None:
        """Where a former run's image of this URL is; None if there is none, or it is damaged."""
        key = _key(url)
        at = int(np.searchsorted(self._keys, key))
        while at < len(self._keys) and self._keys[at] == key:
            offset, at = int(self._offsets[at]), at + 1
            head = os.pread(self._file.fileno(), _HEADER, offset).partition(b"\n")[0]
            header = _header(head + b"\n")
            if header and header["url"] == url:
                place = _Place(offset + len(head) + 1, header["size"], header["sha256"])
                if hashlib.sha256(self.read(place)).hexdigest() == place.sha256:
                    return place
        return None

    def write(self, url: str, content: bytes) -> _Place:
        """Append an image. Raises StorageError for a full disk."""
        digest = hashlib.sha256(content).hexdigest()
        header = utf8(json.dumps({"url": url, "size": len(content), "sha256": digest}) + "\n")
        with stored(self._path):
            offset = os.fstat(self._file.fileno()).st_size + len(header)
            view = memoryview(header + content + b"\n")
            while view:
                view = view[self._file.write(view) :]
        return _Place(offset, len(content), digest)

    def read(self, place: _Place) -> bytes:
        """The content of an image."""
        return os.pread(self._file.fileno(), place.size, place.offset)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _key(url: str) -> int:
    return int.from_bytes(hashlib.blake2b(utf8(url), digest_size=8).digest(), "little")


def _header(line: bytes) -> dict[str, Any]:
    """The header of a record; {} for anything else."""
    try:
        header = json.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        return {}
    return header if isinstance(header, dict) and header.keys() == {"url", "size", "sha256"} else {}


class Survival:
    """How many URLs still give an image, why not, and how the texts of both differ.

    Attributes:
        dead: reason -> URLs.
        words, characters, ascii: sums over the texts by whether the URL is alive.
    """

    def __init__(self) -> None:
        self.dead: Counter[str] = Counter()
        self.rows, self.words, self.characters, self.ascii = (Counter[bool]() for _ in range(4))

    def add(self, text: object, reason: str) -> None:
        """Count a URL, alive if there is no reason why not."""
        alive = not reason
        if reason:
            self.dead[reason] += 1
        self.rows[alive] += 1
        if isinstance(text, str):
            self.words[alive] += len(text.split())
            self.characters[alive] += len(text)
            self.ascii[alive] += text.isascii()


class _Loop:
    """An event loop with a Fetcher, in a thread; what comes is written to the log there."""

    def __init__(self, limits: FetchLimits, images: ImageLimits, log: FetchLog) -> None:
        self._limits, self._images, self._log = limits, images, log
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        self._recent: OrderedDict[str, Future[_Place | Fetched]] = OrderedDict()

    def __enter__(self) -> _Loop:
        from ...inference.media.fetch import Fetcher

        self._thread.start()
        self._fetcher = Fetcher(self._limits)
        asyncio.run_coroutine_threadsafe(self._fetcher.__aenter__(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.__aexit__(None, None, None)

    def submit(self, url: str) -> Future[_Place | Fetched]:
        """The outcome of a URL: its place in the log, or why there is none."""
        if url in self._recent:
            self._recent.move_to_end(url)
            return self._recent[url]
        future: Future[_Place | Fetched]
        if (place := self._log.find(url)) is not None and self._is_whole(place):
            future = Future()
            future.set_result(place)
        else:
            future = asyncio.run_coroutine_threadsafe(self._fetch(url), self._loop)
        self._recent[url] = future
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return future

    def _is_whole(self, place: _Place) -> bool:
        """Whether a former run's image can be decoded: of one that was cut on its way, its head tells nothing."""
        from ...inference.media.images import open_image

        try:
            open_image(self._log.read(place), self._images)
        except RowRejected:
            return False
        return True

    async def _fetch(self, url: str) -> _Place | Fetched:
        from ...inference.media.fetch import Fetched
        from ...inference.media.images import check_image

        answer = await self._fetcher.fetch(url)
        if answer.content is None:
            return answer
        try:
            check_image(answer.content, self._images)
        except RowRejected as error:  # a failure like another, since many servers send a page instead of 404
            return Fetched(None, error.reason, str(error.detail or ""))
        return self._log.write(url, answer.content)


def with_images(pairs: Iterable[Pair | RowRejected], limits: FetchLimits, images: ImageLimits, log: FetchLog) -> Pairs:
    """The pairs in their order, those that have only a URL with its image, or with the reason why there is none.

    Raises StorageError for a full disk.
    """
    waiting: deque[tuple[Pair | RowRejected, Future[_Place | Fetched] | None]] = deque()
    held = 0

    def first() -> Pair | RowRejected:
        nonlocal held
        pair, future = waiting.popleft()
        held -= _size(pair)
        if future is not None and isinstance(pair, Pair):
            outcome = future.result()
            if isinstance(outcome, _Place):
                pair.image = log.read(outcome)
            else:
                pair.dead = outcome.reason, outcome.detail
            pair.fetched = True
        return pair

    with _Loop(limits, images, log) as loop:
        for pair in pairs:
            is_url = isinstance(pair, Pair) and pair.image is None and isinstance(pair.url, str)
            waiting.append((pair, loop.submit(pair.url) if is_url else None))  # type: ignore[union-attr]
            held += _size(pair)
            while waiting and (len(waiting) > WINDOW * limits.concurrency or held > _HELD or waiting[0][1] is None):
                yield first()
        while waiting:
            yield first()


def _size(pair: Pair | RowRejected) -> int:
    return len(pair.image) if isinstance(pair, Pair) and isinstance(pair.image, bytes) else 0
