"""Google Landmarks v2: which lists are of which part, and that lists that are joined belong together.

Landmark ids of the parts train and index are two numberings that overlap: a join of both finds names for nearly all
images, and all of them are wrong. So a list whose part is another one, or is not known, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError, UsageError
from .._lib.source_files import File
from .._lib.sources import open_file
from .._lib.tables import CSV_SUFFIXES, PACKED, read_table
from .places import files_of, folders_of

if TYPE_CHECKING:
    from .config import LandmarksConfig

PARTS = ("train", "index", "test")
_SOLUTION = "recognition_solution_v2.1.csv"
_OFFICIAL = {
    "train": {"images": "train.csv", "clean": "train_clean.csv", "attribution": "train_attribution.csv",
              "category": "train_label_to_category.csv", "hierarchy": "train_label_to_hierarchical.csv"},
    "index": {"images": "index_image_to_landmark.csv", "category": "index_label_to_category.csv",
              "hierarchy": "index_label_to_hierarchical.csv"},
    "test": {"images": "test.csv", "solution": _SOLUTION, "category": "train_label_to_category.csv",
             "hierarchy": "train_label_to_hierarchical.csv"},
}  # fmt: skip
_NEEDED = {
    "images": ("id", "landmark_id"), "clean": ("landmark_id", "images"),
    "attribution": ("id", "author", "license", "title"), "category": ("landmark_id", "category"),
    "hierarchy": ("landmark_id", "supercategory", "hierarchical_label", "natural_or_human_made"),
    "solution": ("id", "landmarks"),
}  # fmt: skip
_DIFFERENT = "landmark ids of train and index are two numberings that overlap"


@dataclass(frozen=True)
class ListFile:
    """A list of the source, with the names of its columns."""

    file: File
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its path in the source."""
        return self.file.name

    def records(self, delimiter: str | None = None) -> Iterator[Any]:
        """Its lines as objects of text, or RowRejected."""
        with self.file.open() as stream:
            yield from read_table(self.file, stream, None, delimiter, {}).records


def csv_files(folder: Path) -> dict[str, File]:
    """CSV files by path, of a folder and those in it, two deep; a tree of images is not walked through."""
    files = {}
    endings = tuple(f"{suffix}{packing}" for suffix in CSV_SUFFIXES for packing in ("", *PACKED))
    for one in folders_of(folder):
        for path in files_of(one, endings):
            name = path.relative_to(folder).as_posix()
            files[name] = File(name, partial(open_file, path, name), path)
    return files


def open_list(file: File) -> ListFile:
    """A list with its columns. Raises DataError for one that is not CSV."""
    with file.open() as stream:
        return ListFile(file, read_table(file, stream, None, None, {}).columns or ())


def choose_lists(config: LandmarksConfig, files: Mapping[str, File]) -> dict[str, ListFile]:
    """Kind -> list, of those that the settings name or that have their official names; each is of the right part.

    Raises UsageError for a file that is not there, DataError for a list of another part, of an unknown one, or
    without a column.
    """
    official = _OFFICIAL[config.part]
    chosen: dict[str, ListFile] = {}
    for kind, name in (official | config.lists).items():
        if name is None:
            continue
        if kind not in official:
            raise UsageError(f"lists: {kind} is not of part {config.part}; leave it out")
        file = _find(name, files, named=kind in config.lists)
        if file is None:
            continue
        chosen[kind] = open_list(file)
        needed = _NEEDED[kind][:1] if (kind, config.part) == ("images", "test") else _NEEDED[kind]
        if absent := next((column for column in needed if column not in chosen[kind].columns), None):
            raise DataError(
                f"{file.name}: has no column {absent!r}, which a list of kind {kind} has; it has "
                f"{', '.join(chosen[kind].columns[:10])}"
            )
        _check_part(config, kind, chosen[kind], official[kind])
    needed_kinds = {"train": ("images",), "index": ("images",), "test": ("images", "solution")}[config.part]
    if missing := next((kind for kind in needed_kinds if kind not in chosen), None):
        there = ", ".join(files) or "none"
        raise UsageError(
            f"source: {official[missing]} of part {config.part} is not there (CSV files: {there:.200}); name the file "
            f"in `lists: {{{missing}: FILE}}`"
        )
    if config.clean and "clean" not in chosen:
        raise UsageError(f"clean: {official['clean']} is not there; name the file in `lists: {{clean: FILE}}`")
    if not {"category", "hierarchy"} & set(chosen) and config.hierarchy is None and not config.names_identifiers():
        raise UsageError(
            f"source: neither {official['category']} nor {official['hierarchy']} is there, so that no landmark has a "
            "name; add one, or name a table in `hierarchy`"
        )
    for name in config.part_of:
        if _find(name, files, named=False) is None:
            raise UsageError(f"part_of: {name} is not a list of the source; it has {', '.join(files):.200}")
    return chosen


def _find(name: str, files: Mapping[str, File], named: bool) -> File | None:
    """The file of a name, packed or not. Raises UsageError if there are several, or none of one that is named."""
    fits = [path for path in files if path == name or PurePosixPath(path).name in (name, *_packed(name))]
    if name in fits:
        return files[name]
    if len(fits) > 1:
        raise UsageError(f"source: {name} is there {len(fits)} times ({', '.join(fits)}); name one in `lists`")
    if not fits and named:
        raise UsageError(f"lists: {name} is not a CSV file of the source; it has {', '.join(files) or 'none':.200}")
    return files[fits[0]] if fits else None


def _packed(name: str) -> tuple[str, ...]:
    return tuple(f"{name}{ending}" for ending in PACKED)


def part_by_name(name: str) -> str | None:
    """The part that a file's name states, or None.

    >>> part_by_name("meta/index_label_to_category.csv"), part_by_name("recognition_solution_v2.1.csv")
    ('index', 'test')
    >>> part_by_name("labels.csv"), part_by_name("train_and_index.csv")
    (None, None)
    """
    words = set(re.split(r"[\W_]+", PurePosixPath(name).name.lower()))
    parts = {part for part in PARTS if part in words} | ({"test"} if "solution" in words else set())
    return parts.pop() if len(parts) == 1 else None


def part_by_columns(columns: tuple[str, ...]) -> str | None:
    """The part whose lists alone have such columns, or None."""
    there = {column.lower() for column in columns}
    if any(
        of_train <= there
        for of_train in ({"id", "url", "landmark_id"}, {"author", "license"}, {"landmark_id", "images"})
    ):
        return "train"
    return "test" if {"id", "usage"} <= there else None


def _check_part(config: LandmarksConfig, kind: str, found: ListFile, official: str) -> None:
    """Raise DataError unless a list is of the part that it is used for."""
    wanted = "train" if kind in ("category", "hierarchy") and config.part == "test" else config.part
    base = PurePosixPath(found.name).name
    declared = config.part_of.get(found.name, config.part_of.get(base))
    by_name, by_columns = part_by_name(base), part_by_columns(found.columns)
    stated = by_name or by_columns
    if declared and stated and declared != stated:
        how = "name" if by_name else "columns"
        raise DataError(f"{found.name}: is declared as {declared} in part_of, and its {how} say {stated}")
    if by_name and by_columns and by_name != by_columns:
        raise DataError(
            f"{found.name}: is called as of part {by_name} and has the columns of part {by_columns} "
            f"({', '.join(found.columns)}); rename it to what it is"
        )
    part = declared or stated
    if part is None:
        raise DataError(
            f"{found.name}: neither name nor columns tell its part, and {_DIFFERENT}; declare it in "
            f"`part_of: {{{base}: {wanted}}}` if it is of {wanted}"
        )
    if part != wanted:
        raise DataError(
            f"{found.name}: is a list of part {part}, and part is {config.part}: {_DIFFERENT}, so that names would be "
            f"wrong in silence; use {official}"
        )
