"""Data sets of tasks and steps, and readers with one-line errors.

A Hub reference is resolved to a commit, that commit is downloaded, and the rows are read from the local folder:
`load_dataset(..., revision=)` silently returns another cached version if the hub cannot be reached.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError, HubError, UsageError
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.parquet import arrow_rows, load_split, write_shards
from ...hub_sync.refs import ArtifactRef
from ...hub_sync.text import well_formed

if TYPE_CHECKING:
    import datasets

_READERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}


def tasks_dir() -> Path:
    """The folder of the YAML files that lm-eval reads (`hubwright tasks path`)."""
    return Path(__file__).parent.parent / "tasks"


@dataclass(frozen=True)
class TaskData:
    """The data set of a task: a folder, a .parquet, .jsonl, .json or .csv file, or `org/name[@revision]`.

    Named by `--metadata '{"<name>": ...}'`, for a group over several data sets, else by `{"dataset": ...}` (or a
    recipe's input `dataset`), else by HUBWRIGHT_DATA_<NAME>, else the default.

    Attributes:
        name: "my_task" gives HUBWRIGHT_DATA_MY_TASK, hubwright/my-task and `hubwright run my_task`.
        repo: another default reference.
        build: other arguments of `hubwright run`.
        title: as people write the benchmark's name.
    """

    name: str
    repo: str = ""
    build: str = ""
    title: str = ""

    @property
    def variable(self) -> str:
        return f"HUBWRIGHT_DATA_{self.name.upper()}"

    @property
    def hint(self) -> str:
        return (
            f"build it with `hubwright run {self.build or self.name} --set namespace=YOU` and name it by --metadata "
            f'\'{{"dataset": "YOU/NAME"}}\' or {self.variable}'
        )

    def source(self, metadata: Mapping[str, Any] | None) -> str:
        default = self.repo or f"hubwright/{self.name.replace('_', '-')}"
        named = metadata or {}
        return os.fspath(named.get(self.name) or named.get("dataset") or os.environ.get(self.variable) or default)

    def locate(self, metadata: Mapping[str, Any] | None) -> tuple[Path, str]:
        return locate(self.source(metadata), hint=self.hint)

    def rows(
        self,
        metadata: Mapping[str, Any] | None,
        split: str = "test",
        *,
        config: str | None = None,
        columns: Sequence[str] = (),
    ) -> datasets.Dataset:
        """The rows of a split of the data set that a task's metadata names, in its `config` or default one, with these
        `columns`.

        Raises HubError if the hub lacks the data set or cannot be reached; DataError for an absent path, split, row or
        column.
        """
        path, source_name = self.locate(metadata)
        rows = read_split(path, split, config)
        if not len(rows):
            raise DataError(f"{source_name}: split {split!r} has no rows")
        if missing := [name for name in columns if name not in rows.column_names]:
            raise DataError(f"{source_name}: the data set has no column {missing[0]!r}; {self.hint}")
        return rows


def locate(source: str, *, hint: str = "") -> tuple[Path, str]:
    """(local path of `source`, how its rows are cited).

    A local path is cited by its last component only; a Hub reference as `org/name@commit`. `hint` says how to build
    the data set, for the error if the hub lacks it.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path, path.name
    try:
        ref = ArtifactRef.parse(source, "dataset")
    except UsageError as error:
        raise DataError(f"{source}: no such file or folder, and not a reference (org/name@revision)") from error
    from ...hub_sync.pull import pull

    try:
        pinned = ref.resolve()
        folder = pull(pinned)
    except HubError as error:
        raise HubError(f"{error}{'; ' + hint if hint else ''}") from error
    return folder, str(pinned)


def read_split(path: Path, split: str, config: str | None = None) -> datasets.Dataset:
    """One split of a folder, of its `config` or default config, or the rows of a .parquet, .json, .jsonl or .csv file.

    Raises DataError in one line.
    """
    import datasets

    with _one_line(path, f"split {split!r}"):
        if path.is_dir():
            return load_split(path, config, split)
        reader = _READERS.get(path.suffix)
        if reader is None:
            kinds = ", ".join(_READERS)
            raise DataError(f"{path.name}: cannot read this kind of file; use one of {kinds} or a folder")
        # Not load_dataset("parquet", ...), which reports its use to a host of its own beyond the hub.
        return getattr(datasets.Dataset, f"from_{reader}")(str(path))


def read_config(path: Path, config: str) -> datasets.DatasetDict:
    """All splits of one config of a folder, faster than one by one. Raises DataError in one line."""
    import datasets

    if not path.is_dir():
        raise DataError(f"{path.name}: is not a folder with configs; give the folder or repository of the data set")
    with _one_line(path, f"config {config!r}"):
        return datasets.load_dataset(str(path), config)


@contextmanager
def _one_line(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # datasets raises everything from ValueError to its own DatasetGenerationError
        message = next(iter(str(error.__cause__ or error).splitlines()), "no reason given")
        raise DataError(f"{path.name}: {what} cannot be read ({type(error).__name__}: {message})") from error


def read_jsonl(path: Path, *, torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of a JSON-lines file; blank lines are skipped.

    With `torn_tail` a last line without its newline is left out: a process was killed while it wrote it. Raises
    DataError in one line for a file that cannot be read or a line that is not a JSON object.
    """
    try:
        data = path.read_bytes()
        if torn_tail:
            data = data[: data.rfind(b"\n") + 1]  # what stands behind the last newline is nothing, or half a line
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path.name}: cannot be read ({type(error).__name__}); give a UTF-8 JSON-lines file"
        raise DataError(message) from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path.name}: line {number} is not JSON; remove or repair it") from error
        if not isinstance(record, dict):
            raise DataError(f"{path.name}: line {number} is not a JSON object; remove or repair it")
        yield number, record


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of a JSON array or of JSON lines. Raises DataError in one line as `read_jsonl` does."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            whole = file.read(1)
            while whole.isspace():
                whole = file.read(1)
            rows = json.loads(whole + file.read()) if whole == "[" else None
    except (OSError, ValueError) as error:  # which UnicodeDecodeError is, too
        raise DataError(f"{path.name}: is not JSON ({type(error).__name__}: {error})") from error
    if rows is None:
        yield from read_jsonl(path)
        return
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path.name}: row {number} is not a JSON object; remove or repair it")
        yield number, row


# Columns that a whole file may leave empty, with the type they have all the same.
KINDS = {
    "answer": "string", "temperature": "float64", "seed": "int64", "verdict": "string", "weight": "float64",
    "p_yes": "float64", "mass": "float64", "deficiencies": "list of string", "feedback": "list of string",
}  # fmt: skip


def write_parquet(
    rows: Sequence[Mapping[str, Any]], folder: Path, split: str, features: Mapping[str, Any] | None = None
) -> None:
    """Rows that are in memory as Parquet shards of a split; `features` are types of columns, such as a data set's own.

    Columns of `KINDS` keep their type if no row has a value. Half surrogate pairs become U+FFFD. Values with objects
    are Json columns. Raises DataError for a value that would not be read back equal.
    """
    write_shards(_dataset(rows, features), folder, split)


def column_types(rows: Sequence[Mapping[str, Any]]) -> datasets.Features:
    """The types that `write_parquet` would give to the columns of these rows."""
    return _dataset(rows, None).features


def _dataset(rows: Sequence[Mapping[str, Any]], features: Mapping[str, Any] | None) -> datasets.Dataset:
    import datasets

    names = {name for row in rows for name in row}
    types = {name: kind for name, kind in (features or {}).items() if name in names}
    if "tool_calls" in names - types.keys():
        types["tool_calls"] = datasets.List(datasets.Json())
    for name in KINDS.keys() & (names - types.keys()):
        value = datasets.Value(KINDS[name].removeprefix("list of "))
        types[name] = datasets.List(value) if KINDS[name].startswith("list of ") else value
    return make_dataset([well_formed(dict(row)) for row in rows], datasets.Features(types))


def stream_parquet(rows: Iterable[Mapping[str, Any]], folder: Path, split: str, features: Mapping[str, Any]) -> int:
    """Rows as Parquet shards of a split, in memory that does not grow with them; `features` are all of the columns.
    Comes back with the number of rows. Half surrogate pairs become U+FFFD.

    Raises DataError for a value that would not be read back equal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        dataset = arrow_rows((well_formed(dict(row)) for row in rows), features, Path(work) / "rows.arrow")
        write_shards(dataset, folder, split)
    return len(dataset)
