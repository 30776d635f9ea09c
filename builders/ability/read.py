"""The files of an ability's source, record by record. What a record means is convert.py's business."""

import csv
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.errors import DataError
from ...hub_sync.licence_ids import LicenceId
from .._lib.record_stream import json_lines, text_lines
from .._lib.sources import FolderSource, Source, fetch_source

LARGEST = 256 << 20  # bytes of a file inside an archive, unpacked; our choice
LANGUAGES = {
    "mgsm": ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"),
    "msvamp": ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "th", "zh"),
    "exams": ("ar", "bg", "de", "es", "fr", "hr", "hu", "it", "lt", "mk", "pl", "pt", "sq", "sr", "tr", "vi"),
}
"""Languages (ISO 639-1) that a kind of source has; kinds that are not here have English alone."""
NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish",
    "fr": "French", "hr": "Croatian", "hu": "Hungarian", "it": "Italian", "ja": "Japanese", "lt": "Lithuanian",
    "mk": "North Macedonian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sq": "Albanian", "sr": "Serbian",
    "sw": "Swahili", "te": "Telugu", "th": "Thai", "tr": "Turkish", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""What MSVAMP's file names and EXAMS' rows call a language."""


class AbilitySource(FolderSource):
    """The files of one published set of questions, under the names that its repository gives them."""

    kind: Literal["gsm8k", "mgsm", "msvamp", "exams", "arc"] = Field(
        description="gsm8k: train.jsonl, test.jsonl. mgsm: mgsm_LANG.tsv, test alone. msvamp: test_LANGUAGE.json, "
        "lines of JSON. exams: train, dev and test.jsonl.tar.gz of its multilingual form. arc: arc_easy.csv and "
        "arc_hard.csv (question, four choices, letter), train alone."
    )
    name: str = Field(min_length=1, max_length=100, description="Name of the origin, for the column `source`.")
    license: LicenceId | None = Field(
        min_length=1, description="Licence of the questions (Hub identifier); null: upstream states none."
    )
    languages: tuple[str, ...] = Field(
        (), description="Languages to take (ISO 639-1); empty: all it has. For mgsm, msvamp and exams only."
    )
    subjects: tuple[str, ...] = Field(
        (), description="School subjects to take, as the rows name them; empty: all. For exams only."
    )
    parallel: Source | None = Field(
        None,
        description="EXAMS' parallel_questions.jsonl: which questions are translations of one another; null: not "
        "known, so translations of its test questions may be in its train splits. For exams only.",
    )

    @model_validator(mode="after")
    def _settings_apply(self) -> Self:
        languages = LANGUAGES.get(self.kind, ())
        if self.languages and not languages:
            raise ValueError(f"languages does nothing for kind {self.kind}, which is English; leave it out")
        if unknown := [language for language in self.languages if language not in languages]:
            raise ValueError(f"languages: {self.kind} has no {unknown[0]!r}; use some of {', '.join(languages)}")
        for field in ("subjects", "parallel"):
            if getattr(self, field) and self.kind != "exams":
                raise ValueError(f"{field} does nothing for kind {self.kind}; leave it out")
        return self

    def taken(self) -> tuple[str, ...]:
        """The languages to take, in the order of their codes."""
        return tuple(sorted(set(self.languages))) or LANGUAGES.get(self.kind, ("en",))


@dataclass(frozen=True)
class File:
    """One file's records.

    Attributes:
        name: for errors.
        split: what upstream uses it for: train, validation or test.
        language: of all its records; None: each record says its own.
        records: (line, record) pairs, to be read once; a record is a JSON value, or the cells of a line.
    """

    name: str
    split: str
    language: str | None
    records: Iterator[tuple[int, Any]]


def read_files(source: AbilitySource, origins: list[str], folder: Path) -> Iterator[File]:
    """The source's files in the order of languages and splits; what each is goes into `origins`.

    Args:
        folder: where files behind a URL are written.

    Raises as `fetch_source` does, and DataError in one line for a file that cannot be read as its kind.
    """
    for file, split, language, read in _files(source):
        name, path, origin = fetch_source(source.locate(file), source.timeout, folder)
        origins.append(origin)
        with path.open("rb") as stream:
            yield File(name, split, language, read(stream, name))


def _files(source: AbilitySource) -> Iterator[tuple[str, str, str | None, Callable[[IO[bytes], str], Any]]]:
    """(path, split, language, reader) of each file."""
    if source.kind == "gsm8k":
        for split in ("train", "test"):
            yield f"{split}.jsonl", split, "en", json_lines
    elif source.kind == "mgsm":
        for language in source.taken():
            yield f"mgsm_{language}.tsv", "test", language, _tabbed
    elif source.kind == "msvamp":
        for language in source.taken():
            yield f"test_{NAMES[language]}.json", "test", language, json_lines
    elif source.kind == "exams":
        for upstream, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
            yield f"{upstream}.jsonl.tar.gz", split, None, _archived
    else:
        for part in ("easy", "hard"):
            yield f"arc_{part}.csv", "train", "en", _cells


def _tabbed(stream: IO[bytes], name: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text_lines(stream, name), 1):
        if line.strip():
            yield number, line.split("\t")


def _cells(stream: IO[bytes], name: str) -> Iterator[tuple[int, Any]]:
    lines = csv.reader(line + "\n" for line in text_lines(stream, name))
    try:
        for cells in lines:
            if cells:
                yield lines.line_num, cells
    except csv.Error as error:
        raise DataError(f"{name}: line {lines.line_num} is not CSV ({error}); fetch the file again") from error


def _archived(stream: IO[bytes], name: str) -> Iterator[tuple[int, Any]]:
    """Lines of the one file in a tar archive, read in place, so that no name in the archive can become a path."""
    try:
        with tarfile.open(fileobj=stream, mode="r:gz") as archive:
            member = next((m for m in archive if m.isfile()), None)
            if member is None or member.size > LARGEST:
                content = "no file" if member is None else f"{member.name}, larger than {LARGEST >> 20} MiB unpacked"
                raise DataError(f"{name}: the archive holds {content}; fetch EXAMS' own file")
            inner = archive.extractfile(member)
            assert inner is not None  # a plain file has content
            yield from json_lines(inner, name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name}: cannot be read as a .tar.gz archive ({error}); fetch the file again") from error
