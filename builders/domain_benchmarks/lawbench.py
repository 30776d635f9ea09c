"""Build LawBench (open-compass/LawBench, Apache-2.0): 20 subtasks of Chinese law, zero-shot.

    build(LawBenchConfig(source="LawBench/data/zero_shot"), context)

Out: a config per subtask (`1_1` to `3_8`), each with one split, `test`. A row has the gold answer as upstream writes
it and as a scorer needs it: `gold`, and `choices` where an answer is one of several.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.json_columns import make_dataset
from .._lib.choices import shown, text_cell
from .._lib.context import local_context
from .._lib.data_files import read_yaml
from .._lib.rejections import Rejections
from .._lib.sources import parse_records
from .common import BenchmarkFiles, finish, read_files

if TYPE_CHECKING:
    import datasets

_LABELS = re.compile(r"(?:包括)[：:](.+?)。")  # "the categories are: a, b, c."


class LawBenchConfig(BenchmarkFiles):
    """Where the files 1-1.json to 3-8.json are: the repository's folder `data/zero_shot`."""

    NAME: ClassVar[str] = "lawbench"


def build(config: LawBenchConfig, context: StepContext | None = None) -> dict[str, datasets.DatasetDict]:
    """Read and check the rows; tell `context.report` about them.

    Columns: id, title (of the subtask), metric (how it is scored), instruction, question, answer (upstream's), gold
    (list of text: labels, letters, numbers, "type:value" or one text), choices (labels or letters; empty if free).

    Raises as `read_files` does; DataError for a file that is not LawBench's or of which too much is rejected.
    """
    import datasets

    context = context or local_context()
    origins: list[str] = []
    rejections = Rejections()
    subtasks = read_yaml(__file__, "lawbench.yaml")["subtasks"]
    made: dict[str, datasets.DatasetDict] = {}
    for name, content in read_files(config, [f"{key.replace('_', '-')}.json" for key in subtasks], origins):
        key = name.removesuffix(".json").replace("-", "_")
        if key not in subtasks:
            raise DataError(f"files: {name} is not one of LawBench's; use some of 1-1.json to 3-8.json")
        records = enumerate(parse_records(content, name))
        rows = list(rejections.convert(name, records, partial(_row, key, subtasks[key])))
        if subtasks[key]["metric"] == "labels" and not any(row["choices"] for row in rows):
            every = sorted({label for row in rows for label in row["gold"]})
            rows = [row | {"choices": every} for row in rows]
        if rows:
            made[key] = datasets.DatasetDict({"test": make_dataset(rows, _features())})
    rejections.check(config.max_rejected_share)
    table = [
        [key, subtasks[key]["title"], subtasks[key]["metric"], len(splits["test"])] for key, splits in made.items()
    ]
    context.report.counts |= {"test_rows": sum(row[-1] for row in table)}
    context.report.table("Subtasks", ["subtask", "title", "metric", "rows"], table)
    finish(config, context, rejections, origins, config.NAME, made.values())
    return made


def _features() -> datasets.Features:
    from datasets import Features, List, Value

    return Features(dict.fromkeys(("gold", "choices"), List(Value("string"))))


def _row(key: str, subtask: Mapping[str, Any], numbered: tuple[int, Any]) -> dict[str, Any]:
    number, record = numbered
    if not isinstance(record, dict):
        raise RowRejected("not in the form of its source", f"record {number} is {shown(record)}")
    instruction, question = (text_cell(record.get(name), name) for name in ("instruction", "question"))
    nothing = record.get("answer") == "" and subtask.get("may_be_empty")
    answer = "" if nothing else text_cell(record.get("answer"), "answer")
    match = re.fullmatch(subtask["gold"], answer, re.DOTALL)
    if match is None and not nothing:
        raise RowRejected("the answer cannot be scored", f"record {number} has the answer {shown(answer)}")
    gold = [part for part in match[1].split(subtask.get("separator") or "\0") if part.strip()] if match else []
    choices = _choices(subtask, instruction)
    if choices and (unknown := [one for one in gold if one.partition(":")[0] not in choices]):
        raise RowRejected("the answer is not one of the labels", f"record {number} has {shown(unknown[0])}")
    if not gold and not nothing:
        raise RowRejected("the answer cannot be scored", f"record {number} has the answer {shown(answer)}")
    row = {"id": f"{key}-{number}", "title": subtask["title"], "metric": subtask["metric"]}
    row |= {"instruction": instruction, "question": question, "answer": answer}
    return row | {"gold": gold, "choices": choices}


def _choices(subtask: Mapping[str, Any], instruction: str) -> Sequence[str]:
    """Letters of the subtask, or the labels that its instruction lists."""
    if "choices" in subtask:
        return list(subtask["choices"])
    if not subtask.get("listed"):
        return []
    listed = _LABELS.search(instruction)
    if listed is None:
        raise RowRejected("the instruction lists no labels", f"instruction is {shown(instruction)}")
    return [label.strip() for label in re.split("[、，]", listed[1])]
