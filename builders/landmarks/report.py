"""What the card of `landmarks` says: counts, coverage of the levels, splits and their check, licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import Report, StepContext
from ...inference.media.contact_sheet import contact_sheet
from ...inference.media.images import open_image
from .._lib.cards import add_sources, describe
from .._lib.image_licences import card_licence, with_pixels
from .._lib.rejections import Rejections
from .about import About
from .config import LEVELS, SPLITS
from .convert import Converter
from .sides import Sides

if TYPE_CHECKING:
    from .config import LandmarksConfig
    from .landmark import Landmarks

MOST, GALLERY, LOOKED_AT = 50, 15, 2000
_PART = 10_000


def describe_rows(
    config: LandmarksConfig, context: StepContext, built: Mapping[str, Any], about: About,
    pixels: Counter[tuple[str, str]], converter: Converter, rejections: Rejections, sides: Sides,
    leaks: Mapping[str, int], lacking: Counter[str], landmarks: Landmarks,
) -> None:  # fmt: skip
    """Fill in the report, and write a sheet of images beside the data.

    Args:
        pixels: (licence, "published" or why not) -> rows whose image was at hand.
        leaks: kind -> what is in several splits or folds.
        lacking: reason -> questions that are not there.
    """
    report, pairs = context.report, built["pairs"]
    counts = {name: len(rows) for name, rows in pairs.items()}
    shown = sum(map(with_pixels, pairs.values()))
    questions = sum(map(len, built.get("questions", {}).values()))
    table = built["landmarks"]["train"]
    describe(
        report, __file__, images=sum(counts.values()), pixels=shown, questions=questions,
        splits=_splits(config, counts),
        landmarks=sum(one > 0 for one in _values(table, "images")), levels=", ".join(config.levels),
        languages=", ".join(config.languages),
    )  # fmt: skip
    report.card |= {"language": list(config.languages)} | card_licence(config.licence_of_lists, pixels)
    published = {column for name in config.configs for rows in built[name].values() for column in rows.column_names}
    report.columns = {name: text for name, text in report.columns.items() if name in published}
    add_sources(report, about.origins)
    rejections.describe(report)
    report.counts |= {f"{name}_images": number for name, number in counts.items()}
    report.counts |= {"images_with_pixels": shown, "images_at_hand": pixels.total(), "questions": questions}
    report.counts |= {"images_missing": sum(converter.missing), "landmarks_with_one_image": sides.alone}
    report.counts |= {f"questions without: {reason}": number for reason, number in sorted(lacking.items())}
    _shared_names(report, table)
    if unread := [[name, number] for name, number in about.unread.items() if number]:
        report.table(
            "Lines of lists that were not read", ["list", "lines"], unread, "They have no id, or are not CSV."
        )
        report.counts["lines_not_read"] = about.unread.total()
    if about.passed_over:
        report.counts["files_that_are_no_images"] = about.passed_over
    _coverage(report, pairs, table)
    rows = [[name, number] for name, number in leaks.items()]
    report.table("Leakage", ["what", "number"], rows, "Counted in the finished rows.")
    report.metrics["leaks"] = sum(leaks.values())
    _split_table(report, built)
    if pixels:
        licences = [[licence, fate, count] for (licence, fate), count in pixels.most_common(MOST)]
        report.table("Licences of the images", ["licence", "pixels", "images"], licences, "Images that were at hand.")
    _missing(report, table, about)
    if converter.survival.rows.total():
        dead = [["alive", converter.survival.rows[True]], *map(list, converter.survival.dead.most_common())]
        report.table("URLs that still give an image", ["outcome", "URLs"], dead)
    if landmarks.odd:
        note = "Neither natural nor human-made: left out, so that the level is null."
        rows = [[value, number] for value, number in landmarks.odd.most_common(20)]
        report.table("Other values of natural_or_human_made", ["value", "landmarks"], rows, note)
    _sizes(report, table)
    _gallery(config, context, pairs)


def _splits(config: LandmarksConfig, counts: Mapping[str, int]) -> str:
    if config.part == "test":
        return "All are in split test; landmarks are those of part train."
    text = "Images are divided within each landmark, so that validation and test hold landmarks of train."
    return text + (" All images of other landmarks are in unseen." if "unseen" in counts else "")


def _shared_names(report: Report, table: Any) -> None:
    import pyarrow.compute as pc

    counts = pc.value_counts(table.data.column("name"))
    shared = [
        (one["values"], one["counts"]) for one in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    ]
    if shared := [one for one in shared if one[0] is not None]:
        report.counts["names_of_several_landmarks"] = len(shared)
        rows = [[name, count] for name, count in sorted(shared, key=lambda one: (-one[1], one[0]))[:MOST]]
        report.table("Names that several landmarks have", ["name", "landmarks"], rows)


def _coverage(report: Report, pairs: Mapping[str, Any], table: Any) -> None:
    """The share of landmarks and of images of which each level is known."""
    import pyarrow.compute as pc

    used = table.data.table.filter(pc.greater(table.data.column("images"), 0))
    rows, total = [], sum(map(len, pairs.values()))
    for level in (*LEVELS[:-1], "aliases", "category_url"):
        known = _known(used.column(level))
        images = sum(_known(data.data.column(level)) for data in pairs.values())
        rows.append([level, known, f"{known / max(1, len(used)):.1%}", images, f"{images / max(1, total):.1%}"])
        report.metrics[f"coverage_{level}"] = images / max(1, total)
    report.table("Coverage", ["level", "landmarks", "share", "images", "share of images"], rows)


def _values(table: Any, column: str) -> list[int]:
    """The numbers in a column."""
    return list(table.data.column(column).to_numpy().tolist())


def _known(column: Any) -> int:
    """Values that are neither null nor an empty list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_list(column.type):
        return len(column) - int(column.null_count)
    return sum(int(pc.sum(pc.greater(pc.list_value_length(chunk), 0)).as_py() or 0) for chunk in column.chunks)


def _split_table(report: Report, built: Mapping[str, Any]) -> None:
    rows = []
    for name in SPLITS:
        if name not in built["pairs"]:
            continue
        data, questions = built["pairs"][name], built.get("questions", {}).get(name, ())
        different = len(data.unique("landmark_id"))
        rows.append([name, len(data), different, len(questions)])
    report.table("Splits", ["split", "images", "landmarks", "questions"], rows)
    levels = Counter[tuple[str, str]]()
    for data in built.get("questions", {}).values():
        for start in range(0, len(data), _PART):
            part = data.select_columns(["level", "language"])[start : start + _PART]
            levels.update(zip(part["level"], part["language"], strict=True))
    if levels:
        rows = [[level, language, count] for (level, language), count in sorted(levels.items())]
        report.table("Questions", ["level", "language", "questions"], rows)


def _missing(report: Report, table: Any, about: About) -> None:
    """Landmarks with missing images, the most first, and tar files that are not whole."""
    numbers = [(gone, place) for place, gone in enumerate(_values(table, "missing")) if gone]
    if numbers:
        report.counts["landmarks_with_missing_images"] = len(numbers)
        most = sorted(numbers, reverse=True)[:MOST]
        rows = [
            [table[place]["landmark_id"], table[place]["name"], table[place]["listed"], gone] for gone, place in most
        ]
        note = "" if len(numbers) <= MOST else f"The first {MOST} of {len(numbers):,}; all are in config landmarks."
        report.table("Missing images by landmark", ["landmark", "name", "listed", "missing"], rows, note)
    if about.bad_tars:
        rows = [[tar.name, tar.fault, tar.images] for tar in about.bad_tars]
        report.table(
            "Tar files that are not whole", ["file", "fault", "images that were read"], rows, "Fetch them again."
        )
        report.counts["bad_tars"] = len(about.bad_tars)


def _sizes(report: Report, table: Any) -> None:
    """How many landmarks have how many images."""
    edges = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
    counts = [one for one in _values(table, "images") if one]
    series = [[edge, sum(one >= edge for one in counts)] for edge in edges if any(one >= edge for one in counts)]
    report.curve("Landmarks with at least so many images", "images", "landmarks", {"landmarks": series})


def _gallery(config: LandmarksConfig, context: StepContext, pairs: Mapping[str, Any]) -> None:
    """A sheet of images, each of another landmark as far as there are some among the first rows."""
    shown: dict[str, Any] = {}
    for name, data in pairs.items():
        columns = {column: data.data.column(column) for column in ("landmark_id", "name", "supercategory", "image")}
        for number in range(min(len(data), LOOKED_AT)):
            key = columns["landmark_id"][number].as_py()
            if key is None or key in shown or len(shown) == GALLERY or not columns["image"][number].is_valid:
                continue
            image = open_image(columns["image"][number].as_py()["bytes"], config.image_limits())
            lines = [columns["name"][number].as_py(), columns["supercategory"][number].as_py() or "", name]
            shown[key] = image, lines
    if contact_sheet(shown.values(), context.output / "landmarks.png"):
        report = context.report
        report.section("Some landmarks", "Name, kind and split.\n\n![Some landmarks](landmarks.png)")
