"""From a source to documents: which files, and how a file is cut into texts."""

from __future__ import annotations

import fnmatch
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.refs import ArtifactRef
from .._lib.sources import Source, decode, read_source

ARCHIVES = (".zip", ".whl")
# WikiText's title of an article, ` = Title = `; the headings below it have two or more equals signs.
_TITLE = re.compile(r" = [^=].* = ?")

File = tuple[str, bytes]


class TextSource(BaseModel):
    """Files of one origin, one form and one licence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        min_length=1,
        description="A local file, folder or archive (.zip, .whl), an http(s) URL of a file or archive, or a Hub data "
        "set `org/name@revision`; a revision is resolved to a commit before it is read.",
    )
    files: str | None = Field(
        None,
        description="Which files of a folder, archive or Hub data set, as a pattern such as `*/data/*.json` in which "
        "`*` stands for any characters, slashes too; null: the source is one file.",
    )
    format: Literal["text", "wikitext", "json", "jsonl", "parquet"] = Field(
        description="text: see split_by. wikitext: an article from one ` = Title = ` to the next. json: a list, or an "
        "object whose values count. jsonl: a line each. parquet: a row each."
    )
    split_by: Literal["file", "line", "blank_line"] | None = Field(
        None, description="What is a document of a text file; null: what stands between blank lines. For text only."
    )
    field: str | None = Field(
        None,
        min_length=1,
        description="Field or column with the text; null: `text`. For json, jsonl and parquet only.",
    )
    name: str = Field(min_length=1, max_length=100, description="Name of the origin, for the column `source`.")
    license: LicenceId = Field(min_length=1, description="Licence of the texts (Hub identifier).")
    language: str | None = Field(None, description="Language of the texts (ISO 639), for the card.")
    expect_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file or archive, 64 hex digits; null: any."
    )

    @model_validator(mode="after")
    def _settings_apply(self) -> TextSource:
        if self.split_by is not None and self.format != "text":
            raise ValueError(f"split_by {self.split_by!r} does nothing for format {self.format}; leave it out")
        if self.field is not None and self.format in ("text", "wikitext"):
            raise ValueError(f"field {self.field!r} does nothing for format {self.format}; leave it out")
        return self


def read_files(source: TextSource, timeout: float) -> tuple[list[File], str]:
    """((name, content) of every file in the order of their names, origin for the card without a local path).

    Raises:
        UsageError: no such source, or no file fits the pattern.
        HubError: a URL or the hub does not give it.
        DataError: the file is not the expected one, or no archive.
    """
    path = Path(source.source).expanduser()
    if path.is_dir() or not (path.is_file() or source.source.startswith(("http://", "https://"))):
        return _read_folder(source, path)
    one = Source(source=source.source, file=None, expect_sha256=source.expect_sha256)
    name, data, origin = read_source(one, timeout)
    if Path(name).suffix not in ARCHIVES:
        if source.files is not None:
            raise UsageError(f"source {name}: is one file; leave out files {source.files!r}")
        return [(name, data)], origin
    if source.files is None:
        raise UsageError(f"source {name}: is an archive; set `files` to a pattern for the files inside it")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # Read in memory and never unpacked, so that no name in the archive can become a path.
            names = fnmatch.filter(sorted(archive.namelist()), source.files)
            files = [(inner, archive.read(inner)) for inner in names if not inner.endswith("/")]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{name}: cannot be read as an archive ({error}); fetch it again") from error
    return _some(files, name, source.files), origin + f", `{source.files}`"


def _read_folder(source: TextSource, path: Path) -> tuple[list[File], str]:
    """Files of a local folder or of a Hub data set."""
    if source.expect_sha256:
        raise UsageError(f"source {path.name}: expect_sha256 is for one file; a Hub revision says what a data set is")
    if path.is_dir():
        folder, shown, origin = path, path.name, f"a local copy of `{path.name}`"
    else:
        try:
            ref = ArtifactRef.parse(source.source, "dataset")
        except UsageError as error:
            raise UsageError(
                f"source {source.source!r}: no such file or folder, and not a URL or a Hub data set org/name@revision"
            ) from error
        from ...hub_sync.pull import pull

        ref = ref.resolve()
        folder = pull(ref, allow_patterns=[source.files] if source.files else ["*"])
        shown, origin = ref.repo_id, f"`{ref}`"
    if source.files is None:
        raise UsageError(f"source {shown}: set `files` to a pattern for the files inside it")
    # The hub's cache holds links to its blobs, so that list_files, which passes links over, will not do.
    inside = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    names = fnmatch.filter(sorted(inside), source.files)
    return _some([(n, inside[n].read_bytes()) for n in names], shown, source.files), f"{origin}, `{source.files}`"


def _some(files: list[File], shown: str, pattern: str) -> list[File]:
    if not files:
        raise UsageError(f"source {shown}: no file fits files {pattern!r}; change the pattern")
    return files


def documents(source: TextSource, name: str, data: bytes) -> Iterator[str]:
    """The texts of one file, with line ends as `\\n` and no blanks around them; empty ones are left out.

    Raises DataError in one line that names file, record and field.
    """
    for text in _raw_documents(source, name, data):
        text = _line_ends(text).strip()
        if text:
            yield text


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _raw_documents(source: TextSource, name: str, data: bytes) -> Iterator[str]:
    field = source.field or "text"
    if source.format == "parquet":
        yield from _column(data, name, field)
        return
    text = _line_ends(decode(name, data))
    if source.format == "wikitext":
        yield from _articles(text)
    elif source.format == "json":
        value = _json(text, name)
        if not isinstance(value, list | dict):
            raise DataError(f"{name}: is neither a list nor an object of records; set another format")
        for number, record in enumerate(value.values() if isinstance(value, dict) else value, 1):
            yield _field(record, field, f"{name}: record {number}")
    elif source.format == "jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _field(_json(line, f"{name}: line {number}"), field, f"{name}: line {number}")
    elif source.split_by == "file":
        yield text
    elif source.split_by == "line":
        yield from text.split("\n")
    else:
        yield from re.split(r"\n[^\S\n]*\n", text)


def _articles(text: str) -> Iterator[str]:
    """What stands from one title line to the next. A title stands alone, so that no formula is taken for one."""
    lines: list[str] = []
    for line in text.split("\n"):
        alone = not lines or not lines[-1].strip()
        if alone and _TITLE.fullmatch(line):
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    yield "\n".join(lines)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not JSON ({error}); fetch the file again or set another format") from error


def _field(record: Any, field: str, where: str) -> str:
    value = record.get(field) if isinstance(record, dict) else record
    if not isinstance(value, str):
        fields = f"; it has {', '.join(map(str, record))}" if isinstance(record, dict) else ""
        raise DataError(f"{where}: field {field!r} holds no text{fields}; set `field`")
    return value


def _column(data: bytes, name: str, field: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(data))
        if field not in table.schema_arrow.names:
            raise DataError(
                f"{name}: there is no column {field!r}; it has {', '.join(table.schema_arrow.names)}; set `field`"
            )
        values = table.read(columns=[field]).column(0).to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{name}: cannot be read as Parquet ({error}); fetch the file again") from error
    for number, value in enumerate(values, 1):
        if not isinstance(value, str):
            raise DataError(f"{name}: row {number}: column {field!r} holds no text; set `field`")
        yield value
