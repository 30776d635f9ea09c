"""Builder `landmarks`: photographs of landmarks with names, kinds and questions at several levels.

    config = LandmarksConfig(source="photographs", format="folder", license="other", unlicensed_pixels="local")
    build(config)["pairs"]["train"][0]["name"]

Lists are joined and divided by a database in files: memory holds a batch of rows, beside some bytes for each landmark
and about 40 for each different perceptual hash.
"""

from __future__ import annotations

import shutil
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.pace import Pace
from .._lib.context import local_context
from .._lib.disk_set import DiskSet
from .._lib.image_checks import LeftOut
from .._lib.image_fetching import FetchLog, with_images
from .._lib.image_pairs import Part
from .._lib.rejections import Rejections
from .._lib.row_writer import RowWriter, divide
from . import folder, gldv2, questions, table
from .about import About
from .config import SPLITS, LandmarksConfig
from .convert import Converter, Row
from .hierarchy import read_hierarchy
from .landmark import Landmarks
from .leakage import check_leakage, leakage
from .report import describe_rows
from .sides import Sides

if TYPE_CHECKING:
    from datasets import DatasetDict, Features


def features() -> Features:
    """Columns and types of the rows of config pairs."""
    from datasets import Features, Image, List, Value

    text = ("image_id", "landmark_id", "name", "supercategory", "hierarchical_label", "natural_or_human_made",
            "category_url", "url", "license", "author", "title", "sha256", "phash", "text")  # fmt: skip
    kinds: dict[str, Any] = {
        "image": Image(),
        **dict.fromkeys(text, Value("string")),
        "aliases": List(Value("string")),
    }
    kinds |= dict.fromkeys(("width", "height", "fold"), Value("int32"))
    from .config import PAIRS

    return Features({name: kinds[name] for name in PAIRS})


def build(config: LandmarksConfig, context: StepContext | None = None) -> dict[str, DatasetDict]:
    """Config -> splits: of pairs and questions train, validation, test (landmarks of train) and unseen (others).

    Raises:
        UsageError: the source is not there, has no images, or is of another format.
        HubError: a URL or the hub does not give it.
        DataError: lists that do not belong together, too many rejected rows or missing images, or no row is left.
        StorageError: the disk is full.
    """
    context = context or local_context()
    path = context.workdir / "lists.sqlite"
    with closing(_database(path)) as database:
        built = _build(config, context, database)
    path.unlink()
    return built


def _database(path: Path) -> sqlite3.Connection:
    """An empty database in a file, which a killed run leaves behind and the next one replaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -16000", "temp_store = FILE"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("BEGIN")  # one transaction for all: each would be written out by itself
    return database


def _build(config: LandmarksConfig, context: StepContext, database: sqlite3.Connection) -> dict[str, DatasetDict]:
    about, landmarks = About(), Landmarks(database, config.names_identifiers())
    own: list[str] = []
    if config.hierarchy is not None:  # first, since the first name counts
        origin, own = read_hierarchy(config.hierarchy, config.timeout, landmarks)
        about.origins.append(origin)
    converter, rejections = Converter(config, landmarks, about), Rejections()
    writer = RowWriter(context.workdir / "rows", features())
    ids, files = DiskSet(context.workdir / "ids"), DiskSet(context.workdir / "files")
    sides, pixels = Sides(config, context.workdir, database), Counter[tuple[str, str]]()
    limits = config.fetch_limits()
    log = FetchLog(context.workdir / "fetched.log") if limits else None
    for part in _parts(config, context, database, landmarks, about):
        pairs = with_images(part.pairs, limits, config.image_limits(), log) if limits and log else part.pairs
        with closing(pairs):  # what is in flight ends with the last row
            for row in _rows(part, pairs, converter, rejections):
                if not ids.add(row.columns["image_id"]):
                    rejections.reject(
                        part.name, RowRejected("an image id that was there before", row.columns["image_id"])
                    )
                    continue
                if config.deduplicate and not files.add(row.key):
                    rejections.leave_out(part.name, "the same file as an earlier image")
                    continue
                writer.write("rows", row.columns)
                sides.add(row)
                pixels.update([row.pixels] if row.pixels else [])
                if len(sides) == config.max_rows:
                    break
        if len(sides) == config.max_rows:
            break
    _check(config, context, rejections, converter, sides, pixels)
    if own:
        _check_hierarchy(own, landmarks, converter)
    masks, folds = sides.decide(landmarks)
    rejections.reasons.update({("all sources", reason): count for reason, count in sides.left_out.items()})
    pairs = divide(writer.finish()["rows"], context.workdir / "pairs", masks, {"fold": folds})
    shutil.rmtree(context.workdir / "rows")
    if log:
        log.close()
        (context.workdir / "fetched.log").unlink()
    leaks = leakage(database, pairs, config.phash_distance, context.workdir)
    check_leakage(leaks, context.step)
    lacking = Counter[str]()
    built = {"pairs": pairs}
    if "questions" in config.configs:
        built["questions"] = _questions(config, context, pairs, lacking)
    built["landmarks"] = _landmarks(context, landmarks, sides, converter)
    describe_rows(config, context, built, about, pixels, converter, rejections, sides, leaks, lacking, landmarks)
    return {name: built[name] for name in built if name in config.configs}


def _parts(
    config: LandmarksConfig, context: StepContext, database: sqlite3.Connection, landmarks: Landmarks, about: About
) -> Iterator[Part]:
    """The images of the source, file by file."""
    if config.format == "gldv2":
        return gldv2.parts(config, database, landmarks, about)
    if config.format == "folder":
        return folder.parts(config, context, about)
    return table.parts(config, context, landmarks, about)


def _rows(part: Part, pairs: Iterable[Any], converter: Converter, rejections: Rejections) -> Iterator[Row]:
    """The rows of a part; what makes none is counted."""
    for pair in Pace(part.name, "images").over(pairs):
        rejections.read[part.name] += 1
        try:
            yield converter(pair)
        except LeftOut as error:
            rejections.leave_out(part.name, error.reason)
        except RowRejected as error:
            rejections.reject(part.name, error)


def _check(
    config: LandmarksConfig, context: StepContext, rejections: Rejections, converter: Converter, sides: Sides,
    pixels: Counter[tuple[str, str]],
) -> None:  # fmt: skip
    """Raise DataError for too many rejected rows or missing images, and where no row, or no pixel, is left."""
    reasons = rejections.by_reason()
    refused = sum(count for reason, count in reasons.items() if reason.startswith("no pixels and no URL"))
    if (at_hand := refused + pixels.total()) and not any(fate in ("published", "local") for _, fate in pixels):
        raise DataError(
            f"step {context.step}: none of {at_hand} images has a licence of pixel_licenses and a credit, so that no "
            "pixels may be published; set image_license and attribution if you know them, or unlicensed_pixels: local "
            "for training here"
        )
    rejections.check(config.max_rejected_share)
    missing, listed = sum(converter.missing), sum(converter.listed)
    if config.require_image and missing > config.max_missing_share * listed:
        raise DataError(
            f"step {context.step}: the files of {missing} of {listed} images are missing, more than max_missing_share "
            f"{config.max_missing_share:g}: fetch them, or set it to 1 for what is there"
        )
    if not len(sides):
        shown = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common(3))
        raise DataError(f"no row is left of {rejections.read.total()} images ({shown}): look at the source")


def _check_hierarchy(own: list[str], landmarks: Landmarks, converter: Converter) -> None:
    """Raise DataError for a table of landmarks of which none has an image."""
    counts = converter.listed
    if any(number < len(counts) and counts[number] for number in map(landmarks.number, own)):
        return
    there = ", ".join(landmarks.identifier(number) for number in range(1, len(counts)) if counts[number])
    raise DataError(
        f"hierarchy: none of its {len(own)} landmarks ({', '.join(own):.80}) has an image; those of the source are "
        f"{there:.200}: write their identifiers in the column `landmark`"
    )


def _questions(config: LandmarksConfig, context: StepContext, pairs: Any, lacking: Counter[str]) -> DatasetDict:
    """The questions on the images of every split."""
    writer = RowWriter(context.workdir / "questions", questions.features())
    for split, rows in pairs.items():
        for row in questions.questions(config, rows, lacking):
            writer.write(split, row)
    return writer.finish(SPLITS)


def _landmarks(context: StepContext, landmarks: Landmarks, sides: Sides, converter: Converter) -> DatasetDict:
    """A row for each landmark of which an image is listed."""
    from datasets import Features, List, Value

    text = (
        "landmark_id",
        "name",
        "supercategory",
        "hierarchical_label",
        "natural_or_human_made",
        "category_url",
        "split",
    )
    types: dict[str, Any] = dict.fromkeys(text, Value("string"))
    types |= {"aliases": List(Value("string")), **dict.fromkeys(("images", "listed", "missing"), Value("int32"))}
    writer = RowWriter(context.workdir / "landmarks", Features(types))
    listed, missing = converter.listed, converter.missing
    images, unseen = array("I", bytes(4 * len(listed))), bytearray(len(listed))
    for number, count, is_unseen in sides.counts():
        images[number], unseen[number] = count, is_unseen
    for number in range(1, len(listed)):
        if not listed[number]:
            continue
        known = landmarks.of(landmarks.identifier(number))
        writer.write("train", {
            "landmark_id": known.id, "name": known.name, "aliases": list(known.aliases),
            "supercategory": known.supercategory, "hierarchical_label": known.hierarchical_label,
            "natural_or_human_made": known.natural_or_human_made, "category_url": known.category_url,
            "images": images[number], "listed": listed[number],
            "missing": missing[number] if number < len(missing) else 0,
            "split": ("unseen" if unseen[number] else "seen") if images[number] else None,
        })  # fmt: skip
    return writer.finish()
