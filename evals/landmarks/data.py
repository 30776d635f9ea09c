"""Questions about landmarks, and the landmarks themselves, as data sets hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError, RowRejected, first_line
from ...inference.media.images import ImageLimits, open_image
from .._lib.data import TaskData, read_split
from .hierarchy import ALL_LEVELS, PARENTS, Facts, Hierarchy

if TYPE_CHECKING:
    from datasets import Dataset

DATA = TaskData("landmarks")
QUESTIONS, PAIRS, LANDMARKS = "questions", "pairs", "landmarks"
IMAGE = "<image>"
QUESTION_COLUMNS = ("image_id", "landmark_id", "question", "answers", "level", "name")
"""What every row of questions has beside its image."""


def config_of(path: Path, wanted: str, source_name: str) -> str | None:
    """`wanted` if a data set has this config, else None: its default one, as `entity_ranks` publishes it. Raises
    DataError in one line for a folder that is no data set."""
    import datasets

    if not path.is_dir():
        return None
    try:
        names = datasets.get_dataset_config_names(str(path))
    except Exception as error:  # datasets raises everything from ValueError to its own classes
        reason = first_line(error).replace(str(path), source_name)
        raise DataError(f"{source_name}: cannot be read as a data set: {reason}") from error
    return wanted if wanted in names else None


def splits_of(path: Path, config: str | None, source_name: str) -> list[str]:
    """The splits of a config. Raises DataError in one line."""
    import datasets

    if not path.is_dir():
        return ["train"]
    try:
        return [str(name) for name in datasets.get_dataset_split_names(str(path), config)]
    except Exception as error:  # datasets raises everything from ValueError to its own classes
        reason = first_line(error).replace(str(path), source_name)
        raise DataError(f"{source_name}: its splits cannot be read: {reason}") from error


def check_columns(rows: Dataset, columns: tuple[str, ...], what: str) -> None:
    """Raises DataError for an absent column."""
    if missing := [name for name in columns if name not in rows.column_names]:
        raise DataError(f"{what} has no column {missing[0]!r}; it has {', '.join(rows.column_names)}")


def check_question(row: Mapping[str, Any]) -> None:
    """Raises RowRejected for a row that is no question about a landmark."""
    if row["level"] not in ALL_LEVELS:
        raise RowRejected(f"the level is none of {', '.join(ALL_LEVELS)}", row["level"])
    for column in ("image_id", "landmark_id", "question", "name"):
        if not isinstance(row[column], str) or not row[column].strip():
            raise RowRejected(f"no {column}", row[column])
    if IMAGE in row["question"]:
        raise RowRejected(f"the question holds {IMAGE!r}, which stands for an image: leave the row out")
    answers = row["answers"]
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
        raise RowRejected("answers is not a list of texts", answers)


def answers_of(row: Mapping[str, Any]) -> list[str]:
    """All that is right as the reply to a question. Of a caption it is the name and its aliases."""
    return [row["name"], *(row.get("aliases") or [])] if row["level"] == "caption" else list(row["answers"])


class Images:
    """A column of images, opened one by one; rows of one image that follow one another are opened once.

    Raises DataError for a column that holds no images.
    """

    def __init__(self, rows: Dataset, source_name: str, limits: ImageLimits | None = None) -> None:
        from datasets import Image, Value

        kind = rows.features.get("image")
        if isinstance(kind, Image):
            rows = rows.cast_column("image", Image(decode=False))
        elif kind not in (Value("binary"), Value("large_binary")):
            raise DataError(f"{source_name}: the column 'image' holds no images")
        self._rows, self._limits = rows.select_columns(["image"]), limits
        self._last: tuple[bytes, Any] = (b"", None)

    def content(self, number: int) -> bytes:
        """The file of a row's image. Raises RowRejected without one."""
        value = self._rows[number]["image"]
        content = value if isinstance(value, bytes | None) else value.get("bytes")
        if not content:
            raise RowRejected("its pixels are not in the data set")
        return bytes(content)

    def open(self, number: int) -> Any:
        """The image as PIL.Image in RGB. Raises RowRejected."""
        content = self.content(number)
        if self._last[1] is None or self._last[0] != content:
            self._last = content, open_image(content, self._limits)
        return self._last[1]


def read_landmarks(path: Path, source_name: str) -> list[dict[str, Any]]:
    """Every landmark of a data set once: landmark_id, name, aliases and parents; of the config `landmarks`, else of
    the rows of its default one.

    Raises DataError for absent columns, a landmark without a name, or one with two names.
    """
    config = config_of(path, LANDMARKS, source_name)
    found: dict[str, dict[str, Any]] = {}
    for split in splits_of(path, config, source_name):
        rows = read_split(path, split, config)
        check_columns(rows, ("landmark_id", "name"), f"{source_name}, split {split}")
        names = [name for name in ("landmark_id", "name", "aliases", *PARENTS) if name in rows.column_names]
        for number, row in enumerate(rows.select_columns(names)):
            identity, name = row["landmark_id"], row["name"]
            if identity is None and config is None:
                continue  # an image without a landmark
            if identity is None or not isinstance(name, str) or not name.strip():
                raise DataError(f"{source_name}: split {split}, row {number}: landmark {identity!r} has no name")
            one = {**dict.fromkeys(("aliases", *PARENTS)), **row, "landmark_id": str(identity)}
            first = found.setdefault(str(identity), one)
            if first["name"] != name:
                raise DataError(
                    f"{source_name}: split {split}, row {number}: landmark {identity!r} is {name!r} here and "
                    f"{first['name']!r} before: give each landmark one name"
                )
    if not found:
        raise DataError(f"{source_name} names no landmark")
    return list(found.values())


def hierarchy_of(rows: Iterable[Mapping[str, Any]]) -> Hierarchy:
    """The landmarks that questions are about, and the words that they have for the values of the levels."""
    facts: dict[Facts, None] = {}
    words: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        one = Facts.of(row)
        names = tuple(answers_of(row)) if row["level"] in ("name", "caption") else one.aliases
        facts[one._replace(aliases=tuple(sorted(set(names) - {one.name})))] = None
        if row["level"] in PARENTS and (value := one.value(row["level"])):
            words.setdefault((row["level"], value), set()).update(row["answers"])
    return Hierarchy(facts, ((level, value, names) for (level, value), names in words.items()))
