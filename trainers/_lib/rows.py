"""The rows of a data set of conversations as TRL's trainers read them, every one accounted for.

A row is used as it is, used after a change that is counted, or refused for a reason that is counted. What is read is
what lies in the row: the data set's columns say where to look and whether nulls are Arrow's padding.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from datasets import Dataset, Features, Json, List, Value
from datasets.fingerprint import Hasher

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, first_line
from ...inference.conversations import RowRejected, read_messages, read_tools, unlearnt, with_system
from ...inference.padding import padded, pads_arguments
from ...inference.responses import ABSENT, read_responses, repeats_prompt
from . import loop as _loop
from . import templates as _templates
from .config import TrainingConfig, processes_of
from .controls import Controls
from .shown import check_shown

_VERSION = 2  # of what is cached
_REPEATING = 0.9
"""Share of the rows of plain text from which on a data set repeats its prompts in the responses. Our choice."""


@dataclass(frozen=True)
class Form:
    """Which columns hold what.

    Attributes:
        messages: the column of whole conversations, or None.
        prompt: whether there is a column `prompt` (not with `messages`).
        responses: columns that continue the prompt.
        weighted: turns may have `weight: 0`, since assistant turns are told apart.
    """

    messages: str | None = None
    prompt: bool = True
    responses: tuple[str, ...] = ()
    weighted: bool = False


def prepare(
    splits: Mapping[str, Dataset], form: Form, tokenizer: Any, config: TrainingConfig, context: StepContext
) -> dict[str, Dataset]:
    """The usable rows of every split.

    Columns: `messages`, or `prompt` and the form's responses; `tools` if some row has any; `unlearnt` (numbers of the
    assistant turns with weight 0) if some row has any.

    Raises UsageError if the tokenizer cannot do what the rows need, DataError if more rows are refused than
    `max_refused_share`, naming the first one.
    """
    reader = _Reader(form, tokenizer, config.allow_control_tokens)
    source_name = _loop.name(context, "dataset")
    reader.plain = not form.messages and _is_plain(splits["train"], reader)
    model = _loop.name(context, "model")
    if reader.plain:
        _templates.check_end(tokenizer, model)
        reader.repeats = _repeats(splits["train"], form, context)
    else:
        _templates.check_template(
            tokenizer, tools=any(map(_has_tools, splits.values())), assistant_mask=form.weighted, model=model
        )
    read = {split: _read(dataset, split, reader, source_name, config, context) for split, dataset in splits.items()}
    for column in ("tools", "unlearnt"):
        if not any(any(dataset[column]) for dataset in read.values()):
            read = {split: dataset.remove_columns(column) for split, dataset in read.items()}
    return read


class _Reader:
    """Reads a row by its form. `plain`: text is wanted, not turns; `repeats`: text responses begin with the prompt."""

    def __init__(self, form: Form, tokenizer: Any, allowed: Sequence[str]) -> None:
        self.form, self.tokenizer, self.plain, self.repeats = form, tokenizer, False, False
        self.controls = Controls(tokenizer, allowed)

    def pads(self, features: Mapping[str, Any]) -> tuple[bool, bool]:
        """Whether arguments of calls, and tools, lie in structs."""
        columns = [self.form.messages] if self.form.messages else ["prompt", *self.form.responses]
        arguments = any(pads_arguments(features[c]) for c in columns if c in features)
        return arguments, "tools" in features and padded(features["tools"])

    def read(self, row: Mapping[str, Any], pads: tuple[bool, bool], changes: Counter[str]) -> dict[str, Any]:
        """The row's columns; raises RowRejected."""
        tools = read_tools(row.get("tools"), pads[1], changes)
        system = row.get("system") or None
        if self.form.messages:
            turns = read_messages(row[self.form.messages], tools, is_padded=pads[0], changes=changes)
            turns = with_system(turns, system, changes)
            idle = unlearnt(turns)
            if idle and not self.form.weighted:
                raise RowRejected("a turn has weight 0, which needs assistant_only_loss")
            if idle and len(idle) == sum(turn["role"] == "assistant" for turn in turns):
                raise RowRejected("every assistant turn has weight 0")
            return {"messages": turns, "unlearnt": idle, "tools": tools or None}
        prompt = row["prompt"] if self.form.prompt else ABSENT
        responses = {name: row[name] for name in self.form.responses}
        pair = read_responses(prompt, responses, tools, is_padded=pads[0], repeats=self.repeats, changes=changes)
        if system is not None:
            if isinstance(pair["prompt"], str):
                raise RowRejected("a system text beside plain text, which no template shows to the model")
            pair["prompt"] = with_system(pair["prompt"], system, changes)
        return {**pair, "unlearnt": [], "tools": tools or None}

    def check(self, columns: Mapping[str, Any], changes: Counter[str]) -> None:
        """Raises RowRejected for a row of the other form, or one that the chat template cannot render as it is."""
        plain = isinstance(columns.get("prompt"), str)
        if plain != self.plain:
            raise RowRejected("plain text among conversations" if plain else "a conversation among plain text")
        if plain:
            return
        tools, prompt = columns["tools"], columns.get("prompt", [])
        for turns in [prompt + columns[name] for name in self.form.responses] or [columns["messages"]]:
            self.controls.check(turns, tools)
            try:
                check_shown(self.tokenizer, turns, tools, changes)
            except RowRejected:
                raise
            except Exception as error:  # a template may raise anything
                raise RowRejected("the chat template refuses the row", first_line(error)) from error


def _is_plain(dataset: Dataset, reader: _Reader) -> bool:
    """Whether the first row that can be read is plain text."""
    pads = reader.pads(dataset.features)
    for row in dataset:
        try:
            return isinstance(reader.read(row, pads, Counter())["prompt"], str)
        except RowRejected:
            continue
    return False


def _has_tools(dataset: Dataset) -> bool:
    """True if some row seems to offer tools, before any is read."""
    return "tools" in dataset.column_names and any(str(t).strip() not in ("", "[]", "None") for t in dataset["tools"])


def _repeats(dataset: Dataset, form: Form, context: StepContext) -> bool:
    """Whether the responses of a data set of plain text repeat the prompt; rows that do so by chance are counted."""
    rows = repeating = 0
    for row in dataset.select_columns(["prompt", *form.responses]):
        texts = [row[name] for name in form.responses]
        usable = all(isinstance(text, str) for text in (row["prompt"], *texts))
        if usable and any(text != row["prompt"] for text in texts):  # an echo is no sign of either
            rows += 1
            repeating += repeats_prompt(row["prompt"], texts)
    repeats = repeating >= _REPEATING * max(rows, 1)
    if repeating and not repeats:
        context.report.counts["train_rows_whose_responses_begin_with_the_prompt"] = repeating
    return repeats


def _read(
    dataset: Dataset, split: str, reader: _Reader, source_name: str, config: TrainingConfig, context: StepContext
) -> Dataset:
    turns: Any = Value("string") if reader.plain else List(Json())
    names = ["messages"] if reader.form.messages else ["prompt", *reader.form.responses]
    columns = dict.fromkeys(names, turns)
    columns |= {"tools": List(Json()), "unlearnt": List(Value("int64")), "why": Value("string"),
                "changes": Value("string")}  # fmt: skip
    rendering = reader.tokenizer.chat_template, reader.controls.key
    key = Hasher.hash([_VERSION, dataset._fingerprint, reader.form, reader.plain, reader.repeats, rendering])
    read: Dataset = dataset.map(
        _row_reader(reader, names, reader.pads(dataset.features)),
        remove_columns=dataset.column_names,
        features=Features(columns),
        new_fingerprint=key,
        num_proc=processes_of(config),
        desc=f"Reading {split} rows",
    )
    why = [json.loads(text) if text else None for text in read["why"]]
    refused = [(row, reason) for row, reason in enumerate(why) if reason]
    counts = context.report.counts
    counts[f"{split}_rows_read"] = len(dataset)
    for reason, number in sorted(Counter(reason for _, (reason, _) in refused).items()):
        counts[f"{split}_rows_refused: {reason}"] = number
    changed: Counter[str] = Counter()
    for text in read["changes"]:
        changed.update({what: number if what.startswith("null") else 1 for what, number in json.loads(text).items()})
    for what, number in sorted(changed.items()):
        counts[f"{split}_{'' if what.startswith('null') else 'rows_changed: '}{what}"] = number
    if len(refused) > config.max_refused_share * len(dataset):
        row, (_, message) = refused[0]
        raise DataError(
            f"{source_name}: {len(refused)} of {len(dataset)} rows of the {split} split cannot be used, more than "
            f"max_refused_share {config.max_refused_share}; row {row}: {message}: repair these rows, or raise it"
        )
    if len(refused) == len(dataset):
        raise DataError(f"{source_name}: no row of the {split} split can be used; row 0: {refused[0][1][1]}")
    usable = [row for row, reason in enumerate(why) if not reason]
    return (read.select(usable) if refused else read).remove_columns(["why", "changes"])


def _row_reader(reader: _Reader, names: list[str], pads: tuple[bool, bool]) -> Callable[..., dict[str, Any]]:
    empty: dict[str, Any] = {name: "" if reader.plain else [] for name in names} | {"tools": [], "unlearnt": []}

    def read(row: dict[str, Any]) -> dict[str, Any]:
        changes: Counter[str] = Counter()
        try:
            columns = reader.read(row, pads, changes)
            reader.check(columns, changes)
        except RowRejected as error:
            return empty | {"why": json.dumps([error.reason, str(error)]), "changes": "{}"}
        return columns | {"why": "", "changes": json.dumps(changes)}

    return read


def weigh(dataset: Dataset, source_name: str, processes: int | None = None) -> Dataset:
    """Labels without the assistant turns of weight 0.

    Args:
        dataset: tokenised, with `labels`, and `unlearnt` if some turn is not to be learnt. Each assistant turn is one
            run of labels, apart from the next by the tokens that open a turn.

    Raises DataError if the template marks other runs than the assistant's turns.
    """
    if "unlearnt" not in dataset.column_names:
        return dataset

    def weigh_row(row: dict[str, Any]) -> dict[str, Any]:
        if not row["unlearnt"]:
            return {"labels": row["labels"]}
        runs = _runs(row["labels"])
        spoken = sum(turn["role"] == "assistant" for turn in row["messages"])
        if len(runs) != spoken:
            raise DataError(
                f"{source_name}: a row has {spoken} assistant turns, of which some have weight 0, and the chat "
                f"template marks {len(runs)} stretches as the assistant's: set chat_template: chatml_tools, or drop "
                "the weights"
            )
        labels = list(row["labels"])
        for number in row["unlearnt"]:
            first, stop = runs[number]
            labels[first:stop] = [-100] * (stop - first)
        return {"labels": labels}

    return dataset.map(weigh_row, num_proc=processes)


def spans(dataset: Dataset, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(all values, values per row) of a column of lists, batch by batch.

    [[5, 6], [], [7]]: ([5, 6, 7], [2, 0, 1])
    """
    for batch in dataset.select_columns(column).with_format("arrow").iter(1000):
        lists = batch.column(column).combine_chunks()
        yield lists.flatten().to_numpy(zero_copy_only=False), lists.value_lengths().to_numpy(zero_copy_only=False)


def within(lengths: np.ndarray, limit: int) -> np.ndarray:
    """For every value of a batch of `spans`, whether it is among the first `limit` of its row."""
    starts = np.cumsum(lengths) - lengths
    return np.asarray(np.arange(lengths.sum()) - np.repeat(starts, lengths) < limit)


def _runs(labels: list[int]) -> list[tuple[int, int]]:
    """(first, stop) of every stretch of labels that are learnt."""
    learnt = [False, *(label != -100 for label in labels), False]
    edges = [place for place, (before, now) in enumerate(pairwise(learnt)) if before != now]
    return list(zip(edges[::2], edges[1::2], strict=True))
