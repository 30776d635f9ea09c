"""The files of one source, wherever it is: a file, a folder, an archive, an address, or a data set on the Hub."""

import fnmatch
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.refs import ArtifactRef
from .sources import Source, fetch_source, open_file

ARCHIVES = (".zip", ".whl")


class File(NamedTuple):
    """One file: its name in the source, what opens it (unpacked), and where it lies (None: inside an archive)."""

    name: str
    open: Callable[[], IO[bytes]]
    path: Path | None = None


def read_files(
    source: str, files: str | None, expect_sha256: str | None, timeout: float, folder: Path
) -> tuple[list[File], str]:
    """(every file in the order of their names, origin for the card).

    Args:
        source: a file, folder or archive (.zip, .whl) here, an http(s) URL, or a Hub data set `org/name@revision`.
        files: which files of a folder, archive or data set, as a pattern of `fnmatch`; None: the source is one file.
        expect_sha256: of the file or archive; None: any.
        folder: where a file behind a URL is written.

    Raises:
        UsageError: no such source, or no file fits the pattern.
        HubError: a URL or the hub does not give it.
        DataError: the file is not the expected one, or no archive.
    """
    path = Path(source).expanduser()
    if path.is_dir() or not (path.is_file() or source.startswith(("http://", "https://"))):
        return _read_folder(source, files, expect_sha256, path)
    one = Source(source=source, file=None, expect_sha256=expect_sha256)
    name, path, origin = fetch_source(one, timeout, folder)
    if Path(name).suffix not in ARCHIVES:
        if files is not None:
            raise UsageError(f"source {name}: is one file; leave out files {files!r}")
        return [File(name, partial(open_file, path, name), path)], origin
    if files is None:
        raise UsageError(f"source {name}: is an archive; set `files` to a pattern for the files inside it")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{name}: cannot be read as an archive ({error}); fetch it again") from error
    # Read where it lies and never unpacked, so that no name in the archive can become a path.
    names = fnmatch.filter(sorted(archive.namelist()), files)
    opened = [File(inner, partial(archive.open, inner)) for inner in names if not inner.endswith("/")]
    return _some(opened, name, files), origin + f", `{files}`"


def _read_folder(source: str, files: str | None, expect_sha256: str | None, path: Path) -> tuple[list[File], str]:
    """Files of a local folder or of a Hub data set."""
    if expect_sha256:
        raise UsageError(f"source {path.name}: expect_sha256 is for one file; a Hub revision says what a data set is")
    if path.is_dir():
        folder, shown, origin = path, path.name, f"a local copy of `{path.name}`"
    else:
        try:
            ref = ArtifactRef.parse(source, "dataset")
        except UsageError as error:
            raise UsageError(
                f"source {source!r}: no such file or folder, and not a URL or a Hub data set org/name@revision"
            ) from error
        from ...hub_sync.pull import pull

        ref = ref.resolve()
        folder = pull(ref, allow_patterns=[files] if files else ["*"])
        shown, origin = ref.repo_id, f"`{ref}`"
    if files is None:
        raise UsageError(f"source {shown}: set `files` to a pattern for the files inside it")
    # The hub's cache holds links to its blobs, so that list_files, which passes links over, will not do.
    inside = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    names = fnmatch.filter(sorted(inside), files)
    opened = [File(n, partial(open_file, inside[n], n), inside[n]) for n in names]
    return _some(opened, shown, files), f"{origin}, `{files}`"


def _some(files: list[File], shown: str, pattern: str) -> list[File]:
    if not files:
        raise UsageError(f"source {shown}: no file fits files {pattern!r}; change the pattern")
    return files
