"""From a source to documents: which files, and how a file is cut into texts."""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import IO, Any, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.errors import DataError
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.settings import Settings
from .._lib import record_stream
from .._lib.sources import UNPACKING, decode

# WikiText's title of an article, ` = Title = `; the headings below it have two or more equals signs.
_TITLE = re.compile(r" = [^=].* = ?")


class TextSource(Settings):
    """Files of one origin, one form and one licence."""

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
    def _settings_apply(self) -> Self:
        if self.split_by is not None and self.format != "text":
            raise ValueError(f"split_by {self.split_by!r} does nothing for format {self.format}; leave it out")
        if self.field is not None and self.format in ("text", "wikitext"):
            raise ValueError(f"field {self.field!r} does nothing for format {self.format}; leave it out")
        return self


def documents(source: TextSource, name: str, stream: IO[bytes]) -> Iterator[str]:
    """The texts of one file, with line ends as `\\n` and no blanks around them; empty ones are left out.

    Raises DataError in one line that names file, record and field.
    """
    try:
        for text in _raw_documents(source, name, stream):
            text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
            if text:
                yield text
    except (zipfile.BadZipFile, RuntimeError, *UNPACKING) as error:  # a damaged or encrypted member
        raise DataError(f"{name}: cannot be unpacked ({error}); fetch it again") from error


def _raw_documents(source: TextSource, name: str, stream: IO[bytes]) -> Iterator[str]:
    field = source.field or "text"
    if source.format == "parquet":
        yield from _column(stream, name, field)
    elif source.format == "json":
        for number, record in enumerate(_json_records(stream, name), 1):
            yield _field(record, field, f"{name}: record {number}")
    elif source.format == "jsonl":
        for number, record in record_stream.json_lines(stream, name, strict=False):
            yield _field(record, field, f"{name}: line {number}")
    else:
        lines = (part for line in record_stream.text_lines(stream, name) for part in line.split("\r"))
        if source.format == "wikitext":
            yield from _articles(lines)
        elif source.split_by == "file":
            yield "\n".join(lines)
        elif source.split_by == "line":
            yield from lines
        else:
            for filled, group in groupby(lines, lambda line: bool(line.strip())):
                if filled:
                    yield "\n".join(group)


def _json_records(stream: IO[bytes], name: str) -> Iterable[Any]:
    """The items of a list; of an object, which is read as a whole, its values."""
    first = record_stream.first_character(stream)
    if first == "[":
        return record_stream.list_items(stream, name, strict=False)
    try:
        value = json.loads(decode(name, stream.read()))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: is not JSON ({error}); fetch the file again or set another format") from error
    if not isinstance(value, dict):
        raise DataError(f"{name}: is neither a list nor an object of records; set another format")
    return value.values()


def _articles(lines: Iterable[str]) -> Iterator[str]:
    """What stands from one title line to the next. A title stands alone, so that no formula is taken for one."""
    article: list[str] = []
    for line in lines:
        alone = not article or not article[-1].strip()
        if alone and _TITLE.fullmatch(line):
            yield "\n".join(article)
            article = []
        article.append(line)
    yield "\n".join(article)


def _field(record: Any, field: str, where: str) -> str:
    value = record.get(field) if isinstance(record, dict) else record
    if not isinstance(value, str):
        fields = f"; it has {', '.join(map(str, record))}" if isinstance(record, dict) else ""
        raise DataError(f"{where}: field {field!r} holds no text{fields}; set `field`")
    return value


def _column(stream: IO[bytes], name: str, field: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(stream)
        columns = file.schema_arrow.names
        if field not in columns:
            raise DataError(f"{name}: there is no column {field!r}; it has {', '.join(columns)}; set `field`")
        number = 0
        for batch in file.iter_batches(batch_size=1000, columns=[field]):
            for value in batch.column(0).to_pylist():
                number += 1
                if not isinstance(value, str):
                    raise DataError(f"{name}: row {number}: column {field!r} holds no text; set `field`")
                yield value
    except pa.ArrowException as error:
        raise DataError(f"{name}: cannot be read as Parquet ({error}); fetch the file again") from error
