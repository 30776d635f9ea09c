"""Builder `button_dataset`: executed call graphs, reworded ones and the paper's pipeline as configs of one data set.

Each input becomes a config with the same columns, so that `load_dataset(REPO, "executed")` and the others are read by
the same code. Nothing is changed in a row; what an input's card says of its making is told again here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...hub_sync import provenance
from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.settings import Settings
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.conversation_rows import CHECKS, COLUMNS, features
from .._lib.function_splits import FUNCTIONS, TEST, TRAIN, functions_of
from .._lib.sources import read_rows

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

CONFIGS = ("executed", "stubs", "verified", "faithful")  # the first that is there is the default
DESCRIPTIONS = {
    "executed": "compositions of functions that run, in words from templates",
    "stubs": "the same over other people's definitions, with results of the right form that are not true",
    "verified": "executed call graphs with the user's turns in a model's words; calls and results unchanged",
    "faithful": "BUTTON's own pipeline: a model invents tasks, functions and results; nothing is run",
}


class ButtonDatasetConfig(Settings):
    """There is nothing to set: the inputs say it all."""


def build(config: ButtonDatasetConfig, context: StepContext | None = None) -> dict[str, DatasetDict]:
    """The inputs `executed`, `stubs`, `verified` and `faithful`, those that are given, as configs of these names.

    Raises:
        UsageError: no input.
        DataError: an input that cannot be read or has not BUTTON's columns, or a train row that uses what a test row
            holds out.
    """
    from datasets import DatasetDict

    context = context or local_context()
    names = [name for name in CONFIGS if name in context.inputs]
    if not names:
        raise UsageError(f"step {context.step}: give at least one of the inputs {', '.join(CONFIGS)}")
    configs = {name: DatasetDict(_read(context.inputs[name], context)) for name in names}
    _held_out(configs)
    _report(context, configs)
    return configs


def _read(source: Input, context: StepContext) -> dict[str, Dataset]:
    columns = features()
    splits = {}
    for split, rows in read_rows(source, context, None).items():
        if missing := [column for column in columns if column not in rows.column_names]:
            raise DataError(
                f"{source.ref}: has no column {missing[0]!r}; give data of call_graphs, call_graphs_reworded or button"
            )
        try:
            splits[split] = rows.select_columns(list(columns)).cast(columns)
        except Exception as error:  # of pyarrow and of datasets, without a common base
            reason = next(iter(str(error).splitlines()), "no reason given")
            raise DataError(
                f"{source.ref}: split {split!r} has columns of other types ({reason}); build it again"
            ) from error
    return splits


def _held_out(configs: dict[str, DatasetDict]) -> None:
    """Refuse train rows that use what a test row holds out: its set of functions, or any of `test_functions`."""
    sets: set[frozenset[str]] = set()
    names: set[str] = set()
    for config, splits in configs.items():
        if TEST in splits:
            sets.update(*_functions(config, splits[TEST]))
        if FUNCTIONS in splits:
            names.update(*(planned | offered for planned, offered in _functions(config, splits[FUNCTIONS])))
    sets.discard(frozenset())
    for config, splits in configs.items():
        for both in _functions(config, splits[TRAIN]) if TRAIN in splits else ():
            whole = next((used for used in both if used in sets), frozenset[str]())
            split, shared = (TEST, whole) if whole else (FUNCTIONS, names & (both[0] | both[1]))
            if shared:
                raise DataError(
                    f"config {config}: train rows use the functions {', '.join(sorted(shared))}, which a {split} row "
                    "uses as well: build it from the train split of the same executed call graphs"
                )


def _functions(config: str, rows: Dataset) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """The functions that every row plans, and those that it offers. Raises DataError for columns that say neither."""
    for number, row in enumerate(rows.select_columns(["plan", "tools"])):
        try:
            yield functions_of(row)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataError(
                f"config {config}: row {number}: `plan` or `tools` cannot be read ({error!r}); build the data again"
            ) from error


def _report(context: StepContext, configs: dict[str, DatasetDict]) -> None:
    report = context.report
    listing = " ".join(f"Config `{name}`: {DESCRIPTIONS[name]}." for name in configs)
    describe(report, __file__, "collect", configs=listing)
    report.columns |= COLUMNS
    rows = []
    for name, splits in configs.items():
        for split, part in splits.items():
            report.counts[f"{name}_{split}_rows"] = len(part)
            passed = sum(not any(reasons) for reasons in zip(*(part[f"check_{c}"] for c in CHECKS), strict=True))
            calls = sum(part["n_calls"]) / len(part)
            turns = sum(part["n_user_turns"]) / len(part)
            authors = sorted({name.partition("@")[0] for name in part.unique("made_by")})
            rows.append([name, split, len(part), passed, f"{calls:.2f}", f"{turns:.2f}", ", ".join(authors)])
    columns = ["config", "split", "rows", "pass all checks", "calls a row", "user turns a row", "words by"]
    report.table("Configs", columns, rows)
    for name in configs:
        record = provenance.load(context.inputs[name].path / provenance.FILE_NAME)[-1]
        report.tables += [
            {**table, "title": f"{name}: {table['title']}"} for table in record["report"].get("tables", ())
        ]
