"""Stored answers, whatever wrote them, as cases for the judge.

lm-eval samples       samples_*.jsonl of `--log_samples` or `--predict_only`: the row is in `doc`
a recipe's answers    of an `answers` step (data/answers-*.parquet) or an `lm_eval` step (data/samples-*.parquet): a
                      folder or a Hub reference; the row is beside the answer
official answers      JSONL with `user_query` and `second_response`, all data set fields on each line
plain answers         JSONL with `id` and `answer`; needs the data set
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...hub_sync.errors import DataError, UsageError
from ...inference.reasoning import answer_of
from .._lib.data import locate, read_jsonl, read_split
from .._lib.judging.cases import Case, outcome_state, with_calls
from .samples import Sample, from_official, from_row, index_samples, official_to_row

Record = tuple[str, Mapping[str, Any]]  # where it stands, for errors, and what stands there


def read_answers(source: str | Path, dataset: Mapping[str, Sample] | None = None) -> list[Case]:
    """The answers in a file, folder or `org/name@revision` of one of the four forms above, in their order.

    `dataset`, samples by id, is required for plain answers and replaces the rows stored with the others. Raises
    DataError for an unreadable file, or a sample that occurs twice or is not in the data set; UsageError without a
    needed data set.
    """
    path, source_name = locate(str(source))
    cases = [_case(where, record, dataset) for where, record in _records(path, source_name)]
    if not cases:
        raise DataError(f"{source_name}: holds no answer of FB-Bench")
    if repeated := [name for name, count in Counter(case.id for case in cases).items() if count > 1]:
        raise DataError(f"{source_name}: sample {repeated[0]} occurs twice; keep one")
    return cases


def _records(path: Path, source_name: str) -> Iterable[Record]:
    if path.is_dir() or path.suffix == ".parquet":
        from_step = path.is_dir() and any(path.glob("data/answers-*.parquet"))  # by an `answers` step
        rows = read_split(path, ("answers" if from_step else "samples") if path.is_dir() else "train")
        records = [(f"{source_name}: row {number}", dict(row)) for number, row in enumerate(rows)]
        # A recipe may evaluate several tasks into one file.
        return [one for one in records if str(one[1].get("task", "fbbench")).startswith("fbbench")]
    return [(f"{source_name}: line {number}", record) for number, record in read_jsonl(path)]


def _case(where: str, record: Mapping[str, Any], dataset: Mapping[str, Sample] | None) -> Case:
    state, calls = None, None
    try:
        if "doc" in record and "filtered_resps" in record:
            sample, text = from_row(_decoded(record["doc"], where)), _decoded(record["filtered_resps"], where)[0]
        elif "checklist" in record and "answer" in record:
            sample, text, calls = from_row(record), record["answer"], record.get("tool_calls")
            state = outcome_state(record.get("outcome"))
        elif "user_query" in record and "second_response" in record:
            sample, text = from_official(record, where), record["second_response"]
        elif "id" in record and "answer" in record:
            if dataset is None:
                raise UsageError(f"{where}: answers by id need the data set; add --dataset PATH or org/name@revision")
            sample, text = _in_dataset(str(record["id"]), dataset, where), record["answer"]
        else:
            forms = "lm-eval's samples_*.jsonl, official answers or id + answer lines"
            raise DataError(f"{where}: is not a stored answer; give {forms}")
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f"{where}: is a sample of another task, not of fbbench ({error!r})") from error
    if dataset is not None:
        sample = _in_dataset(sample.id, dataset, where)
    text = with_calls(_text(text, where), calls)
    return sample.case(None if state else text, state)


def _decoded(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise DataError(f"{where}: holds a field that is not JSON; the file is damaged") from error


def _text(value: Any, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: the answer is {type(value).__name__}, not text")
    return None if value is None else answer_of(value)


def _in_dataset(name: str, dataset: Mapping[str, Sample], where: str) -> Sample:
    if name not in dataset:
        raise DataError(f"{where}: sample {name} is not in the data set; give the one the answers were made on")
    return dataset[name]


def read_dataset(source: str | Path) -> dict[str, Sample]:
    """The benchmark's samples by id: a built data set (folder, Parquet, Hub reference) or the official JSON."""
    path, source_name = locate(str(source))
    return index_samples((from_row(row) for row in read_rows(path, source_name)), source_name)


def read_rows(path: Path, source_name: str) -> list[dict[str, Any]]:
    """Rows as built by `hubwright run fbbench`, from a folder, a Parquet file, or JSON(L) in either schema."""
    if path.is_dir() or path.suffix == ".parquet":
        rows = [dict(row) for row in read_split(path, "test")]
    elif path.suffix == ".jsonl":
        rows = [dict(record) for _, record in read_jsonl(path)]
    else:
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            message = f"{source_name}: is not JSON ({type(error).__name__}); give the official file or a folder"
            raise DataError(message) from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{source_name}: holds no rows")
    try:
        return [official_to_row(row) if "user_query" in row else row for row in rows]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DataError(
            f"{source_name}: is not FB-Bench ({error!r}); build it with `hubwright run fbbench`"
        ) from error
