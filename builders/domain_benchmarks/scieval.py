"""Build SciEval: questions on physics, chemistry and biology, from the benchmark's own JSON files.

    build(SciEvalConfig(source="SciEval"), context)

Out: configs `choice` (four options, or yes, no and maybe) and `filling` (one item of a list), each with the splits
that the files name: `dev` (examples) and `validation`. Upstream's test split has no answers; its generated sets
(`dynamic_chem`, `dynamic_phy`) are not read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.json_columns import make_dataset
from .._lib.choices import LETTERS, shown, text_cell
from .._lib.context import local_context
from .._lib.rejections import Rejections
from .._lib.sources import parse_records
from .common import BenchmarkFiles, finish, read_files

if TYPE_CHECKING:
    import datasets

SPLITS = {"scieval-dev.json": "dev", "scieval-valid.json": "validation"}
JUDGED = ["yes", "no", "maybe"]
_LISTED = re.compile(r"list for selection:\n(.+)\nOptimal \w+:")


class SciEvalConfig(BenchmarkFiles):
    """Where scieval-dev.json and scieval-valid.json are."""

    NAME: ClassVar[str] = "scieval"


def build(config: SciEvalConfig, context: StepContext | None = None) -> dict[str, datasets.DatasetDict]:
    """Read and check the questions; tell `context.report` about them.

    Columns: id, category, topic ("" if none), ability, source (the set that the question is from), type (upstream's),
    prompt (upstream's instruction), question (with its options), choices, answer (one of them).

    Raises as `read_files` does; DataError for a file that is not SciEval's or of which too much is rejected.
    """
    import datasets

    context = context or local_context()
    origins: list[str] = []
    rejections = Rejections()
    made: dict[str, dict[str, list[dict[str, Any]]]] = {"choice": {}, "filling": {}}
    for name, content in read_files(config, tuple(SPLITS), origins):
        if name not in SPLITS:
            raise DataError(f"files: {name} is not one of {', '.join(SPLITS)}")
        for row in rejections.convert(name, parse_records(content, name), _row):
            kind = "filling" if row["type"] == "filling" else "choice"
            made[kind].setdefault(SPLITS[name], []).append(row)
    rejections.check(config.max_rejected_share)
    counts = {f"{kind}: {split}": len(rows) for kind, splits in made.items() for split, rows in splits.items()}
    context.report.counts |= counts
    configs = {
        kind: datasets.DatasetDict({split: make_dataset(rows) for split, rows in splits.items()})
        for kind, splits in made.items()
        if splits
    }
    finish(config, context, rejections, origins, config.NAME, configs.values())
    return configs


def _row(record: Any) -> dict[str, Any]:
    try:
        question, kind, (answer,) = text_cell(record["question"], "question"), record["type"], record["answer"]
        row = {"id": text_cell(record["id"], "id"), "category": text_cell(record["category"], "category")}
        row |= {"topic": record["topic"] or "", "ability": text_cell(record["ability"], "ability")}
        row |= {"source": text_cell(record["task_name"], "task_name"), "type": kind}
        row |= {"prompt": text_cell(record["prompt"], "prompt"), "question": question}
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RowRejected):
            raise
        raise RowRejected("not in the form of its source", f"it has {error!r}") from error
    choices = _choices(kind, question)
    if answer not in choices:
        raise RowRejected("answer is none of the choices", f"the answer {shown(answer)} is none of {shown(choices)}")
    return row | {"choices": choices, "answer": answer}


def _choices(kind: Any, question: str) -> list[str]:
    if kind == "multiple-choice":
        letters = re.findall(r"^([A-J])\. ", question, re.MULTILINE)
        if letters != list(LETTERS[: len(letters)]) or len(letters) < 2:
            raise RowRejected("choices not lettered from A", f"question has the options {shown(letters)}")
        return letters
    if kind == "judge":
        return JUDGED
    if kind == "filling" and (listed := _LISTED.search(question)):
        return [item.strip() for item in listed[1].split(",")]
    raise RowRejected("neither options nor a list to choose from", f"type is {shown(kind)}")
