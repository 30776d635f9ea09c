"""The lists and images of Google Landmarks v2 as pairs of image and landmark."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.pace import Pace
from ...hub_sync.refs import ArtifactRef
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File
from .landmark import Landmark, Landmarks
from .lists import ListFile, choose_lists, csv_files, open_list
from .names import clean
from .places import ID, Places

if TYPE_CHECKING:
    from .about import About
    from .config import LandmarksConfig

LEAST = 0.01  # share of hits below which a join is refused
NO_LANDMARK = "an image without a landmark"


def parts(config: LandmarksConfig, database: sqlite3.Connection, landmarks: Landmarks, about: About) -> Iterator[Part]:
    """The images of the part that the settings name.

    Raises UsageError for lists that are not there, DataError for lists and images that do not belong together, and if
    more images are missing than `max_missing_share`.
    """
    folder, origin = _folder(config.source)
    files = csv_files(folder)
    lists = choose_lists(config, files)
    about.origins += [f"{origin}, `{found.name}`" for found in lists.values()]
    join = _Join(config, database, lists, files, about)
    for kind in ("category", "hierarchy"):
        if kind in lists:
            join.landmarks(lists[kind], landmarks)
    for kind in ("clean", "attribution", "solution"):
        if kind in lists:
            join.load(kind)
    places = Places(folder, database, config.image_limits().max_bytes)
    about.bad_tars, about.has_images = places.bad, bool(places)
    if not places and not config.fetch and config.require_image:
        raise UsageError(
            f"source {folder.name}: has no images (a/b/c/ID.jpg or .tar, two folders deep); set fetch: true, "
            "or require_image: false for rows with URLs alone"
        )
    listed, missing = join.images(places)
    join.check(places)
    if places and config.require_image and not config.fetch and missing > config.max_missing_share * listed:
        bad = "".join(f"; {tar.name} {tar.fault}" for tar in places.bad[:3])
        raise DataError(
            f"{lists['images'].name}: the files of {missing} of {listed} images are missing, more than "
            f"max_missing_share {config.max_missing_share:g}{bad}: fetch them, or set it to 1 for what is there"
        )
    yield Part(lists["images"].name, None, join.pairs(places))


def _folder(source: str) -> tuple[Path, str]:
    """(the folder of a source, its name for the card). Raises UsageError for anything else."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path, f"a local copy of `{path.name}`"
    try:
        ref = ArtifactRef.parse(source, "dataset").resolve()
    except UsageError as error:
        raise UsageError(
            f"source {source!r}: format gldv2 reads a folder, or a Hub data set org/name@revision"
        ) from error
    from ...hub_sync.pull import pull

    return pull(ref, allow_patterns=["*"]), f"`{ref}`"


class _Join:
    """The lists in tables of a database."""

    def __init__(
        self, config: LandmarksConfig, database: sqlite3.Connection, lists: Mapping[str, ListFile],
        files: Mapping[str, File], about: About,
    ) -> None:  # fmt: skip
        self._config, self._database, self._lists, self._files = config, database, lists, files
        self._unread = about.unread
        database.execute("CREATE TABLE listed (id TEXT, landmark TEXT)")

    def landmarks(self, found: ListFile, landmarks: Landmarks) -> None:
        """Take up names and kinds."""
        for record in Pace(found.name, "landmarks").over(found.records()):
            identifier = _text(record, "landmark_id")
            if identifier is None:
                self._unread[found.name] += 1
                continue
            landmarks.add(Landmark(
                identifier, category_url=_text(record, "category"), supercategory=_text(record, "supercategory"),
                hierarchical_label=_text(record, "hierarchical_label"),
                natural_or_human_made=landmarks.kind(record.get("natural_or_human_made")),
            ))  # fmt: skip

    def load(self, kind: str) -> None:
        """A list by image id into a table of its own; of an id that is there twice the first line counts."""
        found = self._lists[kind]
        columns, rows = {
            "clean": (("landmark",), _clean), "attribution": (("author", "license", "title"), _credit),
            "solution": (("landmarks",), _solution),
        }[kind]  # fmt: skip
        self._database.execute(f"CREATE TABLE {kind} (id TEXT, {', '.join(columns)})")

        def values() -> Iterator[tuple[Any, ...]]:
            for record in Pace(found.name, "lines").over(found.records()):
                own = list(rows(record)) if isinstance(record, dict) else []
                self._unread[found.name] += not own
                yield from own

        marks = ", ".join("?" * (1 + len(columns)))
        self._database.executemany(f"INSERT INTO {kind} VALUES ({marks})", values())
        self._database.execute(f"CREATE INDEX {kind}_id ON {kind} (id)")

    def images(self, places: Places) -> tuple[int, int]:
        """(images that are listed, those whose file is not there), after the list's ids are in a table."""
        counts = [0, 0]

        def rows() -> Iterator[tuple[str, str | None]]:
            for record in Pace(f"{self._lists['images'].name}, ids", "lines").over(self._lists["images"].records()):
                identifier = _text(record, "id")
                if identifier is None:
                    continue
                yield identifier, _text(record, "landmark_id")
                if not self._config.clean or self._one("clean", identifier):
                    counts[0] += 1
                    counts[1] += bool(places) and (not ID.fullmatch(identifier) or places.find(identifier) is None)

        self._database.executemany("INSERT INTO listed VALUES (?, ?)", rows())
        self._database.execute("CREATE INDEX listed_id ON listed (id)")
        self._database.execute("CREATE INDEX listed_landmark ON listed (landmark)")
        return counts[0], counts[1]

    def check(self, places: Places) -> None:
        """Raise DataError for a list, or images, of which less than 1 % are in the list of images."""
        listed = self._lists["images"].name
        for kind in ("clean", "attribution", "solution"):
            if kind in self._lists:
                self._compare(self._lists[kind].name, f"SELECT id FROM {kind}", "listed", "id", listed)
        for kind in ("category", "hierarchy"):
            if kind in self._lists and self._config.part != "test":
                named = (
                    "category_url"
                    if kind == "category"
                    else "COALESCE(supercategory, hierarchical_label, category_url)"
                )
                ids = f"SELECT id FROM landmark WHERE {named} IS NOT NULL"
                self._compare(self._lists[kind].name, ids, "listed", "landmark_id", listed)
        if places.in_tars:
            self._compare("the images in tar files", "SELECT id FROM place", "listed", "id", listed)
        elif sample := places.sample():
            self._database.execute("CREATE TABLE sample (id TEXT)")
            self._database.executemany("INSERT INTO sample VALUES (?)", ((one,) for one in sample))
            self._compare("the image files", "SELECT id FROM sample", "listed", "id", listed)

    def _compare(self, name: str, ids: str, table: str, key: str, listed: str) -> None:
        column = "landmark" if key == "landmark_id" else "id"
        count = f"SELECT COUNT(*) FROM ({ids}) AS own"
        total, hits, most = (int(self._database.execute(query).fetchone()[0]) for query in (
            count, f"{count} WHERE EXISTS (SELECT 1 FROM {table} WHERE {table}.{column} = own.id)",
            f"SELECT COUNT(DISTINCT {column}) FROM {table}"))  # fmt: skip
        if hits >= LEAST * min(total, most) and hits:
            return
        if not total or not most:
            raise DataError(f"{name if not total else listed}: has no line with an id; fetch it again")
        raise DataError(
            f"{name}: {hits} of {total} are in {listed}, so that they do not belong together"
            f"{self._other(ids, key, name, listed)}"
        )

    def _other(self, ids: str, key: str, name: str, listed: str) -> str:
        """Which list of the source fits instead, for the error."""
        self._database.execute("CREATE TABLE own AS " + ids)
        self._database.execute("CREATE INDEX own_id ON own (id)")
        total = int(self._database.execute("SELECT COUNT(*) FROM own").fetchone()[0])
        best = (0.0, "")
        for file in self._files.values():
            if file.name in (name, listed) or key not in (other := open_list(file)).columns:
                continue
            hits = sum(
                self._one("own", value) is not None
                for record in other.records() if (value := _text(record, key)) is not None
            )  # fmt: skip
            best = max(best, (hits / max(1, total), file.name))
        if best[0] >= LEAST:
            return f"; they are in {best[1]} ({min(best[0], 1):.0%}): use that list"
        return "; no other list of the source fits either: fetch those of one part"

    def _one(self, table: str, identifier: str) -> Any:
        return self._database.execute(f"SELECT * FROM {table} WHERE id = ? LIMIT 1", (identifier,)).fetchone()

    def pairs(self, places: Places) -> Pairs:
        """Every line of the list of images as a pair, or the reason why not."""
        for record in self._lists["images"].records():
            if not isinstance(record, dict):
                yield record if isinstance(record, RowRejected) else RowRejected("not an object", record)
                continue
            try:
                yield self._pair(record, places)
            except RowRejected as error:
                yield error

    def _pair(self, record: Mapping[str, Any], places: Places) -> Pair:
        identifier = _text(record, "id")
        if identifier is None or not ID.fullmatch(identifier):
            raise RowRejected("an id that is not letters and digits", identifier)
        found = [_text(record, "landmark_id")]
        more: dict[str, Any] = {}
        if "solution" in self._lists:
            row = self._one("solution", identifier)
            if row is None:
                raise RowRejected("an image that the solution does not list", identifier)
            found = list(row[1].split()) if row[1] else [None]
        if self._config.clean:
            row = self._one("clean", identifier)
            if row is None:
                more["left_out"] = "not in the clean list"
            elif row[1] != found[0]:
                raise RowRejected("another landmark in the clean list", f"{identifier}: {row[1]}, {found[0]}")
        if found[0] is None and self._config.part != "test":
            raise RowRejected(NO_LANDMARK, identifier)
        if found[0] is None and self._config.no_landmark == "drop":
            more["left_out"] = NO_LANDMARK
        author = licence = title = None
        if "attribution" in self._lists and (row := self._one("attribution", identifier)):
            _, author, licence, title = row
        image = None if "left_out" in more else places.find(identifier)
        meta = {"landmark": found[0], "others": found[1:], "title": title} | more
        return Pair(
            url=_text(record, "url"), image=image, name=f"{identifier}.jpg", image_id=identifier, license=licence,
            attribution=author, meta=meta,
        )  # fmt: skip


Rows = Callable[[Mapping[str, Any]], Iterable[tuple[Any, ...]]]


def _clean(record: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for identifier in (record.get("images") or "").split():
        yield identifier, _text(record, "landmark_id")


def _credit(record: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    if (identifier := _text(record, "id")) is not None:
        yield identifier, *(_text(record, name) for name in ("author", "license", "title"))


def _solution(record: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    if (identifier := _text(record, "id")) is not None:
        yield identifier, _text(record, "landmarks")


def _text(record: Any, column: str) -> str | None:
    """A cell's text, None for nothing."""
    value = record.get(column) if isinstance(record, dict) else None
    return (clean(value) or None) if isinstance(value, str) else None
