"""Files that builders read: by path, by URL, or out of a data set on the Hub; named without a path of this machine."""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import Field

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, HubError, UsageError, first_line
from ...hub_sync.files import sha256_file
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.parquet import load_split
from ...hub_sync.settings import SPEED, Settings
from ...hub_sync.text import utf8
from ...inference.padding import ARGUMENTS, padded, pads_arguments
from . import record_stream

# By what a file begins with.
_PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_REFUSED = {b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "packed with zstd"}
UNPACKING = (EOFError, zlib.error, lzma.LZMAError, OSError)  # bz2 and gzip raise OSError
"""What reading a damaged file that `open_file` unpacks raises."""

# Fields that the settings of several builders have.
Timeout = Annotated[
    float, Field(gt=0, json_schema_extra=SPEED, description="Seconds to wait for an http(s) source; our choice.")
]
SourceLicence = Annotated[
    LicenceId, Field(min_length=1, description="Licence of the sources (Hub identifier); the data set inherits it.")
]
CommonLicence = Annotated[
    LicenceId | None,
    Field(min_length=1, description="Licence of the whole (Hub identifier); needed where the sources' differ."),
]
DerivedFrom = Annotated[
    tuple[str, ...], Field(description="Hub ids of the data sets that the sources were made from, for the card.")
]


class Source(Settings):
    """One file, wherever it is."""

    source: str = Field(
        min_length=1,
        description="A local path, an http(s) URL, or a Hub data set `org/name@revision` that holds the file; a "
        "revision is resolved to a commit before it is read.",
    )
    file: str | None = Field(None, description="Path of the file inside a Hub data set or a local folder.")
    expect_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file, 64 hex digits; null: any."
    )


class FolderSource(Settings):
    """Files of one folder, wherever it is; what a builder of such files inherits its settings from."""

    source: str = Field(
        min_length=1,
        description="A local folder, an http(s) address or a Hub data set `org/name@revision` with the files.",
    )
    folder: str = Field("", description='Folder of the files inside the source; "": the source itself.')
    expect_sha256: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 by file name, 64 hex digits each; those not named may be any."
    )
    timeout: Timeout = 60.0

    def read(self, file: str, origins: list[str]) -> tuple[str, bytes]:
        """(name for errors, content) of a file; what it is goes into `origins`.

        Raises as `read_source` does.
        """
        name, content, origin = read_source(self.locate(file), self.timeout)
        origins.append(origin)
        return name, content

    def locate(self, file: str) -> Source:
        """A file of the folder as a source of its own."""
        path = f"{self.folder.strip('/')}/{file}".lstrip("/")
        expected = self.expect_sha256.get(file.rpartition("/")[2])
        if self.source.startswith(("http://", "https://")):
            return Source(source=f"{self.source.rstrip('/')}/{path}", file=None, expect_sha256=expected)
        return Source(source=self.source, file=path, expect_sha256=expected)


def read_source(source: Source, timeout: float) -> tuple[str, bytes, str]:
    """(name for errors, content, origin with its SHA-256 for the card). The origin never holds a path of this machine.

    Raises:
        UsageError: the source is neither a file, a URL nor a reference.
        HubError: a URL or the hub does not give it.
        DataError: the file is not the expected one.
    """
    with tempfile.TemporaryDirectory(prefix="hubwright-source-") as folder:
        name, path, origin = fetch_source(source, timeout, Path(folder))
        return name, path.read_bytes(), origin


def fetch_source(source: Source, timeout: float, folder: Path) -> tuple[str, Path, str]:
    """(name for errors, local file, origin with its SHA-256 for the card). Raises as `read_source` does.

    Args:
        folder: where a file behind a URL is written; others stay where they are.
    """
    name, path, origin = _fetch(source, timeout, folder)
    digest = sha256_file(path)
    if source.expect_sha256 not in (None, digest):
        raise DataError(
            f"{name}: sha256 is {digest}, expected {source.expect_sha256}; fetch that file or change expect_sha256"
        )
    return name, path, f"{origin}, sha256 `{digest}`"


def _fetch(source: Source, timeout: float, folder: Path) -> tuple[str, Path, str]:
    text = source.source
    if text.startswith(("http://", "https://")):
        return text.rsplit("/", 1)[-1], _download(text, timeout, folder), f"<{text}>"
    path = Path(text).expanduser()
    if path.is_dir() and source.file:
        path = path / source.file
    if path.is_file():
        return path.name, path, f"a local copy of `{path.name}`"
    if path.exists() and not source.file:
        raise UsageError(f"source {path.name}: is a folder; set `file` to the file inside it")
    from ...hub_sync.refs import ArtifactRef

    try:
        ref = ArtifactRef.parse(text, "dataset")
    except UsageError as error:
        raise UsageError(
            f"source {text!r}: no such file, and not a URL or a Hub data set org/name@revision"
        ) from error
    if not source.file:
        raise UsageError(f"source {text!r}: set `file` to the path of the file inside the data set")
    from huggingface_hub import hf_hub_download

    from ...hub_sync.hub import translate_errors

    ref = ref.resolve()
    with translate_errors(f"dataset {ref}, file {source.file}"):
        local = hf_hub_download(ref.repo_id, source.file, repo_type="dataset", revision=ref.revision)
    return source.file, Path(local), f"`{source.file}` of `{ref}`"


def read_records(sources: Sequence[Source], timeout: float, folder: Path) -> Iterator[tuple[str, Iterator[Any], str]]:
    """(name for errors, records one at a time, origin with its SHA-256 for the card) of files of JSON, JSON Lines,
    both perhaps packed with gzip, bzip2 or xz, or Parquet.

    Raises as `fetch_source` and `record_stream.records` do.
    """
    for source in sources:
        name, path, origin = fetch_source(source, timeout, folder)
        with open_file(path, name) as stream:
            yield name, _records(path, stream, name), origin


def open_file(path: Path, name: str) -> IO[bytes]:
    """A file's bytes, unpacked where it is packed with gzip, bzip2 or xz. Raises DataError for other packings."""
    with path.open("rb") as stream:
        first = stream.read(8)
    for mark, what in _REFUSED.items():
        if first.startswith(mark):
            raise DataError(f"{name}: is {what}; unpack it, and give the file inside it")
    opened = next((open_packed for mark, open_packed in _PACKED.items() if first.startswith(mark)), None)
    return opened(path, "rb") if opened else path.open("rb")


def _records(path: Path, stream: IO[bytes], name: str) -> Iterator[Any]:
    try:
        is_parquet = stream.read(4) == b"PAR1"
        yield from _parquet_rows(path, name) if is_parquet else record_stream.records(stream, name)
    except UNPACKING as error:
        raise DataError(f"{name}: cannot be unpacked ({error}); fetch the file again") from error


def _parquet_rows(path: Path, name: str) -> Iterator[Any]:
    """The rows of a Parquet file in a stream. Raises DataError where its type pads calls' arguments with null keys."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset

    try:
        file = pq.ParquetFile(path)
        batches = (Dataset(pa.Table.from_batches([batch])) for batch in file.iter_batches(batch_size=100))
        for rows in batches:
            if media := [column for column, feature in rows.features.items() if holds_media(feature)]:
                raise DataError(
                    f"{name}: column {media[0]!r} holds images, sound or video, and this builder reads text: leave "
                    "the column out if the conversations do without it"
                )
            if padding := [column for column, feature in rows.features.items() if _pads(feature)]:
                raise DataError(
                    f"{name}: arguments of calls in column {padding[0]!r} lie in an Arrow struct, where every call "
                    "has the keys of all; write them as JSON text, or the file as JSON Lines"
                )
            yield from rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: cannot be read as Parquet ({first_line(error)}); fetch the file again") from error


def holds_media(feature: Any) -> bool:
    """Whether a column, or a list in it, is of a type that `datasets` decodes from bytes, such as Image."""
    inner = getattr(feature, "feature", feature)
    return hasattr(inner, "decode_example") and type(inner).__name__ != "Json"


def _pads(feature: Any) -> bool:
    return pads_arguments(feature) or any(padded(feature, key) for key in ARGUMENTS)


def read_rows(source: Input, context: StepContext, split: str | None, config: str | None = None) -> Any:
    """A split of a pulled data set's `config` (None: its default one), or all of them where `split` is None.

    Cached below the step's work folder. Raises DataError in one line if it cannot be read.
    """
    import datasets

    folder, cache = str(source.path), context.workdir / "datasets"
    try:
        if split is None:
            return datasets.load_dataset(folder, config, cache_dir=str(cache))
        return load_split(source.path, config, split, cache)
    except Exception as error:  # datasets raises everything from ValueError to its own DatasetGenerationError
        reason = next(iter(str(error.__cause__ or error).splitlines()), "no reason given").replace(folder, "")
        if isinstance(error, StopIteration):  # datasets' for files without a line
            reason = "its files are empty"
        named = "".join(f" {what} {name!r}" for what, name in (("config", config), ("split", split)) if name)
        raise DataError(f"{source.ref}:{named} cannot be read ({type(error).__name__}: {reason})") from error


def load_json(text: str) -> Any:
    """JSON without NaN and infinities, which no other JSON reader takes."""
    return record_stream.STRICT.decode(text)


def parse_records(data: bytes, name: str) -> list[Any]:
    """The records of a JSON list or of JSON Lines. Raises DataError in one line."""
    return list(record_stream.records(io.BytesIO(data), name))


def json_lines(name: str, data: bytes) -> list[tuple[int, Any]]:
    """(line number from 1, value) of every line that is not blank. Raises DataError for one that is not JSON."""
    return list(record_stream.json_lines(io.BytesIO(data), name))


def decode(name: str, data: bytes) -> str:
    """A file's text without a byte order mark, line ends as `\\n`. Raises DataError for what is not UTF-8."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def refuse_credentials(url: str) -> None:
    """Raise UsageError for an address with a user name or token, since it stands in card and provenance.json."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise UsageError(
            "source: the address holds a user name or token, which would be published; download it and give its path"
        )


def _download(url: str, timeout: float, folder: Path) -> Path:
    from huggingface_hub.utils import get_session

    refuse_credentials(url)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(utf8(url)).hexdigest()[:16]
    try:
        with (
            get_session().stream("GET", url, timeout=timeout, follow_redirects=True) as answer,
            path.open("wb") as file,
        ):
            status = answer.status_code
            for chunk in answer.iter_bytes():
                file.write(chunk)
    except Exception as error:  # the client's errors have no common base that is public
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # a full disk is not the address's fault
        raise HubError(f"{url}: cannot be read ({type(error).__name__}); download it and give its path") from error
    if status != 200:
        raise HubError(f"{url}: status {status}; download it and give its path")
    return path
